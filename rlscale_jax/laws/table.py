"""Learning-curve rows from any trainer: read, checked, and ready to become curves.

A table is one row per evaluation: model, number of parameters, seed, step, the resources spent so far and the
test loss (a fraction in (0, 1]). `read` takes CSV files, a study's directory, or both; whatever is wrong with
them is one message that names the file, the row and what to write instead.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from rlscale_jax.experiment.records import read_rows

NUMERIC = (
    "n_params", "n_nominal", "n_nonembed", "seed", "step", "samples", "tokens",
    "compute_flops", "flops_paper", "flops_total", "correct", "total", "test_loss", "test_loss_se",
)  # fmt: skip
SPELLINGS = {"params": "n_params", "n": "n_params", "flops": "compute_flops", "compute": "compute_flops",
             "loss": "test_loss", "l": "test_loss", "d": "samples", "c": "compute_flops"}  # fmt: skip


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
    """Reads CSV files and study directories (their curves.csv, else their runs' metrics.jsonl) into one table.

    Raises: ValueError, naming file and row, for what cannot be fitted: unknown columns, units that cannot be
    meant, duplicates, losses that are not in (0, 1]. FileNotFoundError for a path that is not there.
    """
    listed = [paths] if isinstance(paths, str | pathlib.Path) else list(paths)
    if not listed:
        raise ValueError("no curves given; name CSV files or a study's directory")
    return from_rows(row for path in listed for row in _rows(pathlib.Path(path)))


def from_rows(rows: Iterable[dict]) -> Table:
    """A checked table from dicts with the column names of `curves.csv` (an optional "where" is for messages)."""
    rows = list(rows)
    if not rows:
        raise ValueError("the curves have no rows; each evaluation is one row")
    where = np.array([str(row.get("where", f"row {i + 1}")) for i, row in enumerate(rows)])
    columns = {
        name: np.array([_number(row, name, at) for row, at in zip(rows, where, strict=True)]) for name in NUMERIC
    }
    model = np.array([_name(row) for row in rows])
    table = Table(model=model, columns=columns, where=where)
    _check(table)
    return table


def _rows(path: pathlib.Path):
    if path.is_dir():
        yield from _study_rows(path)
    elif not path.exists():
        raise FileNotFoundError(f"no curves at {path}; give a CSV file or a study's directory")
    else:
        yield from _csv_rows(path)


def _csv_rows(path: pathlib.Path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = [_canonical(name) for name in reader.fieldnames or []]
        missing = [name for name in ("n_params", "test_loss") if name not in names]
        if not {"compute_flops", "samples"} & set(names):
            missing.append("compute_flops or samples")
        if missing:
            raise ValueError(
                f"{path}: no column {', '.join(missing)}; found {', '.join(names) or 'nothing'}. "
                "Needed: n_params, test_loss, and compute_flops or samples; "
                "optional: model, step, seed, correct, total"
            )
        reader.fieldnames = names
        for row in reader:
            at = f"{path}, row {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{at}: {len(names)} columns in the header, another number in this row")
            yield row | {"where": at}


def _canonical(name: str) -> str:
    name = name.strip().lower()
    return SPELLINGS.get(name, name)


def _study_rows(directory: pathlib.Path):
    gathered = directory / "curves.csv"
    if gathered.exists():
        yield from _csv_rows(gathered)
        return
    logs = sorted(directory.glob("runs/*/metrics.jsonl"))
    if not logs:
        raise FileNotFoundError(f"{directory} holds neither curves.csv nor runs/*/metrics.jsonl")
    for log in logs:
        yield from _log_rows(log)


def _log_rows(log: pathlib.Path):
    """Rows of a run that still writes: its name is MODEL_sSEED, a torn last line is not a row."""
    model, _, seed = log.parent.name.rpartition("_s")
    for number, record in enumerate(read_rows(log), 1):
        if "scaling/test_loss" not in record:
            continue
        row = {key.removeprefix("scaling/"): value for key, value in record.items() if key.startswith("scaling/")}
        row |= {"model": model or log.parent.name, "seed": seed or 0, "step": record["step"]}
        row |= {"n_params": row.get("n_nominal") or row.get("n_nonembed"), "compute_flops": row.get("flops_paper", "")}
        yield row | {"where": f"{log}, line {number}"}


def _number(row: dict, name: str, where: str) -> float:
    value = row.get(name, "")
    if value is None or (isinstance(value, str) and not value.strip()):
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        hint = "; write 7B as 7e9" if name.startswith("n_") else ""
        raise ValueError(f"{where}: {name}={value!r} is not a number{hint}") from None


def _name(row: dict) -> str:
    name = str(row.get("model") or "").strip()
    return name or f"{float(row.get('n_params') or 'nan'):.3g}"


def _check(table: Table) -> None:
    step_zero = table["step"] == 0
    loss, n = table["test_loss"], table["n_params"]
    _refuse(table, ~np.isfinite(loss), "test_loss", "is not finite; leave the row out if the evaluation failed")
    _refuse(table, loss <= 0, "test_loss", "is not positive, its logarithm does not exist")
    _refuse(table, loss > 1, "test_loss", "is above 1; it is 1 - pass@1, a fraction, not a percentage")
    _refuse(table, ~np.isfinite(n) | (n <= 0), "n_params", "is not a positive number of parameters")
    _refuse(table, n < 1000, "n_params", "is too small; count parameters, not billions (7e9, not 7)")
    for name in ("compute_flops", "samples"):
        if table.has(name):
            # Step 0 has spent nothing: it stays in the table and out of every fit.
            _refuse(table, ~np.isfinite(table[name]), name, "is not finite")
            _refuse(table, (table[name] < 0) | ((table[name] == 0) & (table["step"] > 0)), name, "is not positive")
    if table.has("compute_flops"):
        low = (table["compute_flops"] < 6 * n) & ~step_zero & (table["compute_flops"] > 0)
        _refuse(table, low, "compute_flops", "is below 6 * n_params, one token; write FLOPs, not PFLOPs or FLOP/s")
    _check_counts(table)
    _check_sizes(table)
    _check_duplicates(table)


def _refuse(table: Table, bad: np.ndarray, name: str, reason: str) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        more = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
        raise ValueError(f"{table.where[first]}: {name}={table[name][first]:g} {reason}{more}")


def _check_counts(table: Table) -> None:
    correct, total = table["correct"], table["total"]
    _refuse(table, total <= 0, "total", "is not a positive number of problems")
    _refuse(table, (correct < 0) | (correct > total), "correct", "is not between 0 and total")
    apart = np.abs(1 - correct / total - table["test_loss"]) > 0.01
    _refuse(table, apart, "test_loss", "differs from 1 - correct / total")


def _check_sizes(table: Table) -> None:
    for model in np.unique(table.model):
        sizes = table["n_params"][table.model == model]
        other = (table.model == model) & (table["n_params"] != sizes[0])
        _refuse(table, other, "n_params", f"where {model} had {sizes[0]:g} before; one size a model")


def _check_duplicates(table: Table) -> None:
    """Two rows of one run at one step (or, without steps, at one resource) are a mistake in gathering."""
    key = table["step"] if table.has("step") else table["compute_flops" if table.has("compute_flops") else "samples"]
    seen: dict[tuple, int] = {}
    for row, at in enumerate(zip(table.model, np.nan_to_num(table["seed"]), key, strict=True)):
        first = seen.setdefault(at, row)
        if first != row:
            what = "step" if table.has("step") else "resource"
            raise ValueError(
                f"{table.where[row]}: a second row of {at[0]}, seed {at[1]:g}, {what} {at[2]:g} "
                f"(first: {table.where[first]}); give each run its own seed, or remove one"
            )
