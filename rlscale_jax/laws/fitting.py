"""Fitting k(N) and E to learning curves: one function, deterministic, with its doubts beside the numbers."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from rlscale_jax.laws import table as tables
from rlscale_jax.laws.curves import Curves, gather
from rlscale_jax.laws.identifiability import notes
from rlscale_jax.laws.levels import anchor
from rlscale_jax.laws.objectives import Problem, lines, pose, project
from rlscale_jax.laws.profile import region
from rlscale_jax.laws.protocols import Protocol, split
from rlscale_jax.laws.result import Fit, ModelFit
from rlscale_jax.laws.slopes import Slope, build
from rlscale_jax.laws.solver import Solution, minimise
from rlscale_jax.laws.table import Table

OBJECTIVES = ("robust", "published")
Source = Table | Curves | str | pathlib.Path | Sequence[str | pathlib.Path] | Sequence[dict]


def fit(
    curves: Source,
    *,
    resource: str,
    law: str = "saturating",
    objective: str = "robust",
    protocol: Protocol | str = "full",
    confidence: float = 0.9,
) -> Fit:
    """Fits log10 L = -k(N) log10 X + E(N), E free for each model, k(N) of the family `law`.

    Args:
      curves: a table, curves, rows as dicts with the columns of `curves.csv`, or paths of CSV files or of a study's
        directory (see `table.read`).
      resource: X: "compute" (FLOPs) or "data" (prompts seen).
      law: saturating, power, linear, log, constant, or loglinear (k free for each model).
      objective: "robust" (log loss, binomial and Huber weights) or "published" (raw-loss mean squared error, each
        model the same weight, the published bounds).
      protocol: which points are fitted and which kept for testing.
      confidence: of the intervals.

    Raises: ValueError for data that cannot be fitted, with what is wrong and where.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is not one of {', '.join(OBJECTIVES)}")
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence {confidence} is not in [0.5, 1)")
    protocol = Protocol(name=protocol) if isinstance(protocol, str) else protocol
    fitted, held = split(load(curves, resource), protocol)
    slope = build(law, fitted.n, objective=objective)
    problem = pose(objective, fitted.log_x, fitted.loss, fitted.trials, fitted.mask)
    best = solve(problem, slope, fitted.n, starts(slope, fitted))
    doubt = region(equations(problem, slope, fitted.n), problem, slope, fitted, best.theta[0], confidence=confidence)
    k = slope.k(best.theta[0], fitted.n)
    E = project(problem, k).E
    result = Fit(
        resource=resource,
        law=law,
        objective=objective,
        protocol=protocol,
        slope=slope,
        theta=best.theta[0],
        levels=anchor(fitted.n, k, E, _middle(fitted)),
        models=_per_model(fitted, k, E),
        r2=pooled_r2(fitted, k, E),
        r2_log=pooled_r2(fitted, k, E, np.log10),
        converged=bool(best.converged[0]),
        region=doubt,
        notes=(),
        fitted=fitted,
        held=held,
    )
    return dataclasses.replace(result, notes=notes(result))


def load(curves: Source, resource: str) -> Curves:
    """The curves against one resource, from whatever `fit` takes."""
    if isinstance(curves, Curves):
        if curves.resource != resource:
            raise ValueError(f"these curves are against {curves.resource}, not {resource}")
        return curves
    if isinstance(curves, str | pathlib.Path):
        return gather(tables.read(curves), resource)
    if not isinstance(curves, Table):
        paths = [one for one in curves if isinstance(one, str | pathlib.Path)]
        curves = tables.read(paths) if paths else tables.from_rows(row for row in curves if isinstance(row, dict))
    return gather(curves, resource)


def equations(problem: Problem, slope: Slope, n: np.ndarray):
    """theta [B P] -> (cost [B], gradient [B P], Gauss-Newton hessian [B P P]), E eliminated."""

    def evaluate(theta):
        k, dk = slope.evaluate(theta, n)
        at = project(problem, k)
        pull = (at.residual * at.slope).sum(-1)
        information = np.broadcast_to((at.slope**2).sum(-1), pull.shape)
        cost = 0.5 * (at.residual**2).sum((-1, -2))
        return cost, np.einsum("bs,bsp->bp", pull, dk), np.einsum("bs,bsp,bsq->bpq", information, dk, dk)

    return evaluate


def starts(slope: Slope, curves: Curves) -> np.ndarray:
    """Starting points [A P] from each model's own slope."""
    return slope.starts(curves.n, lines(curves.log_x, curves.loss, curves.mask * 1.0)[0])


def solve(problem: Problem, slope: Slope, n: np.ndarray, start: np.ndarray) -> Solution:
    """The best of all starts [A P], as a batch of one."""
    found = minimise(equations(problem, slope, n), start, slope.bounds)
    best = int(np.argmin(found.cost))
    pick = slice(best, best + 1)
    return Solution(theta=found.theta[pick], cost=found.cost[pick], converged=found.converged[pick])


def _middle(curves: Curves) -> np.ndarray:
    return (curves.log_x * curves.mask).sum(1) / curves.mask.sum(1)


def predicted_loss(curves: Curves, k: np.ndarray, E: np.ndarray) -> np.ndarray:
    """The law's loss at the curves' points [S T]."""
    return 10 ** (E[:, None] - k[:, None] * curves.log_x)


def pooled_r2(curves: Curves, k: np.ndarray, E: np.ndarray, scale=np.asarray) -> float:
    """1 - residual / total sum of squares, all points of all models around one mean."""
    on = curves.mask
    return r_squared(scale(curves.loss[on]), scale(predicted_loss(curves, k, E)[on]))


def r_squared(actual: np.ndarray, predicted: np.ndarray) -> float:
    """1 - residual / total sum of squares; NaN where the actual values are all the same."""
    total = ((actual - actual.mean()) ** 2).sum()
    return float(1 - ((actual - predicted) ** 2).sum() / total) if total > 0 else float("nan")


def _per_model(curves: Curves, k: np.ndarray, E: np.ndarray) -> dict[str, ModelFit]:
    loss = predicted_loss(curves, k, E)
    models = {}
    for i, (name, on) in enumerate(zip(curves.names, curves.mask, strict=True)):
        apart = np.log10(curves.loss[i, on]) - np.log10(loss[i, on])
        models[name] = ModelFit(
            n=float(curves.n[i]),
            k=float(k[i]),
            E=float(E[i]),
            r2=r_squared(curves.loss[i, on], loss[i, on]),
            log_rmse=float(np.sqrt((apart**2).mean())),
            num_points=int(on.sum()),
            num_runs=int(curves.num_runs[i]),
        )
    return models
