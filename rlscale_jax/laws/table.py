"""Learning-curve rows from any trainer: read, checked, and ready to become curves.

A table is one row per evaluation: model, number of parameters, seed, step, the resources spent so far and the
test loss (a fraction in (0, 1]). `read` takes CSV files, a study's directory, or both; whatever is wrong with
them is one message that names the file, the row and what to write instead.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from rlscale_jax.laws.files import rows_of

NUMERIC = (
    "n_params", "n_nominal", "n_nonembed", "seed", "step", "samples", "tokens",
    "compute_flops", "flops_paper", "flops_total", "correct", "total", "test_loss", "test_loss_se",
)  # fmt: skip
BLANK = ("", "nan", "na", "n/a", "none", "null", "-")  # in columns that may be left empty
MOST_TOKENS = 1e12  # that a run of reinforcement learning may have seen: beyond it, units are wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Evaluations, one row each: `model` [R] names, every numeric column [R] float64 (NaN: not given).

    `where` [R] says where a row came from, for messages.
    """

    model: np.ndarray
    columns: dict[str, np.ndarray]
    where: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.model)

    def has(self, name: str) -> bool:
        """True where the column is given in at least one row."""
        return bool(np.isfinite(self.columns[name]).any())

    def select(self, rows: np.ndarray) -> "Table":
        """The rows where the boolean or index array `rows` [R] says so."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Table(model=self.model[rows], columns=columns, where=self.where[rows])

    def replace(self, **columns: np.ndarray) -> "Table":
        """The same rows with some columns exchanged."""
        return dataclasses.replace(self, columns={**self.columns, **columns})


def read(paths: str | pathlib.Path | Sequence[str | pathlib.Path]) -> Table:
    """Reads CSV files, study directories (their curves.csv, else their runs' metrics.jsonl) and runs into one table.

    Two files that tell the same evaluations, one against compute and one against data, are joined.
    Raises: ValueError, naming file and row, for what cannot be fitted: unknown columns, units that cannot be
    meant, duplicates, losses that are not in (0, 1]. FileNotFoundError for a path that is not there.
    """
    listed = [paths] if isinstance(paths, str | pathlib.Path) else list(paths)
    if not listed:
        raise ValueError("no curves given; name CSV files or a study's directory")
    return from_rows(_joined([list(rows_of(path)) for path in listed]))


def _joined(files: list[list[dict]]) -> list[dict]:
    """All rows; one evaluation told twice, against compute in one file and against data in another, is one row."""
    rows: list[dict] = []
    at: dict[tuple, int] = {}
    for file in files:
        before = len(rows)
        for row in file:
            key = tuple(str(row.get(name, "")) for name in ("model", "n_params", "seed", "step", "test_loss"))
            twin = at.get(key, before)
            if row.get("step") and twin < before and not _resources(rows[twin]) & _resources(row):
                rows[twin] = row | {name: value for name, value in rows[twin].items() if value not in ("", None)}
            else:
                at.setdefault(key, len(rows))
                rows.append(row)
    return rows


def _resources(row: dict) -> set[str]:
    return {name for name in ("compute_flops", "samples") if row.get(name)}


def from_rows(rows: Iterable[dict]) -> Table:
    """A checked table from dicts with the column names of `curves.csv` (an optional "where" is for messages)."""
    rows = list(rows)
    if not rows:
        raise ValueError("the curves have no rows; each evaluation is one row")
    where = np.array([str(row.get("where", f"row {i + 1}")) for i, row in enumerate(rows)])
    columns = {
        name: np.array([_number(row, name, at) for row, at in zip(rows, where, strict=True)]) for name in NUMERIC
    }
    columns["test_loss"] = _resolved(columns)
    model = np.array([_name(row) for row in rows])
    table = Table(model=model, columns=columns, where=where)
    _check(table)
    return table


def _resolved(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Losses, where all `total` answers are right counted as half a wrong one: the test cannot tell 0 from less."""
    perfect = (columns["test_loss"] == 0) & (columns["correct"] == columns["total"]) & (columns["total"] > 0)
    return np.where(perfect, 0.5 / np.where(perfect, columns["total"], 1), columns["test_loss"])


def _number(row: dict, name: str, where: str) -> float:
    value = row.get(name, "")
    blank = value is None or (isinstance(value, str) and value.strip().lower() in BLANK)
    if value in (None, "") or (blank and name not in ("n_params", "test_loss")):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {name}={value!r} is not a number{_hint(name, str(value))}") from None


def _hint(name: str, value: str) -> str:
    if name.startswith("n_") and value.strip()[-1:].upper() in ("B", "M", "K"):
        return "; write 7B as 7e9"
    if value.count(",") == 1:
        return "; write 0.5, not 0,5"
    return ""


def _name(row: dict) -> str:
    name = str(row.get("model") or "").strip()
    return name or f"{float(row.get('n_params') or 'nan'):.3g}"


def _check(table: Table) -> None:
    loss, n = table["test_loss"], table["n_params"]
    _refuse(table, ~np.isfinite(loss), "test_loss", "is not finite; leave the row out if the evaluation failed")
    _refuse(table, loss <= 0, "test_loss", "is not positive, its logarithm does not exist")
    _refuse(table, loss > 1, "test_loss", "is above 1; it is 1 - pass@1, a fraction, not a percentage")
    _refuse(table, ~np.isfinite(n) | (n <= 0), "n_params", "is not a positive number of parameters")
    _refuse(table, n < 1000, "n_params", "is too small; count parameters, not billions (7e9, not 7)")
    for name in ("step", "seed"):
        _refuse(table, (table[name] < 0) | np.isinf(table[name]), name, "is not a number from 0 on")
    _check_resources(table)
    _check_counts(table)
    _check_models(table)
    _check_duplicates(table)


def _check_resources(table: Table) -> None:
    """Amounts and their units. Step 0 has spent nothing: it stays in the table and out of every fit."""
    compute, samples, n = table["compute_flops"], table["samples"], table["n_params"]
    for name, amount in (("compute_flops", compute), ("samples", samples)):
        _refuse(table, np.isinf(amount), name, "is not finite")
        _refuse(table, (amount < 0) | ((amount == 0) & (table["step"] > 0)), name, "is not positive")
    _refuse(table, (samples > 0) & (samples < 1), "samples", "is less than one prompt; count prompts, not thousands")
    tokens = np.where(compute > 0, compute / (6 * n), np.nan)
    flops = "compute_flops", "write FLOPs, not PFLOPs or FLOP/s"
    _refuse(table, tokens < 1, flops[0], f"is below 6 * n_params, one token; {flops[1]}")
    _refuse(table, 3 * tokens < samples, flops[0], f"is below 2 * n_params * samples, one token a prompt; {flops[1]}")
    _refuse(table, tokens > MOST_TOKENS, "n_params", f"is too small for this row's compute_flops, which would be more "
            f"than {MOST_TOKENS:.0e} tokens; count parameters, not millions, and FLOPs")  # fmt: skip


def _refuse(table: Table, bad: np.ndarray, name: str, reason: str) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        more = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
        raise ValueError(f"{table.where[first]}: {name}={table[name][first]:g} {reason}{more}")


def _check_counts(table: Table) -> None:
    correct, total = table["correct"], table["total"]
    _refuse(table, total <= 0, "total", "is not a positive number of problems")
    _refuse(table, (correct < 0) | (correct > total), "correct", "is not between 0 and total")
    apart = np.abs(1 - correct / total - table["test_loss"]) > np.fmax(0.01, 0.6 / total)
    _refuse(table, apart, "test_loss", "differs from 1 - correct / total")


def _check_models(table: Table) -> None:
    """One size a model; steps in all of its rows or in none."""
    for model in np.unique(table.model):
        on = table.model == model
        first = table["n_params"][on][0]
        _refuse(
            table,
            on & (table["n_params"] != first),
            "n_params",
            f"where {model} had {first:g} before; one size a model",
        )
        known = np.isfinite(table["step"])
        if (on & known).any():
            _refuse(table, on & ~known, "step", f"is missing where other rows of {model} have one")


def _check_duplicates(table: Table) -> None:
    """Two rows of one run at one step (or, without steps, at one resource) are a mistake in gathering."""
    seen: dict[tuple, int] = {}
    seed = np.nan_to_num(table["seed"])
    for row, (model, step) in enumerate(zip(table.model, table["step"], strict=True)):
        resource = next((name for name in ("compute_flops", "samples") if table[name][row] > 0), "samples")
        what = "step" if np.isfinite(step) else resource
        key = (str(model), float(seed[row]), what, float(table[what][row]))
        first = seen.setdefault(key, row)
        if first != row:
            raise ValueError(
                f"{table.where[row]}: a second row of {key[0]}, seed {key[1]:g}, {what} {key[3]:g} "
                f"(first: {table.where[first]}); give each run its own seed, or remove one"
            )
