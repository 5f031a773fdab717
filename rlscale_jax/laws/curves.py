"""Learning curves as padded arrays: one per model, runs averaged per step, each run kept beside them.

Shapes: S models, R runs (seeds), T steps. Padding has `mask` False. Step 0 has spent nothing and is left out.
"""

import dataclasses

import numpy as np

from rlscale_jax.laws.table import Table

RESOURCES = {"compute": "compute_flops", "data": "samples"}
NOMINAL_TRIALS = 500.0  # problems behind a loss where the table does not say: the study's held-out set
MIN_POINTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves:
    """Loss against one resource, models in rising order of size.

    `names` S; `n` [S] parameters; `seed` [S R] (NaN: no such run); `step`, `log_x` (log10 of FLOPs or samples),
    `loss`, `trials` (problems answered, over all runs) [S T]; `mask` [S T] True for a point; `run_log_x`, `run_loss`,
    `run_trials` [S R T] the single runs (`run_loss` NaN: that run has no such step).
    """

    resource: str
    names: tuple[str, ...]
    n: np.ndarray
    seed: np.ndarray
    step: np.ndarray
    log_x: np.ndarray
    loss: np.ndarray
    trials: np.ndarray
    mask: np.ndarray
    run_log_x: np.ndarray
    run_loss: np.ndarray
    run_trials: np.ndarray

    @property
    def num_runs(self) -> np.ndarray:
        """Runs of each model [S]."""
        return np.isfinite(self.run_loss).any(2).sum(1)

    def keep(self, mask: np.ndarray) -> "Curves":
        """The same models with only the points where `mask` [S T]."""
        return dataclasses.replace(self, mask=self.mask & mask)

    def models(self, rows) -> "Curves":
        """Only the models `rows` (indices or booleans over S)."""
        rows = np.arange(len(self.n))[rows]
        arrays = {
            f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self) if f.name not in ("resource", "names")
        }
        return dataclasses.replace(self, names=tuple(self.names[i] for i in rows), **arrays)

    def points(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One model's (resource, loss, step), each [T of that model], in order of step."""
        on = self.mask[row]
        return 10 ** self.log_x[row, on], self.loss[row, on], self.step[row, on]


def gather(table: Table, resource: str) -> Curves:
    """The table's curves against `resource` ("compute" or "data").

    Where the table has no steps, a run's rows are numbered in order of the resource.
    Raises: ValueError for an unknown resource, one that the table or a row of it lacks, a model with fewer than 3
    points.
    """
    if resource not in RESOURCES:
        raise ValueError(f"resource {resource!r} is not one of {', '.join(RESOURCES)}")
    column = RESOURCES[resource]
    if not table.has(column):
        raise ValueError(f"the curves have no column {column}, which --resource={resource} needs")
    missing = np.flatnonzero(np.isnan(table[column]) & (table["step"] != 0))
    if len(missing):
        raise ValueError(f"{table.where[missing[0]]}: no {column}, which --resource={resource} needs in every row")
    table = table.select((table[column] > 0) & (table["step"] != 0))
    order = sorted(set(table.model.tolist()), key=lambda m: (table["n_params"][table.model == m][0], m))
    if not order:
        raise ValueError(f"no row has spent any {column}: nothing to fit beyond step 0")
    grids = [_grid(table.select(table.model == model), column) for model in order]
    return _pack(resource, order, [table["n_params"][table.model == m][0] for m in order], grids)


def _grid(rows: Table, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One model's (seeds [R], steps [T], values [R T 3]: resource, loss, trials; NaN: that run has no such step)."""
    seeds, run = np.unique(np.nan_to_num(rows["seed"]), return_inverse=True)
    steps, index = np.unique(_steps(rows, run, column), return_inverse=True)
    if len(steps) < MIN_POINTS:
        raise ValueError(
            f"{rows.where[0]}: model {rows.model[0]} has {len(steps)} points beyond step 0; a slope needs {MIN_POINTS}"
        )
    values = np.full((len(seeds), len(steps), 3), np.nan)
    trials = np.where(np.isfinite(rows["total"]), rows["total"], NOMINAL_TRIALS)
    values[run, index] = np.stack([rows[column], rows["test_loss"], trials], -1)
    return seeds, steps, values


def _steps(rows: Table, run: np.ndarray, column: str) -> np.ndarray:
    if rows.has("step"):
        return rows["step"]
    steps = np.zeros(len(rows))
    for r in range(run.max() + 1):
        steps[run == r] = 1 + np.argsort(np.argsort(rows[column][run == r]))
    return steps


def _pack(resource: str, names: list[str], n: list[float], grids: list) -> Curves:
    num_steps = max(len(steps) for _, steps, _ in grids)
    num_runs = max(len(seeds) for seeds, _, _ in grids)
    seed = np.full((len(n), num_runs), np.nan)
    step = np.zeros((len(n), num_steps))
    runs = np.full((len(n), num_runs, num_steps, 3), np.nan)
    for i, (seeds, steps, values) in enumerate(grids):
        seed[i, : len(seeds)] = seeds
        step[i, : len(steps)] = steps
        runs[i, : values.shape[0], : len(steps)] = values
    present = np.isfinite(runs[..., 1])
    x, loss, trials = (np.where(present, runs[..., j], np.nan) for j in range(3))
    return Curves(
        resource=resource,
        names=tuple(names),
        n=np.array(n),
        seed=seed,
        step=step,
        mask=np.asarray(present.any(1)),
        run_log_x=np.log10(x),
        run_loss=loss,
        run_trials=np.nan_to_num(trials),
        **average(x, loss, trials, np.ones(x.shape[:2])),
    )


def average(x: np.ndarray, loss: np.ndarray, trials: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Mean over runs, per step, of resource and loss; `weights` [.. S R] say how often a run counts.

    Args: x, loss, trials [S R T], NaN where a run has no such step. Returns log_x, loss, trials [.. S T];
    padding holds log_x 0, loss 1, trials 0.
    """
    present = np.isfinite(loss) * weights[..., None]
    count = present.sum(-2)
    safe = np.where(count > 0, count, 1.0)
    mean_x = (np.nan_to_num(x) * present).sum(-2) / safe
    mean_loss = (np.nan_to_num(loss) * present).sum(-2) / safe
    empty = count == 0
    return {
        "log_x": np.log10(np.where(empty, 1.0, mean_x)),
        "loss": np.where(empty, 1.0, mean_loss),
        "trials": (np.nan_to_num(trials) * present).sum(-2),
    }
