"""Rival laws side by side: fit, information criterion, and error on what was held out, beside plain baselines."""

import dataclasses

import numpy as np

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.fitting import Source, fit, load
from rlscale_jax.laws.holdout import Score, pooled_log_rmse, score
from rlscale_jax.laws.objectives import lines
from rlscale_jax.laws.protocols import Protocol
from rlscale_jax.laws.result import Fit

RIVALS = ("saturating", "power", "log", "linear", "constant", "loglinear")
BASELINES = ("constant", "last value", "line of its own", "largest fitted size", "slope of the largest fitted size")
LATE_SHARE = 0.5  # of each curve's points, held out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One law or baseline. `aic` differences are to the best law (NaN for baselines).

    log-RMSE on the largest size, `predicted` and `calibrated` (see `holdout`), and on the late half of each curve.
    """

    name: str
    num_parameters: int
    log_rmse: float
    aic: float
    largest_predicted: float
    largest_calibrated: float
    late: float


def compare(curves: Source, *, resource: str, objective: str = "robust") -> list[Row]:
    """Every law that the number of sizes allows, then the baselines (0 parameters of k)."""
    loaded = load(curves, resource)
    sizes = len(np.unique(loaded.n))
    late = Protocol(name="intra", drop_last=int(loaded.mask.sum(1).min() * LATE_SHARE))
    rows, scores = [], {}
    for law in RIVALS:
        if law in ("saturating", "power", "log", "linear") and sizes < 2:
            continue
        whole = fit(loaded, resource=resource, law=law, objective=objective)
        scores[law] = _scores(loaded, law, objective, late)
        rows.append(_row(law, whole, scores[law]))
    best = min(row.aic for row in rows)
    rows = [dataclasses.replace(row, aic=row.aic - best) for row in rows]
    return rows + [_baseline(name, scores) for name in BASELINES]


def _scores(curves: Curves, law: str, objective: str, late: Protocol) -> tuple[list[Score], list[Score]]:
    """(largest held out, late steps held out); [] where too few sizes are left for the law."""
    needed = {"constant": 1, "loglinear": len(curves.n)}.get(law, 2)
    inter = []
    if law != "loglinear" and len(np.unique(curves.n)) > needed:
        inter = score(fit(curves, resource=curves.resource, law=law, objective=objective, protocol="inter"))
    intra = score(fit(curves, resource=curves.resource, law=law, objective=objective, protocol=late))
    return inter, intra


def _row(law: str, whole: Fit, scores) -> Row:
    inter, intra = scores
    return Row(
        name=law,
        num_parameters=len(whole.theta),
        log_rmse=_pooled(whole),
        aic=aic(whole),
        largest_predicted=pooled_log_rmse(inter, law, "predicted"),
        largest_calibrated=pooled_log_rmse(inter, law, "calibrated"),
        late=pooled_log_rmse(intra, law, "predicted"),
    )


def _baseline(name: str, scores: dict) -> Row:
    inter, intra = scores.get("saturating") or scores["constant"]
    nan = float("nan")
    return Row(
        name=f"baseline: {name}", num_parameters=0, log_rmse=nan, aic=nan,
        largest_predicted=pooled_log_rmse(inter, name, "predicted"),
        largest_calibrated=pooled_log_rmse(inter, name, "calibrated"),
        late=pooled_log_rmse(intra, name, "predicted"),
    )  # fmt: skip


def _pooled(fit: Fit) -> float:
    points = np.array([m.num_points for m in fit.models.values()])
    squares = np.array([m.log_rmse for m in fit.models.values()]) ** 2
    return float(np.sqrt((points * squares).sum() / points.sum()))


def aic(fit: Fit) -> float:
    """Akaike's criterion in log10 loss, a variance for each model, on the effective number of independent points.

    Neighbouring steps are correlated: a curve counts as `effective_points` of the residuals about its own line, the
    same number whatever law is judged.
    """
    curves, total = fit.fitted, 0.0
    for i, (model, on) in enumerate(zip(fit.models.values(), curves.mask, strict=True)):
        z, u = np.log10(curves.loss[i, on]), curves.log_x[i, on]
        own = z - lines(u, curves.loss[i, on], np.ones_like(u))[1]
        total += effective_points(own) * np.log(max(((z - model.E + model.k * u) ** 2).mean(), 1e-30))
    return float(total + 2 * (len(fit.theta) + 2 * len(fit.models)))


def effective_points(residual: np.ndarray) -> float:
    """T (1 - r) / (1 + r) with r the residuals' lag-one correlation, never above T."""
    square = (residual**2).sum()
    r = float((residual[1:] * residual[:-1]).sum() / square) if square > 0 else 0.0
    return len(residual) * (1 - max(r, 0.0)) / (1 + max(r, 0.0))
