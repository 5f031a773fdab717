"""Problem sets, read from and written to wherever they lie."""

import os

from etils import epath

from rlscale_jax.data import tables
from rlscale_jax.data.builder import check_unique_ids, read_problem_set, write_problems
from rlscale_jax.data.record import Problem

__all__ = ["Problem", "read_problems", "write_problems"]


def read_problems(path: os.PathLike | str) -> tuple[Problem, ...]:
    """The problems at a path: a directory written by `prepare`, or a .jsonl or .parquet file (see `tables`).

    Raises:
      ValueError: nothing there, a file of another kind, a bad row, no problems, or two with the same id.
    """
    where = epath.Path(path)
    if not os.fspath(path) or not where.exists():
        raise ValueError(f"no problem set at {os.fspath(path)!r}")
    if where.is_dir():
        problems = read_problem_set(where)
    elif where.suffix in tables.SUFFIXES:
        problems = tables.read_table(where)
    else:
        raise ValueError(f"{where} is neither a directory nor one of {', '.join(tables.SUFFIXES)}")
    if not problems:
        raise ValueError(f"{where} holds no problems")
    check_unique_ids(problems)
    return problems
