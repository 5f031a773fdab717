"""Confidence regions from the objective itself, scaled to how much the runs really scatter.

The region is the set of parameters whose cost stays within a threshold of the best (the profile likelihood: the range
of any function over this set is an interval for it). Points of one curve are not independent, so the threshold is that
of independent points, widened until a parameter or a size's slope has the width that `spread` gives it (the
first-order adjustment of Rotnitzky and Jewell 1990). Some need more of that than others: the set is wide enough for
all, and `share` says how much of it is whose.
"""

from collections.abc import Callable

import numpy as np

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.objectives import Problem
from rlscale_jax.laws.result import Region
from rlscale_jax.laws.slopes import Slope
from rlscale_jax.laws.solver import minimise
from rlscale_jax.laws.spread import Spread, spread

GRID = 61  # values of N0 at which K_max is profiled
REACH = 100.0  # N0 is looked for this far beyond the smallest and the largest size


def region(
    equations: Callable, problem: Problem, slope: Slope, curves: Curves, theta: np.ndarray, *, confidence: float
) -> Region:
    """The region whose projections are intervals, at `confidence`, for theta [P] and anything computed from it."""
    doubt = spread(problem, slope, curves, theta)
    directions = np.concatenate([np.eye(len(theta)), slope.evaluate(theta, curves.n)[1]])
    if slope.name == "saturating" and theta[0] > 0:
        allowed = allowance(equations, theta, doubt, confidence)
        most = allowed(directions).max()
        points, cut = _profiled(equations, curves.n, theta, most)
        kind = "profile likelihood"
    else:
        points, cut, allowed = _ellipsoid(theta, doubt, confidence)
        kind, most = "linearised", 1.0
    return Region(theta=points, kind="set", confidence=confidence, basis=f"{kind}, {doubt.basis}", cut=cut,
                  share=lambda directions: np.sqrt(allowed(directions) / most))  # fmt: skip


def _ellipsoid(theta: np.ndarray, doubt: Spread, confidence: float):
    """Extremes of the Wald ellipsoid along each axis, and a ring in every plane of its principal axes; what of its
    squared width a direction should have."""
    size = len(theta)
    widths = doubt.half_width(np.eye(size), confidence)
    widths = widths / np.sqrt(np.maximum(np.diag(doubt.covariance), 1e-300))
    covariance = doubt.covariance * widths * widths[:, None]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    angles = np.linspace(0, 2 * np.pi, 73)[:-1]
    planes = [(i, j) for i in range(size) for j in range(i + 1, size)]
    rings = np.zeros((len(planes), len(angles), size))
    for ring, (i, j) in zip(rings, planes, strict=True):
        ring[:, i], ring[:, j] = np.cos(angles), np.sin(angles)
    extremes = covariance / np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    points = np.concatenate([rings.reshape(-1, size) @ root.T, extremes, -extremes])

    def allowed(directions):
        wide = np.maximum(np.einsum("dp,pq,dq->d", directions, covariance, directions), 1e-300)
        return doubt.half_width(directions, confidence) ** 2 / wide

    return theta + points, np.zeros((size, 2), bool), allowed


def allowance(equations: Callable, theta: np.ndarray, doubt: Spread, confidence: float) -> Callable:
    """directions [D P] -> how far above the best the cost may be where the interval of each ends [D]."""
    naive = np.linalg.pinv(equations(theta[None])[2][0])

    def allowed(directions):
        independent = np.maximum(np.einsum("dp,pq,dq->d", directions, naive, directions), 1e-300)
        return 0.5 * doubt.half_width(directions, confidence) ** 2 / independent

    return allowed


def _profiled(equations, n, theta, allowed):
    """The set of (K_max, log N0) whose cost is within what is allowed: N0 on a grid, K_max's range at each."""
    limit = equations(theta[None])[0][0] + allowed
    low, high = np.log(n.min() / REACH), np.log(n.max() * REACH)
    coarse = np.union1d(np.linspace(low, high, GRID), np.clip(theta[1], low, high))
    cost = best_k_max(equations, coarse, theta)[1]
    inside = np.flatnonzero(cost <= max(limit, cost.min()))
    ends = _end(coarse, cost, limit, inside[0], -1), _end(coarse, cost, limit, inside[-1], 1)
    fine = np.union1d(np.linspace(ends[0], ends[1], GRID), np.clip(theta[1], *ends))
    k_max, cost, curvature = best_k_max(equations, fine, theta)
    width = np.sqrt(2 * np.maximum(limit - cost, 0) / np.maximum(curvature, 1e-300))
    points = np.concatenate([np.stack([k_max + sign * width, fine], -1) for sign in (-1, 1)] + [theta[None]])
    below, above = inside[0] == 0, inside[-1] == len(coarse) - 1
    # As N0 grows without limit K_max grows with it, up or down: only their ratio, the slope at small N, is known.
    return points, np.array([[above and k_max[-1] < width[-1], above and k_max[-1] > -width[-1]], [below, above]])


def best_k_max(equations: Callable, log_n0: np.ndarray, theta: np.ndarray):
    """(K_max, cost, curvature) at each fixed log N0 [G], searched from near theta [2]."""

    def fixed(k_max):
        cost, gradient, hessian = equations(np.concatenate([k_max, log_n0[:, None]], 1))
        return cost, gradient[:, :1], hessian[:, :1, :1]

    _, gradient, hessian = fixed(np.full((len(log_n0), 1), theta[0]))
    start = theta[0] - gradient[:, 0] / np.maximum(hessian[:, 0, 0], 1e-300)
    found = minimise(fixed, start[:, None], np.array([[-np.inf, np.inf]]), tolerance=1e-7)
    return found.theta[:, 0], found.cost, fixed(found.theta)[2][:, 0, 0]


def _end(grid, cost, limit, index, side):
    """Where the profile crosses the limit beyond grid[index], linear in the root of the deviance."""
    if not 0 <= index + side < len(grid):
        return grid[index]
    best = min(cost.min(), limit)
    inner, outer, edge = (np.sqrt(max(c - best, 0.0)) for c in (cost[index], cost[index + side], limit))
    share = (edge - inner) / max(outer - inner, 1e-300)
    return grid[index] + np.clip(share, 0, 1) * (grid[index + side] - grid[index])
