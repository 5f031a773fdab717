"""The report's tables: one content, written as CSV, LaTeX and HTML."""

import csv
import dataclasses
import math
import pathlib

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "²": "$^2$", "Δ": r"$\Delta$", "±": r"$\pm$",
          "τ": r"$\tau$", "–": "--", "−": "$-$"}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of strings under a file name, with the paper's table it stands for ("" if none)."""

    name: str
    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    caption: str = ""
    paper: str = ""

    def save(self, directory: pathlib.Path) -> None:
        """Writes DIRECTORY/NAME.csv and NAME.tex (booktabs)."""
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([self.header, *self.rows])
        (directory / f"{self.name}.tex").write_text(self.latex(), encoding="utf-8")

    def latex(self) -> str:
        """A complete table environment."""
        lines = [" & ".join(map(_escape, row)) + r" \\" for row in (self.header, *self.rows)]
        body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
        form = "l" + "r" * (len(self.header) - 1)
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{_escape(self.title)}. {_escape(self.caption)}}}\n"
            f"\\label{{tab:{self.name}}}\n\\begin{{tabular}}{{{form}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}\n"
        )


def _escape(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def show(value: float, form: str = ".3g") -> str:
    """A number for a table cell; a dash for NaN, "unlimited" for infinity."""
    if value is None or math.isnan(value):
        return "–"
    return format(value, form) if math.isfinite(value) else "unlimited"


def between(ends: tuple[float, float], form: str = ".3g") -> str:
    """An interval for a table cell."""
    return f"{show(ends[0], form)} to {show(ends[1], form)}"
