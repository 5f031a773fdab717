"""Makes a directory once, whoever asks first; a killed maker leaves nothing half-made."""

import contextlib
import fcntl
import pathlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def exclusive(target: pathlib.Path) -> Iterator[None]:
    """Holds the lock of `target`. The operating system frees it when the process ends, however it ends."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process works on {target}; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def make_once(target: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Yields a working directory that becomes `target` at the end, or None where `target` is there already.

    The working directory of an interrupted attempt is handed on, so that long work can go on from what it saved.
    """
    with exclusive(target):
        if target.exists():
            yield None
            return
        working = target.with_name(target.name + ".partial")
        working.mkdir(parents=True, exist_ok=True)
        yield working
        working.replace(target)
