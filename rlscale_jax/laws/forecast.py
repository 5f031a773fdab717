"""The rest of an unfinished curve, with an interval, from its points so far; cheap enough for every step.

log10 L is a straight line in log10 X plus a smooth departure from it, seen through binomial noise: the slope wanders
about the line's and returns to it (an Ornstein-Uhlenbeck process, integrated), so that a steep or a flat stretch is
not carried on for ever. How much the slope wanders is not known early on, so forecasts are averaged over it by
marginal likelihood; the interval opens as far as bends in the curve so far suggest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg, special

from rlscale_jax.laws.curves import MIN_POINTS, NOMINAL_TRIALS

LN10 = np.log(10.0)
SLOPE_PRIOR = (0.2, 0.5)  # mean and standard deviation of k: weak, wider than what RL post-training shows (0 to .6)
WANDER = np.geomspace(0.06, 0.6, 6)  # standard deviations of the slope about the line's
MEMORY = 0.3  # decades of the resource over which a slope returns to the line's: about a doubling
NOISE_PRIOR_DOF = 4.0  # weight of the binomial noise level against the scatter seen


class Forecast(NamedTuple):
    """Test loss at the horizon and its interval."""

    loss: float
    low: float
    high: float


def forecast(points: Sequence, horizon: float, *, confidence: float = 0.9, trials: float = NOMINAL_TRIALS) -> Forecast:
    """The loss to expect at `horizon`, with the interval of the curve's mean (not of one noisy evaluation).

    Args:
      points: (resource, loss) pairs so far, in any order; the resource may be steps, prompts or FLOPs. Points that
        have spent nothing (step 0) are left out; losses of 0 count as half a problem.
      horizon: the resource at which the loss is wanted.
      trials: problems behind each evaluation.

    Raises: ValueError for fewer than 3 usable points or a horizon that is not positive.
    """
    data = np.asarray(points, float).reshape(-1, 2)
    data = data[(data[:, 0] > 0) & np.isfinite(data[:, 1])]
    if len(data) < MIN_POINTS:
        raise ValueError(f"{len(data)} points beyond step 0; a forecast needs {MIN_POINTS}")
    if not horizon > 0:
        raise ValueError(f"horizon {horizon} is not a positive amount of the resource")
    x, loss = data[np.argsort(data[:, 0])].T
    loss = np.clip(loss, 0.5 / trials, 1.0)
    u = np.log10(np.append(x, horizon))
    means, spreads, evidence = zip(*(_given(u, loss, trials, wander) for wander in WANDER), strict=True)
    weights = np.exp(np.array(evidence) - max(evidence))
    weights /= weights.sum()
    mean = float(weights @ np.array(means))
    spread = np.sqrt(weights @ (np.array(spreads) ** 2 + (np.array(means) - mean) ** 2))
    reach = special.stdtrit(len(x) + NOISE_PRIOR_DOF - 1, (1 + confidence) / 2) * spread
    low, middle, high = np.minimum(10 ** np.array([mean - reach, mean, mean + reach]), 1.0)
    return Forecast(float(middle), float(low), float(high))


def _given(u: np.ndarray, loss: np.ndarray, trials: float, wander: float):
    """Mean and standard deviation of log10 loss at u[-1], and log evidence, where the slope wanders by `wander`."""
    z = np.log10(loss)
    smooth = np.clip(10 ** np.polyval(np.polyfit(u[:-1], z, 1), u[:-1]), 0.5 / trials, 1 - 0.5 / trials)
    noise = (1 - smooth) / (smooth * trials * LN10**2)
    origin = u - u[:-1].mean()
    # The level's prior is flat (a hundred decades); the slope's is SLOPE_PRIOR.
    prior = 1e4 + SLOPE_PRIOR[1] ** 2 * np.outer(origin, origin) + wander**2 * _departure(u - u.min())
    covariance = prior[:-1, :-1] + np.diag(noise)
    apart = z + SLOPE_PRIOR[0] * origin[:-1]
    factor = linalg.cho_factor(covariance, lower=True)
    solved = linalg.cho_solve(factor, apart)
    cross = linalg.cho_solve(factor, prior[:-1, -1])
    dof = len(z) - 1 + NOISE_PRIOR_DOF
    scale = (apart @ solved + NOISE_PRIOR_DOF) / dof
    variance = prior[-1, -1] - prior[:-1, -1] @ cross
    evidence = -np.log(np.diag(factor[0])).sum() - 0.5 * (len(z) + NOISE_PRIOR_DOF) * np.log(
        apart @ solved + NOISE_PRIOR_DOF
    )
    mean = prior[:-1, -1] @ solved - SLOPE_PRIOR[0] * origin[-1]
    return mean, np.sqrt(max(variance * scale, 0.0)), evidence


def _departure(u: np.ndarray) -> np.ndarray:
    """Covariance of an Ornstein-Uhlenbeck process of unit variance, integrated from 0 to u [T] decades."""
    one, other = u[:, None] / MEMORY, u[None, :] / MEMORY
    apart = np.exp(-np.abs(one - other))
    return MEMORY**2 * (2 * np.minimum(one, other) - 1 + np.exp(-one) + np.exp(-other) - apart)
