"""How much a fit would differ in another study: the doubt about its parameters, from what really scatters.

Steps of a curve show how well its slope is known, not how much another run's would differ. That shows between runs of
one size, and in the scatter of the sizes about k(N). The slope of a size has the variance that its steps show plus a
part between runs, in proportion to the slope squared or the same for every size. Few runs and sizes hardly say how
large that part is, so every size of it counts as far as the scatter allows: its restricted likelihood under Jeffreys'
prior, the reference prior of random-effects models (Bodnar et al. 2017), which gives Student's t where the part
between runs is all there is.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import special

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.objectives import Problem, Projected, project
from rlscale_jax.laws.slopes import Slope

RUNS = "scatter between runs of one size, and of the sizes about the law"
SIZES = "sizes with one run: scatter of steps, and of the sizes about the law for how much runs differ"
STEPS = "sizes with one run and none to spare: scatter of steps only, so how much runs differ is left out"
BETWEEN = np.geomspace(1e-4, 100, 73)  # standard deviations between runs over the slope: what is thought possible
WIDEST = 1e4  # half-widths are looked for up to this many standard deviations


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """`covariance` [P P] of theta and in words its `basis`.

    `half_width(directions [D P], confidence)` [D]: half of the interval of each linear combination of theta.
    """

    covariance: np.ndarray
    half_width: Callable[[np.ndarray, float], np.ndarray]
    basis: str


def spread(problem: Problem, slope: Slope, curves: Curves, theta: np.ndarray) -> Spread:
    """The doubt about theta [P] for the curves that it was fitted to."""
    k, dk = slope.evaluate(theta, curves.n)
    at = project(problem, k)
    information = np.maximum((at.slope**2).sum(1), 1e-300)
    bread = np.linalg.pinv(np.einsum("s,sp,sq->pq", information, dk, dk))
    reach = (information[:, None] * dk) @ bread  # [S P]: what an error of a size's own slope does to theta
    within = _within_runs(curves, at) / information**2
    within = np.maximum(within, 1e-12 * max(float(within.max()), 1e-12))
    runs = _run_pulls(problem, curves, at) * (curves.num_runs / information)[:, None]
    apart = -(at.residual * at.slope).sum(1) / information
    scatter = _Scatter(apart=apart, annihilator=np.eye(len(k)) - dk @ reach.T, runs=runs, num_runs=curves.num_runs)
    if scatter.dof == 0:
        variances, weights, basis = within[None], np.ones(1), STEPS
    else:
        variances, weights = _with_between(within, k, scatter)
        basis = RUNS if (curves.num_runs >= 2).all() else SIZES
    return _mixed(reach, variances, weights, dof=_points_to_spare(curves), basis=basis)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scatter:
    """What shows how much runs differ: slopes of the sizes less the law's `apart` [S], of which the fit leaves what
    `annihilator` [S S] lets through, and slopes of the runs less their size's `runs` [S R] (0 where there is none)."""

    apart: np.ndarray
    annihilator: np.ndarray
    runs: np.ndarray
    num_runs: np.ndarray

    @property
    def free(self) -> np.ndarray:
        """Directions [F S] of the sizes' errors that the law cannot absorb."""
        left, size, _ = np.linalg.svd(self.annihilator)  # a projector: its singular values are 0, or 1 and more
        return left[:, size > 0.5].T @ self.annihilator

    @property
    def dof(self) -> int:
        """Degrees of freedom, of the sizes about the law and of the runs about their sizes."""
        return len(self.free) + int((self.num_runs - 1).sum())


