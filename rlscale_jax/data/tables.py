"""A user's own problems: JSONL or parquet, one row a problem.

Columns: `prompt` (a text, or a list of {"role", "content"}) and `answer`; further ones are optional: `id`,
`data_source`, `domain`, and `difficulty` (larger is harder) or `pass_rate` (larger is easier).
Rows in the layout of the study's own files, with `reward_model`, are read as they are.
"""

import codecs
import json
import math
import os
from collections.abc import Iterator, Mapping

import pyarrow
import pyarrow.parquet
from etils import epath

from rlscale_jax.data.record import Problem, to_messages
from rlscale_jax.data.study_rows import study_problem

SUFFIXES = (".jsonl", ".parquet")


def read_table(path: os.PathLike | str) -> tuple[Problem, ...]:
    """The problems of a .jsonl or .parquet file, in its order.

    Raises:
      ValueError: a row that is not a problem; the message names file, row and column.
    """
    file = epath.Path(path)
    problems = []
    for number, row in _rows(file):
        try:
            problems.append(_problem(row, file.stem, number))
        except ValueError as error:
            raise ValueError(f"{file}, row {number}: {error}") from error
    return tuple(problems)


def _rows(file: epath.Path) -> Iterator[tuple[int, Mapping]]:
    if file.suffix == ".parquet":
        yield from enumerate(_parquet(file))
        return
    for number, line in enumerate(file.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, row {number}: not JSON: {error}") from error
        yield number, row


def _parquet(file: epath.Path) -> list[Mapping]:
    # Arrow's own threads on a Python file object now and then abort the process at its end.
    content = pyarrow.BufferReader(file.read_bytes())
    try:
        return pyarrow.parquet.read_table(content, use_threads=False, pre_buffer=False).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{file} cannot be read as parquet: {error}") from error


def _problem(row: Mapping, stem: str, number: int) -> Problem:
    if not isinstance(row, Mapping):
        raise ValueError(f"expected an object with prompt and answer, got {row!r}")
    if "reward_model" in row:
        return study_problem(row, stem, number)
    for column in ("prompt", "answer"):
        if row.get(column) in (None, "", []):
            raise ValueError(f"no {column}; the columns here are {sorted(row)}")
    return Problem(
        problem_id=_text(row, "id", f"{stem}/{number}"),
        domain=_text(row, "domain", "math"),
        data_source=_text(row, "data_source", stem),
        messages=to_messages(row["prompt"]),
        ground_truth=_answer(row["answer"]),
        difficulty=_difficulty(row),
        provenance=f"{stem}:{number}",
    )


def _text(row: Mapping, column: str, default: str) -> str:
    return default if row.get(column) is None else str(row[column])


def _answer(answer) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _difficulty(row: Mapping) -> float:
    if row.get("difficulty") is not None and row.get("pass_rate") is not None:
        raise ValueError("both difficulty and pass_rate; give one")
    if row.get("pass_rate") is not None:
        pass_rate = _number(row, "pass_rate")
        if not 0 <= pass_rate <= 1:
            raise ValueError(f"pass_rate is {pass_rate:g}; expected a share between 0 and 1")
        return 1.0 - pass_rate
    return _number(row, "difficulty") if row.get("difficulty") is not None else math.nan


def _number(row: Mapping, column: str) -> float:
    try:
        return float(row[column])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{column} is {row[column]!r}; expected a number") from error
