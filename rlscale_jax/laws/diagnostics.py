"""Do the residuals look like noise? Per model: correlation, curvature, spread against the binomial error, outliers."""

import dataclasses

import numpy as np
from scipy import special

from rlscale_jax.laws.comparison import effective_points
from rlscale_jax.laws.objectives import LN10
from rlscale_jax.laws.result import Fit

SUSPICIOUS = 0.01  # p-value below which a departure is said in words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Residuals:
    """One model's residuals of log10 loss.

    `lag1`: correlation of neighbours; `effective`: independent points that the curve is worth; `curvature`: of
    log10 L in log10 X (positive: the curve flattens), `curvature_p` its two-sided p-value on the effective points;
    `over_binomial`: their standard deviation over what binomial sampling of the questions gives; `outliers`: points
    beyond four robust standard deviations.
    """

    model: str
    lag1: float
    effective: float
    curvature: float
    curvature_p: float
    over_binomial: float
    outliers: int


def residuals(fit: Fit) -> list[Residuals]:
    """The residual diagnostics of every fitted model."""
    return [_of(fit, i, name) for i, name in enumerate(fit.models)]


def words(found: list[Residuals]) -> list[str]:
    """The departures worth a sentence."""
    said = []
    bent = [r for r in found if r.curvature_p < SUSPICIOUS]
    for how, sign in (("flatten", 1), ("steepen", -1)):
        names = [r.model for r in bent if r.curvature * sign > 0]
        if names:
            said.append(f"The curves of {', '.join(names)} {how}: a straight line in log-log is not their form.")
    wide = [r for r in found if r.over_binomial > 1.5]
    if wide:
        names = ", ".join(f"{r.model} ({r.over_binomial:.1f}x)" for r in wide)
        said.append(f"Scatter beyond the binomial error of the questions: {names}.")
    wild = [f"{r.model} ({r.outliers})" for r in found if r.outliers]
    if wild:
        said.append(f"Points beyond four robust standard deviations: {', '.join(wild)}.")
    return said or ["The residuals show no departure from the law beyond their noise."]


def _of(fit: Fit, row: int, name: str) -> Residuals:
    on = fit.fitted.mask[row]
    model = fit.models[name]
    u = fit.fitted.log_x[row, on]
    level = model.E - model.k * u
    residual = np.log10(fit.fitted.loss[row, on]) - level
    effective = max(effective_points(residual), 4.0)
    loss = np.clip(10**level, 1e-4, 1 - 1e-4)
    binomial = np.sqrt((1 - loss) / (loss * np.maximum(fit.fitted.trials[row, on], 1))) / LN10
    spread = 1.4826 * np.median(np.abs(residual - np.median(residual)))
    square = (residual**2).sum()
    curvature, p = _curvature(u, residual, effective)
    return Residuals(
        model=name,
        lag1=float((residual[1:] * residual[:-1]).sum() / square) if square > 0 else 0.0,
        effective=effective,
        curvature=curvature,
        curvature_p=p,
        over_binomial=float(residual.std() / np.sqrt((binomial**2).mean())),
        outliers=int((np.abs(residual - np.median(residual)) > 4 * max(spread, 1e-12)).sum()),
    )


def _curvature(u: np.ndarray, residual: np.ndarray, effective: float) -> tuple[float, float]:
    """The quadratic coefficient of the residuals and its p-value, with T replaced by the effective points."""
    design = np.stack([np.ones_like(u), u - u.mean(), (u - u.mean()) ** 2], -1)
    if len(u) < 5:
        return 0.0, 1.0
    coefficients, *_ = np.linalg.lstsq(design, residual, rcond=None)
    rest = residual - design @ coefficients
    dof = max(effective - 3, 1.0)
    variance = (rest**2).mean() * len(u) / dof * len(u) / effective
    error = np.sqrt(max(variance * np.linalg.inv(design.T @ design)[2, 2], 1e-300))
    return float(coefficients[2]), float(2 * special.stdtr(dof, -abs(coefficients[2]) / error))
