"""What "fits well" means: the published objective and the robust one, intercepts eliminated exactly.

Given the slopes k, the best E of each model has a closed form in both (variable projection), so a fit searches
only over the parameters of k(N). Shapes: S models, T steps, `..` any batch of replicates.
"""

import dataclasses

import numpy as np

LN10 = np.log(10.0)
HUBER = 1.345  # 95 % efficiency on clean normal errors
FINEST = 0.003  # log10 loss: no law is nearer to a point than this, however little binomial noise a loss near 1 has


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """Weighted least squares of one objective: `kind` published or robust, arrays [.. S T], weights 0 for padding."""

    kind: str
    log_x: np.ndarray
    loss: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Projected:
    """With E eliminated at slopes k [.. S]: `E` [.. S], weighted `residual` and its k-derivative `slope` [.. S T]."""

    E: np.ndarray
    residual: np.ndarray
    slope: np.ndarray


def pose(kind: str, log_x: np.ndarray, loss: np.ndarray, trials: np.ndarray, mask: np.ndarray) -> Problem:
    """The problem of objective `kind` for curves [.. S T].

    published: squared error in raw loss, each model the same total weight (the study's code).
    robust: squared error in log10 loss; a point weighs its binomial information times a Huber weight about its
    own model's line, so that a few wild evaluations do not turn a curve and bad scaling cannot hide as outliers.
    """
    if kind == "published":
        weights = mask / np.maximum(mask.sum(-1, keepdims=True), 1)
    elif kind == "robust":
        weights = _robust_weights(log_x, loss, trials, mask)
    else:
        raise ValueError(f"objective {kind!r} is not one of published, robust")
    return Problem(kind=kind, log_x=log_x, loss=loss, weights=weights)


def project(problem: Problem, k: np.ndarray) -> Projected:
    """Eliminates E at slopes k [.. S]."""
    w, u = problem.weights, problem.log_x
    total = w.sum(-1, keepdims=True)
    center = (w * u).sum(-1, keepdims=True) / total
    u = u - center
    project_kind = _project_raw if problem.kind == "published" else _project_log
    level, residual, slope = project_kind(w, u, problem.loss, k[..., None], total)
    root = np.sqrt(w)
    return Projected(E=level + k * center[..., 0], residual=root * residual, slope=root * slope)


def _project_log(w, u, loss, k, total):
    z = np.log10(loss)
    mean = (w * z).sum(-1, keepdims=True) / total
    return mean[..., 0], z - mean + k * u, u


def _project_raw(w, u, loss, k, total):
    """loss ~ a 10^(-k u): a is linear, its dependence on k is differentiated too (Golub and Pereyra 1973)."""
    shape = np.exp(np.clip(-LN10 * k * u, -200, 200))
    d_shape = -LN10 * u * shape
    square = (w * shape**2).sum(-1, keepdims=True)
    a = (w * loss * shape).sum(-1, keepdims=True) / square
    d_a = ((w * loss * d_shape).sum(-1, keepdims=True) - 2 * a * (w * shape * d_shape).sum(-1, keepdims=True)) / square
    return np.log10(np.maximum(a[..., 0], 1e-300)), loss - a * shape, -(d_a * shape + a * d_shape)


def lines(log_x: np.ndarray, loss: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each model's own weighted line in log10 loss: (k [.. S], level of log10 loss [.. S T])."""
    total = weights.sum(-1, keepdims=True)
    z = np.log10(loss)
    u = log_x - (weights * log_x).sum(-1, keepdims=True) / total
    mean = (weights * z).sum(-1, keepdims=True) / total
    k = -(weights * u * (z - mean)).sum(-1) / np.maximum((weights * u**2).sum(-1), 1e-300)
    return k, mean - k[..., None] * u


def _robust_weights(log_x, loss, trials, mask):
    information = mask * np.maximum(trials, 1)
    weights = information * 1.0
    for _ in range(12):  # settles to four digits; the weights are then part of the objective
        level = lines(log_x, loss, weights)[1]
        smooth = np.minimum(10**level, 1.0)
        # Var(log10 L) = (1 - L) / (L trials ln10^2); half a problem keeps a perfect score from infinite weight.
        odds = smooth / (1 - smooth + 0.5 / np.maximum(trials, 1))
        binomial = information * odds * LN10**2
        binomial = binomial / (1 + FINEST**2 * binomial)
        standard = np.sqrt(binomial) * (np.log10(loss) - level)
        size = np.where(mask, np.abs(standard), np.nan)
        spread = np.nanmedian(size, axis=-1, keepdims=True) / 0.6745
        ratio = HUBER * np.maximum(spread, 1e-12) / np.maximum(np.abs(standard), 1e-300)
        weights = binomial * np.minimum(1.0, ratio)
    return weights


def curve_weights(kind: str, loss: np.ndarray, fitted: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Weights [T] of squared errors in raw loss of one curve about `fitted` [T], for laws with a floor.

    published: every point the same. robust: binomial information times a Huber weight, as above.
    """
    if kind == "published":
        return np.ones_like(loss)
    half = 0.5 / np.maximum(trials, 1)
    level = np.clip(fitted, half, 1 - half)
    binomial = np.maximum(trials, 1) / (level * (1 - level))
    standard = np.abs(np.sqrt(binomial) * (loss - fitted))
    ratio = HUBER * max(np.median(standard) / 0.6745, 1e-12) / np.maximum(standard, 1e-300)
    weights = binomial * np.minimum(1.0, ratio)
    return weights / weights.mean()
