"""A local directory and its copy in a bucket, where nothing can be appended to.

What a run appends to lies on the local disk; the copy is renewed from time to time, and fetched where the run goes on
on another machine.
"""

import os
import pathlib
import shutil

from etils import epath

_NOT_COPIED = (".lock", ".partial")


def is_remote(path: str | os.PathLike) -> bool:
    return "://" in os.fspath(path)


def local_copy_of(remote: str) -> pathlib.Path:
    """Where the local copy of a remote directory lies: under RLSCALE_SCRATCH_DIR, by default ~/.cache/rlscale_jax/."""
    scratch = os.environ.get("RLSCALE_SCRATCH_DIR", str(pathlib.Path.home() / ".cache" / "rlscale_jax" / "scratch"))
    scheme, _, rest = remote.partition("://")
    return pathlib.Path(scratch) / scheme / rest


def as_remote(text: str) -> str:
    """Text with the paths of local copies in gs:// replaced by those of the originals."""
    return text.replace(f"{local_copy_of('gs://')}/", "gs://")


class Mirror:
    """`local` and `remote` hold the same files after `push` or `fetch`, but for the subdirectories `apart`."""

    def __init__(self, local: pathlib.Path, remote: str, *, apart: tuple[str, ...] = ()):
        self._local, self._remote, self._apart = local, epath.Path(remote), apart
        self._pushed: dict[str, tuple[int, int]] = {}  # name -> size and time of change

    def fetch(self) -> None:
        """Makes the local directory what the remote one is; files that only the local one has are removed."""
        if self._local.exists():
            for path in [p for p in self._local.rglob("*") if p.is_file() and p.suffix != ".lock"]:
                path.unlink()
        self._local.mkdir(parents=True, exist_ok=True)
        if self._remote.exists():
            self._fetch_into(self._remote, self._local)

    def _fetch_into(self, source: epath.Path, target: pathlib.Path) -> None:
        for path in source.iterdir():
            if path.name in self._apart and source == self._remote:
                continue
            if path.is_dir():
                self._fetch_into(path, target / path.name)
            else:
                target.mkdir(parents=True, exist_ok=True)
                with path.open("rb") as there, (target / path.name).open("wb") as here:
                    shutil.copyfileobj(there, here)
                self._pushed[str((target / path.name).relative_to(self._local))] = _state(target / path.name)

    def push(self) -> None:
        """Copies every file that has changed since it was last copied."""
        for path in sorted(self._local.rglob("*")):
            name = str(path.relative_to(self._local))
            if not path.is_file() or path.suffix in _NOT_COPIED or name.split("/")[0] in self._apart:
                continue
            state = _state(path)
            if self._pushed.get(name) != state:
                target = self._remote / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                self._pushed[name] = state


def _state(path: pathlib.Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
