"""What a fit says about data that it has not seen, what is predicted kept apart from what is calibrated.

predicted: nothing of the held-out points is used. calibrated: the intercept E is set on the held-out model's own
points and only the slope k(N) is extrapolated, as in the published analysis. Baselines stand beside both.
"""

import dataclasses

import numpy as np

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.fitting import r_squared
from rlscale_jax.laws.objectives import lines, pose, project
from rlscale_jax.laws.result import Fit

RECENT = 5  # points that the baseline "last value" averages


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One way of saying a held-out curve: `uses` is "predicted" or "calibrated"; `r2` in raw loss around its mean."""

    model: str
    method: str
    uses: str
    r2: float
    log_rmse: float
    num_points: int


def score(fit: Fit) -> list[Score]:
    """The law and its baselines on every held-out model (inter) or late part of a curve (intra); [] for full."""
    rows = [i for i in range(len(fit.held.names)) if fit.held.mask[i].any()]
    ways = _new_model if fit.protocol.name == "inter" else _late_points
    scores = []
    for row in rows:
        on = fit.held.mask[row]
        actual = fit.held.loss[row, on]
        for method, uses, loss in ways(fit, row):
            rmse = float(np.sqrt(((np.log10(loss[on]) - np.log10(actual)) ** 2).mean()))
            r2, name = r_squared(actual, loss[on]), fit.held.names[row]
            scores.append(Score(model=name, method=method, uses=uses, r2=r2, log_rmse=rmse, num_points=int(on.sum())))
    return scores


def pooled_log_rmse(scores: list[Score], method: str, uses: str) -> float:
    """Root mean square of log10 error over all held-out points of one method; NaN where it has none."""
    chosen = [s for s in scores if s.method == method and s.uses == uses]
    weight = sum(s.num_points for s in chosen)
    return float(np.sqrt(sum(s.num_points * s.log_rmse**2 for s in chosen) / weight)) if weight else float("nan")


def _new_model(fit: Fit, row: int):
    held = fit.held
    n, log_x = held.n[row], held.log_x[row]
    largest = list(fit.models.values())[-1]
    says = np.isfinite(fit.k(n))  # a law with a slope for each model says nothing of another size
    if says:
        yield fit.law, "predicted", fit.predict(n, 10**log_x)
    yield "largest fitted size", "predicted", 10 ** (largest.E - largest.k * log_x)
    if says:
        yield fit.law, "calibrated", 10 ** (_calibrated(fit, row) - fit.k(n) * log_x)
    yield "slope of the largest fitted size", "calibrated", _with_slope(fit, row, largest.k)
    yield "constant", "calibrated", np.full(log_x.shape, _mean(held.loss[row], held.mask[row]))
    yield "line of its own", "calibrated", _own_line(held, held, row)


def _late_points(fit: Fit, row: int):
    held, seen = fit.held, fit.fitted
    model = fit.models[held.names[row]]
    early = seen.loss[row, seen.mask[row]]
    yield fit.law, "predicted", 10 ** (model.E - model.k * held.log_x[row])
    yield "line of its own", "predicted", _own_line(seen, held, row)
    yield "last value", "predicted", np.full(held.log_x[row].shape, early[-RECENT:].mean())
    yield "constant", "predicted", np.full(held.log_x[row].shape, early.mean())


def _mean(values: np.ndarray, on: np.ndarray) -> float:
    return float(values[on].mean())


def _calibrated(fit: Fit, row: int) -> float:
    """E of the held-out model given the law's k, by the fit's own objective."""
    return _level(fit, row, fit.k(fit.held.n[row]))


def _level(fit: Fit, row: int, k) -> float:
    one = fit.held.models([row])
    problem = pose(fit.objective, one.log_x, one.loss, one.trials, one.mask)
    return float(project(problem, np.atleast_1d(k)).E[0])


def _with_slope(fit: Fit, row: int, k: float) -> np.ndarray:
    return 10 ** (_level(fit, row, k) - k * fit.held.log_x[row])


def _own_line(seen: Curves, held: Curves, row: int) -> np.ndarray:
    """The model's own log-log line through the points in `seen`, at the held-out points."""
    k, level = lines(seen.log_x[row], seen.loss[row], seen.mask[row] * 1.0)
    middle = seen.log_x[row, seen.mask[row]].mean()
    at_middle = level[seen.mask[row]].mean()
    return 10 ** (at_middle - k * (held.log_x[row] - middle))
