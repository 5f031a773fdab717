"""Experiments that vary one field, told from the runs' own configs: their curves and final losses."""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from rlscale_jax import laws
from rlscale_jax.laws.curves import NOMINAL_TRIALS
from rlscale_jax.report import style
from rlscale_jax.report.study import Run

Curve = tuple[np.ndarray, np.ndarray]
Swept = dict[str, dict[float, list[Run]]]
_SETTINGS = ("grpo.", "optimizer.", "sampling.", "data.", "task.", "num_steps")  # what else must be equal
_PLACES = ("data.train", "data.heldout")
_FOLLOWS = {"data.reuse_factor": ("data.num_unique",)}  # changes with it, so that D_total stays
FINAL = 5  # evaluations averaged into a final loss


def varied(runs: list[Run], field: str) -> Swept:
    """{model: {value: runs}} of models whose runs differ in a config field such as "grpo.group_size" and nothing else.

    Where several sweeps cross, each setting of the others is a model of its own, named after it.
    """
    cells: dict[tuple, dict[float, list[Run]]] = {}
    for run in runs:
        value = run.setting(field)
        if isinstance(value, int | float):
            cells.setdefault((run.start, _others(run, field)), {}).setdefault(float(value), []).append(run)
    found: Swept = {}
    for (start, _), values in cells.items():
        if len(values) > 1:
            name = _named(start, field, values)
            found[name if name not in found else f"{name} {len(found) + 1}"] = dict(sorted(values.items()))
    return found


def _others(run: Run, field: str) -> tuple:
    skipped = (field, *_PLACES, *_FOLLOWS.get(field, ()))
    return tuple(
        (name, str(value)) for name, value in leaves(run.config) if name.startswith(_SETTINGS) and name not in skipped
    )


def _named(start: str, field: str, values: dict[float, list[Run]]) -> str:
    """The model's name, with what else the variants of all these runs have in common."""
    own = re.compile(rf"_?([a-z]+_)?{field.rpartition('.')[2]}[0-9.e+-]+")
    rest = {own.sub("", run.variant).strip("_") for runs in values.values() for run in runs}
    return f"{start} {rest.pop()}".strip() if len(rest) == 1 else start


def leaves(config: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(dotted name, value) of every setting of a run's config."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def mean_curve(runs: list[Run], resource: str) -> Curve:
    """(resource [T], loss [T]) averaged over runs step by step, step 0 left out."""
    points: dict[float, list[tuple[float, float]]] = {}
    for run in runs:
        columns = [run.metrics.get(f"scaling/{name}", np.array([])) for name in (resource, "test_loss")]
        if not all(map(len, columns)):
            continue
        for step, x, loss in zip(run.metrics["step"], columns[0], columns[1], strict=True):
            if x > 0 and loss > 0:  # a loss of 0 has no logarithm; NaN is no evaluation
                points.setdefault(step, []).append((x, loss))
    means = np.array([np.mean(points[step], 0) for step in sorted(points)]).reshape(-1, 2)
    return means[:, 0], means[:, 1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Final:
    """Mean loss of the last evaluations over runs, its standard error, and the number of runs."""

    loss: float
    error: float
    num_runs: int


def final(runs: list[Run]) -> Final:
    """The final loss of runs of one setting: the mean of each run's last five evaluations.

    Its error is that between runs where there are several (never less than the binomial one of the answers).
    """
    ends = np.array([run.series("scaling/test_loss")[1][-FINAL:].mean() for run in runs])
    mean = float(ends.mean())
    binomial = np.sqrt(max(mean * (1 - mean), 1 / NOMINAL_TRIALS) / (NOMINAL_TRIALS * FINAL * len(runs)))
    between = ends.std(ddof=1) / np.sqrt(len(ends)) if len(ends) > 1 else 0.0
    return Final(loss=mean, error=float(max(binomial, between)), num_runs=len(runs))


def budgets(curves: dict[float, Curve], num_budgets: int) -> np.ndarray:
    """Budgets, evenly in the logarithm, within what every curve has spent; empty where they do not overlap."""
    low = max((x.min() for x, _ in curves.values() if len(x)), default=1.0)
    high = min((x.max() for x, _ in curves.values() if len(x)), default=0.0)
    if not 0 < low < high:
        return np.array([])
    return np.geomspace(low, high, num_budgets + 2)[1:-1] if num_budgets > 1 else np.array([high])


def best_by_budget(curves: dict[float, Curve], *, num_budgets: int = 3) -> list[tuple[float, float]]:
    """[(budget, value of lowest fitted loss)] over the budgets that every curve has spent."""
    lines = {value: np.polyfit(np.log(x), np.log(loss), 1) for value, (x, loss) in curves.items()}
    return [
        (float(budget), min(lines, key=lambda value: np.polyval(lines[value], np.log(budget))))
        for budget in budgets(curves, num_budgets)
    ]


def plot_values(axes: Axes, curves: dict[float, Curve], label: str, *, counts: bool = True) -> None:
    """Every value's points, with its power law as a line; `label` formats the value."""
    colors = style.size_colors(len(curves))
    losses = [loss for _, loss in curves.values() if len(loss)]
    for i, ((value, (x, loss)), color) in enumerate(zip(curves.items(), colors, strict=True)):
        axes.plot(x, loss, style.MARKERS[i % 10], ms=3, color=color, alpha=0.6)
        if len(x) >= laws.MIN_POINTS:
            line = np.polyfit(np.log(x), np.log(loss), 1)
            axes.plot(x, np.exp(np.polyval(line, np.log(x))), color=color)
            axes.plot([], [], "-", marker=style.MARKERS[i % 10], ms=4, color=color, label=label.format(value))
    style.log_loss_axis(axes, min(loss.min() for loss in losses), max(loss.max() for loss in losses))
    style.log_axis(axes, counts=counts)