def sandwich(problem: Problem, slope: Slope, curves: Curves, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(variance, degrees of freedom) [P] of theta from runs of one size alone, each size with at least two."""
    dk = slope.evaluate(theta, curves.n)[1]
    at = project(problem, slope.k(theta, curves.n))
    bread = np.linalg.pinv(np.einsum("s,sp,sq->pq", (at.slope**2).sum(1), dk, dk))
    variance = (_run_pulls(problem, curves, at) ** 2).sum(1) * curves.num_runs / (curves.num_runs - 1)
    parts = (dk @ bread) ** 2 * variance[:, None]
    # Satterthwaite: where few sizes carry the variance of a parameter, few runs estimate it.
    dof = parts.sum(0) ** 2 / np.maximum((parts**2 / (curves.num_runs - 1)[:, None]).sum(0), 1e-300)
    return parts.sum(0), np.maximum(dof, 1.0)


def _run_pulls(problem: Problem, curves: Curves, at: Projected) -> np.ndarray:
    """How each run, by differing from its size's mean, pulls on that size's slope [S R]."""
    present = np.isfinite(curves.run_loss) & curves.mask[:, None]
    loss = np.where(present, curves.run_loss, curves.loss[:, None])
    apart = np.log10(loss) - np.log10(curves.loss)[:, None] if problem.kind == "robust" else loss - curves.loss[:, None]
    count = np.maximum(present.sum(1, keepdims=True), 1)
    return (np.sqrt(problem.weights)[:, None] * apart * at.slope[:, None] * present / count).sum(2)


def _mixed(reach: np.ndarray, variances: np.ndarray, weights: np.ndarray, *, dof: int, basis: str) -> Spread:
    """From several possible `variances` [M S] of the sizes' errors, each believed as its weight [M] says.

    `dof`: points of the curves to spare, from which the scatter of steps is known.
    """

    def half_width(directions, confidence):
        level = (1 + confidence) / 2
        deviation = np.sqrt(variances @ (reach @ directions.T) ** 2)
        low, high = np.zeros(len(directions)), WIDEST * deviation.max(0)
        for _ in range(60):
            middle = (low + high) / 2
            outside = weights @ (2 * special.ndtr(-middle / np.maximum(deviation, 1e-300)))
            low, high = np.where(outside > 1 - confidence, [middle, high], [low, middle])
        return high * special.stdtrit(dof, level) / special.ndtri(level)

    covariance = np.einsum("s,sp,sq->pq", weights @ variances, reach, reach)
    return Spread(covariance=covariance, half_width=half_width, basis=basis)


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


def _with_between(within: np.ndarray, k: np.ndarray, scatter: _Scatter) -> tuple[np.ndarray, np.ndarray]:
    """Possible variances of the sizes' slopes [M S], runs differing more or less, and how far each is believed [M].

    `within` [S]: variance of each size's slope that its steps show.
    """
    free, more = scatter.free, scatter.num_runs - 1
    white = np.linalg.inv(np.linalg.cholesky(free * within @ free.T)) @ free
    part = BETWEEN[:, None] ** 2
    variances, beliefs = [], []
    for share in (np.maximum(k**2, 1e-100), np.full_like(k, max((k**2).mean(), 1e-100))):
        values, vectors = np.linalg.eigh(white * (share / scatter.num_runs) @ white.T)
        sizes = 1 + part * np.maximum(values, 0)
        runs = within * scatter.num_runs + part * share  # of one run's slope
        seen = (vectors.T @ (white @ scatter.apart)) ** 2
        likelihood = -0.5 * (np.log(sizes) + seen / sizes).sum(1)
        likelihood -= 0.5 * (more * np.log(runs) + (scatter.runs**2).sum(1) / runs).sum(1)
        information = ((values / sizes) ** 2).sum(1) + (more * (share / runs) ** 2).sum(1)
        variances.append(runs / scatter.num_runs)
        beliefs.append(likelihood + 0.5 * np.log(information * part[:, 0] ** 2))  # Jeffreys', over log(part)
    weights = np.exp(np.concatenate(beliefs) - np.max(beliefs))
    return np.concatenate(variances), weights / weights.sum()


def _points_to_spare(curves: Curves) -> int:
    return max(int(curves.mask.sum()) - 2 * len(curves.n), 1)
