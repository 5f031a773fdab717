"""S-shaped curves with a floor: what a log-linear law lacks (ScaleRL, arXiv 2510.13786; App. D of the study).

Pass rate R = R0 + (A - R0) P, progress P = 1 / (1 + (X_mid / X)^B), so the loss falls from 1 - R0 to the floor
1 - A. R0 and A are linear given (X_mid, B) and are eliminated; the other two are searched from a fixed grid.
"""

import dataclasses

import numpy as np

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.fitting import r_squared
from rlscale_jax.laws.objectives import curve_weights
from rlscale_jax.laws.solver import minimise

STEEPNESS = (0.3, 1.0, 2.5)  # starts of B
MIN_POINTS = 6
ROUNDS = 4  # of the robust objective's weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """One model's S-curve: pass rates `start` (R0) and `ceiling` (A), the resource `middle` where half is gained, and
    `steepness` B. `identified` False: the data end before the curve bends, so the ceiling is extrapolated.
    """

    model: str
    start: float
    ceiling: float
    middle: float
    steepness: float
    r2: float
    log_rmse: float
    converged: bool
    identified: bool

    def loss(self, x) -> np.ndarray:
        """Test loss at resource x."""
        return (
            1 - self.start - (self.ceiling - self.start) * progress(np.asarray(x, float), self.middle, self.steepness)
        )

    def slope(self, x) -> np.ndarray:
        """The effective slope -d log L / d log x at resource x."""
        p = progress(np.asarray(x, float), self.middle, self.steepness)
        return self.steepness * (self.ceiling - self.start) * p * (1 - p) / self.loss(x)


def progress(x: np.ndarray, middle, steepness) -> np.ndarray:
    """Share of the learnable loss realised at resource x: 1 / (1 + (middle / x)^steepness)."""
    return 1 / (1 + np.exp(np.clip(steepness * (np.log(middle) - np.log(x)), -200, 200)))


def sigmoids(curves: Curves, *, objective: str = "robust") -> list[Sigmoid]:
    """An S-curve for every model with at least 6 points, by least squares in raw loss (weights: `curve_weights`)."""
    rows = [i for i in range(len(curves.n)) if curves.mask[i].sum() >= MIN_POINTS]
    return [_fit(curves.names[i], *curves.points(i)[:2], curves.trials[i, curves.mask[i]], objective) for i in rows]


def _fit(name: str, x: np.ndarray, loss: np.ndarray, trials: np.ndarray, objective: str) -> Sigmoid:
    low, high = np.log(x.min()), np.log(x.max())
    bounds = np.array([(low - 3, high + 3), (np.log(0.1), np.log(8.0))])
    start = np.array([(m, np.log(b)) for m in np.linspace(low, high, 5) for b in STEEPNESS])
    weights = np.ones_like(loss)
    for _ in range(ROUNDS if objective == "robust" else 1):
        found = minimise(_equations(x, loss, weights), start, bounds, tolerance=1e-8)
        best = int(np.argmin(found.cost))
        start = found.theta[[best]]
        middle, steepness = map(float, np.exp(start[0]))
        (top, drop), _ = _linear(progress(x, middle, steepness)[None], loss, weights)
        fitted = top[0] - drop[0] * progress(x, middle, steepness)
        weights = curve_weights(objective, loss, fitted, trials)
    apart = np.log10(loss) - np.log10(np.maximum(fitted, 1e-6))
    ceiling = 1 - top[0] + drop[0]
    return Sigmoid(
        model=name, start=float(1 - top[0]), ceiling=float(ceiling), middle=middle, steepness=steepness,
        r2=r_squared(loss, fitted), log_rmse=float(np.sqrt((apart**2).mean())), converged=bool(found.converged[best]),
        identified=bool(x.min() < middle < x.max() / 2 and 0 < ceiling <= 1),
    )  # fmt: skip


def _linear(p: np.ndarray, loss: np.ndarray, weights: np.ndarray):
    """Weighted least squares of loss ~ top - drop p for p [B T]: ((top, drop) [B], residual [B T])."""
    share = weights / weights.sum()
    middle = p @ share
    center = p - middle[:, None]
    drop = -(center * (share * loss)).sum(-1) / np.maximum((center**2 * share).sum(-1), 1e-300)
    top = share @ loss + drop * middle
    return (top, drop), loss - (top[:, None] - drop[:, None] * p)


def _equations(x: np.ndarray, loss: np.ndarray, weights: np.ndarray):
    """theta [B 2] = (log middle, log steepness) -> cost, gradient, hessian; Kaufman's Jacobian of the projection."""
    root = np.sqrt(weights)

    def evaluate(theta):
        steepness = np.exp(theta[:, 1:])
        p = progress(x, np.exp(theta[:, :1]), steepness)
        (_, drop), residual = _linear(p, loss, weights)
        residual = root * residual
        d_p = p * (1 - p)
        partial = np.stack([-steepness * d_p, d_p * steepness * (np.log(x) - theta[:, :1])], -1)
        partial = partial * drop[:, None, None] * root[:, None]
        center = root * (p - (p @ weights / weights.sum())[:, None])
        level = np.broadcast_to(root / np.linalg.norm(root), p.shape)
        basis = np.stack([level, center / np.maximum(np.linalg.norm(center, axis=-1, keepdims=True), 1e-300)], -1)
        partial = partial - np.einsum("btq,bqp->btp", basis, np.einsum("btq,btp->bqp", basis, partial))
        gradient = np.einsum("bt,btp->bp", residual, partial)
        return 0.5 * (residual**2).sum(-1), gradient, np.einsum("btp,btq->bpq", partial, partial)

    return evaluate
