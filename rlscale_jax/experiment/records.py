"""Metric records: append-only JSONL, a row a step, cut to a checkpoint on resume."""

import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from rlscale_jax.experiment.config import SCHEMA_VERSION

Row = dict[str, Any]


class RecordFile:
    """An append-only JSONL file whose rows carry a step."""

    def __init__(self, path: os.PathLike | str):
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, row: Row) -> None:
        """Writes one row and flushes it to the operating system.

        Raises:
          OSError: the disk is full or the file cannot be written.
        """
        line = json.dumps({"schema": SCHEMA_VERSION, **{k: _plain(v) for k, v in row.items()}})
        try:
            with self.path.open("a") as file:
                file.write(line + "\n")
        except OSError as error:
            said = f"{error.strerror}: a row could not be written; what the last checkpoint has stands: start again"
            raise OSError(error.errno, said, str(self.path)) from error

    def sync(self) -> None:
        """Waits until what was written is on the disk, where it outlives the machine."""
        if self.path.exists():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def rows(self) -> list[Row]:
        return list(read_rows(self.path))

    def cut_after(self, step: int) -> None:
        """Drops rows of later steps (and a half-written last line), so that no step stands twice after a resume."""
        if not self.path.exists():
            return
        kept = [row for row in read_rows(self.path) if row["step"] <= step]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        partial.replace(self.path)


def read_rows(path: os.PathLike | str) -> Iterator[Row]:
    """Rows of a record file. A torn last line (the process was killed while writing) is left out.

    Raises:
      ValueError: a line before the last is not JSON, or the schema is newer than this code.
    """
    if not pathlib.Path(path).exists():
        return
    lines = pathlib.Path(path).read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                return
            raise ValueError(f"{path}, line {number}: not JSON: {line[:80]!r}") from None
        if row.get("schema", 0) > SCHEMA_VERSION:
            raise ValueError(f"{path}: schema {row['schema']}, this version reads up to {SCHEMA_VERSION}")
        yield row


def write_json(path: os.PathLike | str, value: Any) -> None:
    """Writes JSON through a temporary file, so that a reader never sees half of it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def _plain(value: Any) -> Any:
    """Python numbers of array scalars; NaN and infinities as strings, which JSON lacks."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
