"""Data reuse: with D_total = tau D_unique fixed, how slope, intercept and final loss depend on tau (Eq. 9)."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import special

from rlscale_jax.laws.curves import NOMINAL_TRIALS
from rlscale_jax.laws.diagnostics import effective_points
from rlscale_jax.laws.files import csv_rows
from rlscale_jax.laws.objectives import lines

FINAL, FINAL_SHARE = 10, 0.3  # evaluations averaged into a final loss, and at most this share of a curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reuse:
    """One reuse factor: k and E of its curve, its final loss with standard error, and the final loss less that of the
    smallest factor with its interval."""

    tau: float
    k: float
    k_error: float
    E: float
    final: float
    final_error: float
    apart: float
    apart_low: float
    apart_high: float


def reuse(curves: dict[float, tuple[np.ndarray, np.ndarray]], *, confidence: float = 0.9) -> list[Reuse]:
    """Fits each curve of `curves` {tau: (resource [T], loss [T])}, resources in the same unit for all.

    The final loss is the mean of the last 10 evaluations (of a short curve, of its last 30 %); its standard error is
    the larger of their scatter on effective points and the binomial error of one test set, so differences are judged
    against both.
    Raises: ValueError for fewer than 2 factors, or a curve that ends well before the others.
    """
    if len(curves) < 2:
        raise ValueError(f"{len(curves)} reuse factor(s): there is nothing to compare; run tau = 1 and larger ones")
    ends = {tau: float(np.max(x)) for tau, (x, _) in curves.items()}
    short = [tau for tau, end in ends.items() if end < 0.9 * max(ends.values())]
    if short:
        raise ValueError(f"the runs of tau {', '.join(f'{t:g}' for t in short)} end early: D_total must be the same")
    rows = [_one(tau, *curves[tau]) for tau in sorted(curves)]
    reach = float(special.ndtri((1 + confidence) / 2))
    return [_against(row, rows[0], reach) for row in rows]


def read(paths: Sequence[str | pathlib.Path]) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """{tau: (resource [T], loss [T])} from CSV with the columns tau, test_loss and samples or step; runs averaged.

    Raises: ValueError naming file and row for what is no reuse study.
    """
    points: dict[float, dict[float, list[float]]] = {}
    for path in paths:
        for row in csv_rows(path, needed=("tau", "test_loss"), either=("samples", "step")):
            resource = "samples" if "samples" in row else "step"
            tau, x, loss = (_number(row, name) for name in ("tau", resource, "test_loss"))
            if not (tau > 0 and 0 < loss <= 1):
                raise ValueError(f"{row['where']}: tau={tau:g}, test_loss={loss:g}; tau is positive, a loss in (0, 1]")
            if x > 0:
                points.setdefault(tau, {}).setdefault(x, []).append(loss)
    return {tau: (np.array(sorted(at)), np.array([np.mean(at[x]) for x in sorted(at)])) for tau, at in points.items()}


def _number(row: dict, name: str) -> float:
    try:
        return float(row[name])
    except ValueError:
        raise ValueError(f"{row['where']}: {name}={row[name]!r} is not a number") from None


def _one(tau: float, x: np.ndarray, loss: np.ndarray) -> Reuse:
    order = np.argsort(x)
    x, loss = np.asarray(x, float)[order], np.asarray(loss, float)[order]
    u = np.log10(x)
    k, level = lines(u, loss, np.ones_like(loss))
    residual = np.log10(loss) - level
    worth = effective_points(residual)
    k_error = residual.std() / u.std() / np.sqrt(max(worth - 2, 1))
    last = loss[-min(FINAL, max(round(FINAL_SHARE * len(loss)), 2)) :]
    final = float(last.mean())
    scatter = last.std(ddof=1) / np.sqrt(max(len(last) * worth / len(loss), 1))
    binomial = np.sqrt(final * (1 - final) / (NOMINAL_TRIALS * len(last)))
    return Reuse(
        tau=tau, k=float(k), k_error=float(k_error), E=float(level[0] + k * u[0]), final=final,
        final_error=float(max(scatter, binomial)), apart=0.0, apart_low=0.0, apart_high=0.0,
    )  # fmt: skip


def _against(row: Reuse, first: Reuse, reach: float) -> Reuse:
    if row is first:
        return row
    apart = row.final - first.final
    error = np.hypot(row.final_error, first.final_error)
    low, high = float(apart - reach * error), float(apart + reach * error)
    return dataclasses.replace(row, apart=apart, apart_low=low, apart_high=high)
