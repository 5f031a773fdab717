"""Rows of learning curves from files: another trainer's CSV, a study's directory, a run's directory.

A row is a dict with the column names of `curves.csv` as strings or numbers, and "where" it was read, for messages.
"""

import csv
import glob
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rlscale_jax.experiment.records import read_rows

Row = dict[str, Any]
SPELLINGS = {
    "params": "n_params", "parameters": "n_params", "num_params": "n_params", "n": "n_params",
    "flops": "compute_flops", "compute": "compute_flops", "c": "compute_flops", "prompts": "samples", "d": "samples",
    "loss": "test_loss", "eval_loss": "test_loss", "l": "test_loss",
}  # fmt: skip
OPTIONAL = "; optional: model, step, seed, correct, total. test_loss is 1 - accuracy"


def rows_of(path: str | pathlib.Path) -> Iterator[Row]:
    """The rows of a CSV file, a pattern of files, a study's directory, or a run's directory or metrics.jsonl.

    Raises: FileNotFoundError where there is nothing, ValueError for what is no table of learning curves.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        yield from _directory_rows(path)
    elif path.suffix == ".jsonl" and path.exists():
        yield from _log_rows(path)
    elif path.exists():
        yield from csv_rows(path)
    elif any(sign in str(path) for sign in "*?[") and (found := sorted(glob.glob(str(path), recursive=True))):
        for one in found:
            yield from rows_of(one)
    else:
        raise FileNotFoundError(f"no curves at {path}; give a CSV file, a study's directory or a run's")


def csv_rows(
    path: str | pathlib.Path,
    *,
    needed: Sequence[str] = ("n_params", "test_loss"),
    either: Sequence[str] = ("compute_flops", "samples"),
) -> Iterator[Row]:
    """The rows of a CSV file (comma, semicolon or tab) with all columns `needed` and one of `either`.

    Raises: ValueError naming file and row for what is no such table, FileNotFoundError where there is no file.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8") from None
    lines = text.splitlines(keepends=True)
    reader = csv.DictReader(lines, delimiter=_delimiter(lines[0] if lines else ""))
    names = _columns(path, [*(reader.fieldnames or [])], needed, either)
    reader.fieldnames = names
    try:
        for row in reader:
            at = f"{path}, row {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{at}: {len(names)} columns in the header, another number in this row")
            if any(value.strip() for value in row.values()):
                yield row | {"where": at}
    except csv.Error as error:
        raise ValueError(f"{path}, row {reader.line_num}: {error}") from None


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _columns(path: pathlib.Path, given: list[str], needed: Sequence[str], either: Sequence[str]) -> list[str]:
    """The header's names as ours. A second spelling of a column that is there under its own name stays as it is."""
    plain = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in given]
    names = [SPELLINGS.get(name, name) if SPELLINGS.get(name) not in plain else name for name in plain]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{path}: column {twice[0]} stands in the header more than once ({', '.join(given)}); keep one"
        )
    choice = " or ".join(either)
    missing = [name for name in needed if name not in names] + ([] if set(either) & set(names) else [choice])
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(names) or 'nothing'}. "
            f"Needed: {', '.join(needed)}, and {choice}{OPTIONAL}"
        )
    return names


def _directory_rows(directory: pathlib.Path) -> Iterator[Row]:
    """A study's gathered curves, else the logs of its runs; a single run's log."""
    gathered = directory / "curves.csv"
    if gathered.exists():
        yield from csv_rows(gathered)
        return
    logs = [*directory.glob("runs/*/metrics.jsonl"), *directory.glob("*/metrics.jsonl")]
    logs += directory.glob("metrics.jsonl")
    if not logs:
        raise FileNotFoundError(f"{directory} holds neither curves.csv nor runs/*/metrics.jsonl nor metrics.jsonl")
    for log in sorted(logs):
        yield from _log_rows(log)


def _log_rows(log: pathlib.Path) -> Iterator[Row]:
    """Rows of a run that may still write: a torn last line is not a row."""
    who = identity(log.parent)
    for number, record in enumerate(read_rows(log), 1):
        if "scaling/test_loss" not in record:
            continue
        row = {key.removeprefix("scaling/"): value for key, value in record.items() if key.startswith("scaling/")}
        row |= {**who, "step": record["step"], "where": f"{log}, line {number}"}
        yield row | {"n_params": row.get("n_nominal") or row.get("n_nonembed"), "compute_flops": row.get("flops_paper")}


def identity(run: pathlib.Path) -> Row:
    """Model and seed from the run's config, as in curves.csv; without one, from a directory named MODEL_sSEED."""
    config = run / "config.json"
    if config.exists():
        known = json.loads(config.read_text(encoding="utf-8"))
        if "name" in known and "seed" in known:
            return {"model": known["name"], "seed": known["seed"]}
    model, _, seed = run.resolve().name.rpartition("_s")
    return {"model": model, "seed": seed} if model and seed.isdigit() else {"model": run.resolve().name, "seed": 0}
