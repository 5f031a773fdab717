"""The loss decomposition of App. D, shared across sizes, with its effective log-log slope.

    L(N, D) = L_inf + (N_c / N)^alpha + dL(N) (1 - P(N, D)),   P = 1 / (1 + (D0(N) / D)^beta)

L_inf, N_c, alpha and beta are shared by all sizes; each size has its D0 and dL. dL is linear and is eliminated; the
rest is found by least squares in raw loss (weights: `objectives.curve_weights`) from fixed starts.
"""

import dataclasses

import numpy as np
from scipy import optimize

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.fitting import r_squared
from rlscale_jax.laws.objectives import curve_weights
from rlscale_jax.laws.sigmoid import progress

STARTS = ((0.05, 0.3, 0.8), (0.0, 0.5, 1.2), (0.2, 0.8, 1.0))  # L_inf, alpha, beta
BETA_RANGE = (0.2, 5.0)
ROUNDS = 3  # of the robust objective's weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decomposition:
    """The fitted decomposition: shared `l_inf`, `n_c` (parameters), `alpha`, `beta`; per model `d0` (resource), `dl`.

    `r2` in raw loss, pooled over the fitted points around one mean. `notes` say what the data leave open.
    """

    l_inf: float
    n_c: float
    alpha: float
    beta: float
    n: dict[str, float]
    d0: dict[str, float]
    dl: dict[str, float]
    r2: float
    converged: bool
    notes: tuple[str, ...]

    def loss(self, model: str, d) -> np.ndarray:
        """Test loss of a fitted model at resource d."""
        limit = self.l_inf + (self.n_c / self.n[model]) ** self.alpha
        return limit + self.dl[model] * (1 - progress(np.asarray(d, float), self.d0[model], self.beta))

    def slope(self, model: str, d) -> np.ndarray:
        """The effective slope -d log L / d log D at resource d."""
        p = progress(np.asarray(d, float), self.d0[model], self.beta)
        return self.beta * self.dl[model] * p * (1 - p) / self.loss(model, d)

    def slope_at_d0(self, model: str) -> float:
        """beta dL / (4 L(N, D0)): at most beta / 2."""
        return float(self.beta * self.dl[model] / (4 * self.loss(model, self.d0[model])))


def decompose(curves: Curves, *, beta: float | str = "fitted", objective: str = "robust") -> Decomposition:
    """Fits the decomposition to curves against data; a number for `beta` holds it there.

    Early parts of curves hardly determine beta: the published values for the first 30 % of steps go with beta = 1.
    Raises: ValueError for fewer than 3 sizes.
    """
    sizes = len(np.unique(curves.n))
    if sizes < 3:
        raise ValueError(f"{sizes} sizes; the model-limited loss L_inf + (N_c / N)^alpha needs at least 3")
    curve = [curves.points(i)[:2] for i in range(len(curves.n))]
    scale = float(np.exp(np.log(curves.n).mean()))
    held = BETA_RANGE if beta == "fitted" else (float(beta) * (1 - 1e-6), float(beta) * (1 + 1e-6))
    n, weights = curves.n / scale, [np.ones_like(loss) for _, loss in curve]
    found = min((_search(curve, n, weights, _start(curve, *at), held) for at in STARTS), key=lambda one: one.cost)
    trials = [curves.trials[i, on] for i, on in enumerate(curves.mask)]
    for _ in range(ROUNDS if objective == "robust" else 0):
        residuals = _residuals(found.x, curve, n, weights)[0]
        weights = [
            curve_weights(objective, loss, loss - r, t)
            for (_, loss), r, t in zip(curve, residuals, trials, strict=True)
        ]
        found = _search(curve, n, weights, found.x, held)
    return _result(curves, curve, weights, found, scale)


def with_calibrated(found: Decomposition, held: Curves) -> Decomposition:
    """`found` with the models of `held` beside its own, D0 and dL of each from its own points.

    This is the paper's inter-model extrapolation (App. D.2): only the floor and the form are predicted.
    """
    n, d0, dl = dict(found.n), dict(found.d0), dict(found.dl)
    for i, name in enumerate(held.names):
        x, loss, _ = held.points(i)
        n[name] = float(held.n[i])
        d0[name], dl[name] = calibrate(found, n[name], x, loss)
    return dataclasses.replace(found, n=n, d0=d0, dl=dl)


