"""The profile likelihood of N0 and of K_max as curves: how fast the fit gets worse away from its best values."""

import dataclasses

import numpy as np

from rlscale_jax.laws.fitting import equations
from rlscale_jax.laws.objectives import pose
from rlscale_jax.laws.profile import REACH, allowance, best_k_max
from rlscale_jax.laws.result import Fit
from rlscale_jax.laws.solver import minimise
from rlscale_jax.laws.spread import spread

POINTS = 41
WIDER = 1.5  # than the interval, on either side, in logarithms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """At each `value` of a parameter the best `other` one and the `deviance`, in units of the interval's threshold.

    Values whose deviance is below 1 make up the interval; a deviance that stays below 1 to the end of the values is a
    parameter that the data do not bound on that side.
    """

    value: list[float]
    other: list[float]
    deviance: list[float]


def profiles(fit: Fit) -> dict[str, Profile]:
    """{"n0": ..., "k_max": ...} of a saturating law with a positive K_max; {} for other laws."""
    if fit.law != "saturating" or fit.theta[0] <= 0:
        return {}
    curves = fit.fitted
    problem = pose(fit.objective, curves.log_x, curves.loss, curves.trials, curves.mask)
    evaluate = equations(problem, fit.slope, curves.n)
    doubt = spread(problem, fit.slope, curves, fit.theta)
    cost = evaluate(fit.theta[None])[0][0]
    for_k_max, for_n0 = allowance(evaluate, fit.theta, doubt, fit.region.confidence)(np.eye(2))

    n0 = _grid(np.exp(fit.region.theta[:, 1]), curves.n.min() / REACH, curves.n.max() * REACH)
    other, costs, _ = best_k_max(evaluate, np.log(n0), fit.theta)
    k_max = _grid(fit.region.theta[:, 0], 0.0, np.inf)
    log_n0, k_costs = _best_log_n0(evaluate, k_max, fit)
    return {
        "n0": Profile(value=n0.tolist(), other=other.tolist(), deviance=((costs - cost) / for_n0).tolist()),
        "k_max": Profile(
            value=k_max.tolist(), other=np.exp(log_n0).tolist(), deviance=((k_costs - cost) / for_k_max).tolist()
        ),
    }


def _grid(region: np.ndarray, least: float, most: float) -> np.ndarray:
    inside = region[region > 0]
    middle = np.sqrt(inside.min() * inside.max())
    reach = (inside.max() / inside.min()) ** (WIDER / 2) * 1.01
    return np.geomspace(max(middle / reach, least), min(middle * reach, most), POINTS)


def _best_log_n0(evaluate, k_max: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """The best log N0 at each fixed K_max [G], searched from several starts, and its cost."""

    def fixed(log_n0):
        at = np.repeat(k_max, len(log_n0) // len(k_max))[:, None]
        cost, gradient, hessian = evaluate(np.concatenate([at, log_n0], 1))
        return cost, gradient[:, 1:], hessian[:, 1:, 1:]

    bounds = np.log([fit.fitted.n.min() / REACH, fit.fitted.n.max() * REACH])
    starts = np.append(np.linspace(bounds[0], bounds[1], 5), fit.theta[1])
    found = minimise(fixed, np.tile(starts, len(k_max))[:, None], bounds[None], tolerance=1e-8)
    costs = found.cost.reshape(len(k_max), -1)
    best = costs.argmin(1)
    rows = np.arange(len(k_max))
    return found.theta.reshape(len(k_max), -1)[rows, best], costs[rows, best]
