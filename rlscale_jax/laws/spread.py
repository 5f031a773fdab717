"""How much a fit would differ in another study: the covariance of its parameters, from what really scatters.

Where every size has at least two runs, their scatter is the answer (a cluster-robust "sandwich" over runs). With one
run a size, how much runs differ shows only in the scatter of the sizes about k(N): the slope of each size then has
the variance that its steps show plus a part between runs, estimated from the scatter of the sizes (Paule and Mandel
1982) in each of two forms, the wider of those that the scatter allows; its few degrees of freedom go into Student's t
(Hartung and Knapp 2001).
"""

import dataclasses
import math

import numpy as np
from scipy import optimize

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.objectives import Problem, Projected, project
from rlscale_jax.laws.slopes import Slope

RUNS = "scatter between runs of one size"
SIZES = "sizes with one run: scatter of steps, and of the sizes about the law for how much runs differ"
STEPS = "sizes with one run and none to spare: scatter of steps only, so how much runs differ is left out"
RULED_OUT = 1.35  # log likelihood below the best: half of chi squared's 90 % point
MOST = 100.0  # standard deviation between runs, over the slope: the search's end


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """Covariance [P P] of theta, its degrees of freedom, and in words what it was estimated from."""

    covariance: np.ndarray
    dof: float
    basis: str


def spread(problem: Problem, slope: Slope, curves: Curves, theta: np.ndarray) -> Spread:
    """The covariance of theta [P] for the curves that it was fitted to."""
    k, dk = slope.evaluate(theta, curves.n)
    at = project(problem, k)
    information = (at.slope**2).sum(1)
    bread = np.linalg.pinv(np.einsum("s,sp,sq->pq", information, dk, dk))
    if (curves.num_runs >= 2).all():
        return _between_runs(problem, curves, at, dk, bread)
    variance = _within_runs(curves, at) / np.maximum(information, 1e-300) ** 2
    spare, basis = len(curves.n) - len(theta), STEPS
    if spare > 0:
        apart = -(at.residual * at.slope).sum(1) / information
        leverage = dk @ bread @ (dk * information[:, None]).T
        candidates = _with_between(apart, variance, k, curves.num_runs, np.eye(len(k)) - leverage)
        basis = SIZES
    else:
        candidates = [variance]
    meats = [np.einsum("s,sp,sq->pq", information**2 * one, dk, dk) for one in candidates]
    covariance = max((bread @ meat @ bread for meat in meats), key=lambda one: np.max(np.diag(one) / np.diag(bread)))
    return Spread(covariance=covariance, dof=spare if spare > 0 else _points_to_spare(curves), basis=basis)


def _between_runs(problem: Problem, curves: Curves, at: Projected, dk, bread) -> Spread:
    """Each size's pull on k varies over its runs; corrected for their estimated mean by R / (R - 1)."""
    present = np.isfinite(curves.run_loss) & curves.mask[:, None]
    loss = np.where(present, curves.run_loss, curves.loss[:, None])
    apart = np.log10(loss) - np.log10(curves.loss)[:, None] if problem.kind == "robust" else loss - curves.loss[:, None]
    count = np.maximum(present.sum(1, keepdims=True), 1)
    pull = (np.sqrt(problem.weights)[:, None] * apart * at.slope[:, None] * present / count).sum(2)
    variance = (pull**2).sum(1) * curves.num_runs / (curves.num_runs - 1)
    reach = (dk @ bread) ** 2 * variance[:, None]
    # Satterthwaite: where few sizes carry the variance of a parameter, few runs estimate it.
    dof = (reach.sum(0) ** 2 / np.maximum((reach**2 / (curves.num_runs - 1)[:, None]).sum(0), 1e-300)).min()
    meat = np.einsum("s,sp,sq->pq", variance, dk, dk)
    return Spread(covariance=bread @ meat @ bread, dof=max(dof, 1.0), basis=RUNS)


def _within_runs(curves: Curves, at: Projected) -> np.ndarray:
    """Variance of each size's pull [S] about its own line, neighbouring steps correlated (Newey and West 1987)."""
    pull, information = (at.residual * at.slope).sum(1), np.maximum((at.slope**2).sum(1), 1e-300)
    score = (at.residual - at.slope * (pull / information)[:, None]) * at.slope
    points = curves.mask.sum(1)
    lag = int(np.ceil(1.5 * points.max() ** (1 / 3)))
    variance = (score**2).sum(1)
    for j in range(1, min(lag, score.shape[1] - 1) + 1):
        variance = variance + 2 * (1 - j / (lag + 1)) * (score[:, j:] * score[:, :-j]).sum(1)
    return np.maximum(variance, (score**2).sum(1)) * points / np.maximum(points - 2, 1)


def _with_between(apart, within, k, num_runs, annihilator) -> list[np.ndarray]:
    """The variance of each size's slope [S] with a part between runs, from how the sizes scatter about the law.

    The part is proportional to the slope squared, or the same for every size: those that the scatter does not rule out.
    `apart` [S]: each size's own slope less the law's; `within` [S]: its variance within the run; `annihilator` [S S]:
    what the fit leaves of errors of the slopes.
    """
    within = np.maximum(within, 1e-12 * max(float(within.max()), 1e-12))
    shares = [share / num_runs for share in (k**2, np.full_like(k, (k**2).mean()))]
    variances = [within + share * _size_of_share(apart, within, share, annihilator) for share in shares]
    likelihoods = np.array([_restricted_likelihood(apart, one, annihilator) for one in variances])
    return [one for one, score in zip(variances, likelihoods, strict=True) if score > likelihoods.max() - RULED_OUT]


def _size_of_share(apart, within, share, annihilator) -> float:
    """The variance between runs in units of `share` [S] at which the sizes' slopes scatter as they do."""

    def excess(log_size: float) -> float:
        variance = within + np.exp(log_size) * share
        expected = np.einsum("st,t,st->s", annihilator, variance, annihilator)
        return float(((apart**2 - expected) / variance).sum())

    low, high = np.log(1e-12), 2 * np.log(MOST)
    if excess(low) <= 0:
        return 0.0
    if excess(high) > 0:
        return MOST**2
    return math.exp(optimize.bisect(excess, low, high, xtol=1e-6))  # pyright: ignore[reportArgumentType]


def _restricted_likelihood(apart, variance, annihilator) -> float:
    """Log likelihood of the scatter that the fit has left, in the directions that it leaves free."""
    left, size, _ = np.linalg.svd(annihilator)
    free = left[:, size > 1e-9 * size[0]]
    covariance = free.T @ (annihilator * variance) @ annihilator.T @ free
    seen = free.T @ apart
    return float(-0.5 * (np.linalg.slogdet(covariance)[1] + seen @ np.linalg.solve(covariance, seen)))


def _points_to_spare(curves: Curves) -> int:
    return max(int(curves.mask.sum()) - 2 * len(curves.n), 1)