def calibrate(found: Decomposition, n: float, x: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    """(D0, dL) of a model of size n (parameters) from its own points, all that sizes share held as fitted."""
    limit = found.l_inf + (found.n_c / n) ** found.alpha

    def drop_and_error(log_d0: float) -> tuple[float, float]:
        left = 1 - progress(x, np.exp(log_d0), found.beta)
        drop = max(float(((loss - limit) * left).sum() / (left**2).sum()), 0.0)
        return drop, float(((loss - limit - drop * left) ** 2).sum())

    grid = np.linspace(np.log(x.min()) - 3, np.log(x.max()) + 3, 61)
    at = grid[int(np.argmin([drop_and_error(g)[1] for g in grid]))]
    best = optimize.minimize_scalar(lambda g: drop_and_error(g)[1], bounds=(at - 0.3, at + 0.3), method="bounded")
    return float(np.exp(best.x)), drop_and_error(float(best.x))[0]


def _start(curve, l_inf, alpha, beta):
    last = np.array([loss[-1] for _, loss in curve])
    middle = [np.log(np.sqrt(x.min() * x.max())) for x, _ in curve]
    # The model-limited loss is (size share)^alpha times its value at the mean size.
    return np.array([l_inf, np.log(max(np.median(last) - l_inf, 0.05)), alpha, np.log(beta), *middle])


def _search(curve, n, weights, theta, beta_range):
    low = np.array([0.0, np.log(1e-3), 0.0, np.log(beta_range[0]), *(np.log(x.min()) - 2 for x, _ in curve)])
    high = np.array([1.0, np.log(2.0), 3.0, np.log(beta_range[1]), *(np.log(x.max()) + 2 for x, _ in curve)])
    theta = np.clip(theta, low + 1e-3 * (high - low), high - 1e-3 * (high - low))
    return optimize.least_squares(
        lambda t: np.concatenate(
            [np.sqrt(w) * r for w, r in zip(weights, _residuals(t, curve, n, weights)[0], strict=True)]
        ),
        theta,
        bounds=(low, high),
        x_scale="jac",
        max_nfev=400,
    )


def _residuals(theta, curve, n, weights):
    """Per-model residuals (without weights) and dL, each dL >= 0 the best for the other parameters."""
    l_inf, log_level, alpha, log_beta = theta[:4]
    residuals, drops = [], []
    for (x, loss), share, weight, log_d0 in zip(curve, n, weights, theta[4:], strict=True):
        limit = l_inf + np.exp(log_level) * share**-alpha
        left = 1 - progress(x, np.exp(log_d0), np.exp(log_beta))
        drop = max(float((weight * (loss - limit) * left).sum() / (weight * left**2).sum()), 0.0)
        residuals.append(loss - limit - drop * left)
        drops.append(drop)
    return residuals, drops


def _result(curves: Curves, curve, weights, found, scale: float) -> Decomposition:
    l_inf, log_level, alpha, log_beta = map(float, found.x[:4])
    residuals, drops = _residuals(found.x, curve, curves.n / scale, weights)
    actual = np.concatenate([loss for _, loss in curve])
    d0 = np.exp(found.x[4:])
    late = [name for name, at, (x, _) in zip(curves.names, d0, curve, strict=True) if not x.min() < at < x.max()]
    notes = []
    if late:
        notes.append(f"D0 of {', '.join(late)} lies outside the data: half of the learnable loss is not seen there.")
    if l_inf < 1e-3:
        notes.append("L_inf is 0 within the search's reach: these sizes show no irreducible loss.")
    if not found.success:
        notes.append("The fit did not converge.")
    return Decomposition(
        l_inf=l_inf,
        n_c=float(scale * np.exp(log_level / alpha)) if alpha > 1e-6 else float("nan"),
        alpha=alpha,
        beta=float(np.exp(log_beta)),
        n=dict(zip(curves.names, map(float, curves.n), strict=True)),
        d0=dict(zip(curves.names, map(float, d0), strict=True)),
        dl=dict(zip(curves.names, drops, strict=True)),
        r2=r_squared(actual, actual - np.concatenate(residuals)),
        converged=bool(found.success),
        notes=tuple(notes),
    )
