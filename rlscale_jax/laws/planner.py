"""What to train next: the best size for a budget, crossings, what a loss costs, what more size or steps buy.

Eq. 5 (a budget of compute) and Eq. 7 (a budget of data) are one question asked of two laws: at resource X, which N
has the lowest loss? Every answer is recomputed over the fit's region, so it comes with its uncertainty; sizes beyond
those fitted, and budgets beyond those spent, are marked as extrapolated.
"""

import dataclasses

import numpy as np

from rlscale_jax.laws.result import Fit

GRID = 241  # sizes tried between the smallest and the largest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its interval; NaN ends where the region gives none."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The best size for a budget.

    `size`: over the continuum of fitted sizes; `model`: among the fitted models; `losses` of each model at the budget;
    `at_edge`: the optimum is the largest or smallest size, so the true one may lie beyond; `times_spent` [model]: the
    budget over what that model has been trained with (above 1: extrapolated).
    """

    budget: float
    size: Interval
    loss: Interval
    model: str
    losses: dict[str, Interval]
    times_spent: dict[str, float]
    at_edge: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crossing:
    """The budget at which `larger` overtakes `smaller` (NaN value: their lines do not cross within reach)."""

    smaller: str
    larger: str
    budget: Interval


def choose(fit: Fit, budget: float) -> Choice:
    """The size with the lowest loss at `budget` (FLOPs, or unique prompts), with its uncertainty."""
    _positive(budget, "budget")
    sizes = np.geomspace(fit.fitted.n.min(), fit.fitted.n.max(), GRID)
    best = int(np.argmin(fit.predict(sizes, budget)))
    picked = sizes[np.argmin(_losses(fit, sizes, budget), 1)]
    low, high = fit.region.ends(picked)
    models = {name: _loss_at(fit, m.n, budget) for name, m in fit.models.items()}
    spent = 10 ** np.where(fit.fitted.mask, fit.fitted.log_x, -np.inf).max(1)
    return Choice(
        budget=budget,
        size=Interval(value=float(sizes[best]), low=float(low), high=float(high)),
        loss=_loss_at(fit, sizes[best], budget),
        model=min(models, key=lambda name: models[name].value),
        losses=models,
        times_spent={name: float(budget / s) for name, s in zip(fit.models, spent, strict=True)},
        at_edge=best in (0, GRID - 1),
    )


def crossings(fit: Fit, *, reach: float = 100.0) -> list[Crossing]:
    """Where each model is overtaken by the next larger ones, within `reach` times the resource spent by either."""
    found = []
    names, spans = list(fit.models), [_span(fit, i) for i in range(len(fit.models))]
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            a, b = fit.models[names[i]], fit.models[names[j]]
            if a.n == b.n:
                continue
            draws = _crossing(fit, np.array([a.n, b.n]), fit.region.theta)
            value = float((b.E - a.E) / (b.k - a.k)) if b.k != a.k else float("nan")
            low, high = min(spans[i][0], spans[j][0]) - np.log10(reach), max(spans[i][1], spans[j][1]) + np.log10(reach)
            if not low <= value <= high:
                value = float("nan")
            ends = fit.region.ends(draws) if np.isfinite(draws).all() and np.isfinite(value) else (np.nan, np.nan)
            budget = Interval(value=10**value, low=float(10 ** ends[0]), high=float(10 ** ends[1]))
            found.append(Crossing(smaller=names[i], larger=names[j], budget=budget))
    return found


def cost(fit: Fit, loss: float, n) -> np.ndarray:
    """The resource at which size n reaches `loss` (an iso-loss curve over n); infinite where k(n) is not positive."""
    if not 0 < loss < 1:
        raise ValueError(f"loss {loss} is not between 0 and 1")
    n = np.asarray(n, float)
    k = fit.k(n)
    log_x = np.divide(fit.E(n) - np.log10(loss), k, out=np.full(n.shape, np.inf), where=k > 0)
    return np.where(log_x < 300, 10 ** np.minimum(log_x, 300), np.inf)


def cheapest(fit: Fit, loss: float) -> tuple[float, Interval]:
    """(size, budget): the least resource that reaches `loss` over the fitted sizes, and the size that needs it."""
    sizes = np.geomspace(fit.fitted.n.min(), fit.fitted.n.max(), GRID)
    costs = cost(fit, loss, sizes)
    k = fit.slope.k(fit.region.theta, sizes)
    E = fit.levels.E(np.broadcast_to(sizes, k.shape), k)
    logs = np.where(k > 1e-12, (E - np.log10(loss)) / np.maximum(k, 1e-12), np.inf).min(1)
    low, high = fit.region.ends(np.minimum(logs, 300))
    return float(sizes[np.argmin(costs)]), Interval(value=float(costs.min()), low=float(10**low), high=float(10**high))


def marginal(fit: Fit, n: float, budget: float, *, factor: float = 2.0) -> dict[str, float]:
    """Loss at (n, budget), with `factor` times the resource at this size, and with that much larger a model."""
    _positive(budget, "budget")
    return {
        "loss": float(fit.predict(n, budget)),
        "more_resource": float(fit.predict(n, budget * factor)),
        "larger_model": float(fit.predict(n * factor, budget)),
    }


def _positive(value: float, name: str) -> None:
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} {value} is not a positive amount of the resource")


def _losses(fit: Fit, sizes: np.ndarray, budget: float) -> np.ndarray:
    """log10 loss [M sizes] over the region."""
    k = fit.slope.k(fit.region.theta, sizes)
    return fit.levels.E(np.broadcast_to(sizes, k.shape), k) - k * np.log10(budget)


def _loss_at(fit: Fit, n: float, budget: float) -> Interval:
    low, high = fit.predict_interval(n, budget)
    return Interval(value=float(fit.predict(n, budget)), low=float(low), high=float(high))


def _span(fit: Fit, row: int) -> tuple[float, float]:
    log_x = fit.fitted.log_x[row, fit.fitted.mask[row]]
    return float(log_x.min()), float(log_x.max())


def _crossing(fit: Fit, pair: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """log10 of the budget where the two sizes' lines meet [M]; NaN where the larger one is not the steeper."""
    k = fit.slope.k(theta, pair)
    E = fit.levels.E(np.broadcast_to(pair, k.shape), k)
    steeper = k[:, 1] - k[:, 0]
    return np.where(steeper > 1e-9, (E[:, 1] - E[:, 0]) / np.where(steeper > 1e-9, steeper, 1.0), np.nan)
