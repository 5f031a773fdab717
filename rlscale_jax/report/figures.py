"""What a figure of the report is: drawn with its caption, or a word on which run to start."""

import base64
import dataclasses
import functools
import io
import pathlib

from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure under a file name, with the paper's figure it stands for ("" if none), title and caption."""

    name: str
    title: str
    caption: str
    figure: Figure
    paper: str = ""

    @functools.cached_property
    def png(self) -> bytes:
        """The figure as PNG at print resolution."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def save(self, directory: pathlib.Path, formats: tuple[str, ...]) -> None:
        """Writes DIRECTORY/NAME.FORMAT for every format (png, pdf, svg)."""
        directory.mkdir(parents=True, exist_ok=True)
        for form in formats:
            path = directory / f"{self.name}.{form}"
            if form == "png":
                path.write_bytes(self.png)
            else:
                self.figure.savefig(path, format=form)

    def data_uri(self) -> str:
        """The PNG inline, for a page that needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Missing:
    """A figure or table that the data at hand do not allow: what it would show and what to run for it."""

    title: str
    reason: str
    command: str
    paper: str = ""
