"""Batched Levenberg-Marquardt on a box, for a handful of parameters and thousands of replicates at once."""

import dataclasses
from collections.abc import Callable

import numpy as np

EXACT = 1e-13  # of the starting cost: below it there is only rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solution:
    """`theta` [B P], `cost` [B] (half the sum of squares), `converged` [B]."""

    theta: np.ndarray
    cost: np.ndarray
    converged: np.ndarray


def minimise(
    equations: Callable, start: np.ndarray, bounds: np.ndarray, *, max_steps: int = 200, tolerance: float = 1e-10
) -> Solution:
    """Minimises a sum of squares from `start` [B P] inside `bounds` [P 2].

    `equations(theta [B P]) -> (cost [B], gradient [B P], hessian [B P P])`, the hessian Gauss and Newton's.
    A replicate has converged when a full Gauss-Newton step on its free parameters would lower its cost by less
    than `tolerance` of it (or by nothing that counts beside the cost of the start: an exact fit).
    """
    theta = np.clip(start, bounds[:, 0], bounds[:, 1])
    cost, gradient, hessian = equations(theta)
    nothing = EXACT * cost + EXACT**2
    damping = np.full(len(theta), 1e-4)
    done = np.zeros(len(theta), bool)
    for _ in range(max_steps):
        free = _free(theta, gradient, bounds)
        done = _decrease(gradient, hessian, free) <= tolerance * cost + nothing
        if done.all():
            break
        step = _step(gradient, hessian, free, damping)
        trial = np.clip(theta + step, bounds[:, 0], bounds[:, 1])
        new_cost, new_gradient, new_hessian = equations(trial)
        better = (new_cost < cost) & ~done
        theta = np.where(better[:, None], trial, theta)
        gradient = np.where(better[:, None], new_gradient, gradient)
        hessian = np.where(better[:, None, None], new_hessian, hessian)
        cost = np.where(better, new_cost, cost)
        damping = np.clip(np.where(better, damping / 9, damping * 7), 1e-14, 1e14)
    return Solution(theta=theta, cost=cost, converged=done)


def _free(theta: np.ndarray, gradient: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """True where a parameter is not held at its bound by the gradient."""
    return ~(((theta <= bounds[:, 0]) & (gradient > 0)) | ((theta >= bounds[:, 1]) & (gradient < 0)))


def _step(gradient, hessian, free, damping):
    """The damped step, scaled by the diagonal (Marquardt); held parameters stay."""
    size = hessian.shape[-1]
    eye = np.eye(size)
    matrix = hessian * free[:, :, None] * free[:, None, :]
    diagonal = np.einsum("bpp->bp", matrix)
    diagonal = np.maximum(diagonal, 1e-12 * diagonal.max(-1, keepdims=True))
    matrix = matrix + eye * (damping[:, None] * diagonal + ~free + 1e-300)[:, None, :]
    return -np.linalg.solve(matrix, (gradient * free)[..., None])[..., 0]


def _decrease(gradient, hessian, free):
    """What a full Gauss-Newton step is predicted to gain [B]."""
    step = _step(gradient, hessian, free, np.full(len(gradient), 1e-9))
    return np.maximum(-0.5 * (gradient * free * step).sum(-1), 0.0)
