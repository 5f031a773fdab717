"""Times the law fit beside CMA-ES on the same published objective, curves and bounds; last line: JSON.

    python -m benchmarks.law_fit --curves=DIR            the study's curves (qwen25_base_compute.csv, ...)
    python -m benchmarks.law_fit                         a simulated study of the same shape

Both minimise the mean over models of the mean squared error in raw loss. Ours eliminates E exactly and searches two
parameters with derivatives; CMA-ES (package `cma`, requirements-peers.txt) searches K_max, N0 and every E in the unit
box, without derivatives, from the box's middle with its default population, as the published analysis does by what
is known of it. Times are CPU seconds of one process. Without `cma` the peer's fields are null.
"""

import json
import pathlib
import resource
import statistics
import time

import numpy as np
from absl import app, flags

from rlscale_jax import laws
from rlscale_jax.laws.bootstrap import bootstrap
from rlscale_jax.laws.fitting import equations
from rlscale_jax.laws.objectives import pose
from rlscale_jax.laws.protocols import split
from rlscale_jax.laws.simulation import Design, simulate
from rlscale_jax.laws.slopes import PUBLISHED_BOUNDS

_CURVES = flags.DEFINE_string("curves", "", "directory of the study's curves; empty: a simulated study")
_REPEATS = flags.DEFINE_integer("repeats", 9, "timed repetitions of our fit (median)")

E_BOUNDS = (-1.0, 4.0)  # wide enough for every published fit
CMA_SPREAD, CMA_SEED, CMA_EVALUATIONS = 0.3, 1, 200_000


def main(argv) -> None:
    del argv
    fitted = split(_load(), laws.Protocol(name="inter"))[0]
    ours, secs = _timed(lambda: laws.fit(fitted, resource="compute", objective="published"), _REPEATS.value)
    floor = _floor(fitted, ours)
    runs = simulate(Design(num_steps=105), seed=0).table
    resampled = laws.fit(runs, resource="data")
    _, refits = _timed(lambda: bootstrap(resampled, over=("runs",), num=1000), 1)
    peer = _peer(fitted)
    found = {"k_max": ours.parameters["k_max"], "n0": ours.parameters["n0"], "mse": _error(ours)}
    line = {
        "workload": f"saturating law, {len(fitted.n)} sizes, {int(fitted.mask.sum())} points, published objective",
        "value": secs, "unit": "CPU seconds a fit with its intervals", "floor": floor, "fraction": floor / secs,
        "compile_secs": 0.0, "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "found": found, "bootstrap_1000_secs": refits, **peer,
        "ratio": peer["peer_value"] / secs if peer["peer_value"] else None,
    }  # fmt: skip
    print(json.dumps(line))


def _load() -> laws.Curves:
    if _CURVES.value:
        return laws.gather(laws.read(pathlib.Path(_CURVES.value) / "qwen25_base_compute.csv"), "compute")
    sizes, loss = (*Design.sizes, 72e9), (*Design.loss, 0.47)
    return laws.gather(simulate(Design(sizes=sizes, loss=loss, num_steps=105), seed=0).table, "compute")


def _timed(work, repeats: int):
    """(result, median CPU seconds) of `repeats` calls after a first one."""
    result, spent = work(), []
    for _ in range(repeats):
        begun = time.process_time()
        result = work()
        spent.append(time.process_time() - begun)
    return result, statistics.median(spent)


def _floor(curves: laws.Curves, fit: laws.Fit) -> float:
    """One evaluation of objective, gradient and curvature: no derivative-based fit does with less."""
    problem = pose("published", curves.log_x, curves.loss, curves.trials, curves.mask)
    evaluate = equations(problem, fit.slope, curves.n)
    return _timed(lambda: [evaluate(fit.theta[None]) for _ in range(100)], 3)[1] / 100


def _error(fit: laws.Fit) -> float:
    curves = fit.fitted
    k, E = (np.array([getattr(m, name) for m in fit.models.values()]) for name in ("k", "E"))
    return _mean_squared(curves, k, E)


def _mean_squared(curves: laws.Curves, k: np.ndarray, E: np.ndarray) -> float:
    """The published objective: the mean over models of the mean squared error in raw loss."""
    apart = np.where(curves.mask, 10 ** (E[:, None] - k[:, None] * curves.log_x) - curves.loss, 0.0)
    return float(((apart**2).sum(1) / curves.mask.sum(1)).mean())


def _peer(curves: laws.Curves) -> dict:
    try:
        import cma  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {"peer": None, "peer_value": None}
    bounds = np.array([PUBLISHED_BOUNDS["k_max"], PUBLISHED_BOUNDS["n0"], *[E_BOUNDS] * len(curves.n)])

    def objective(unit):
        values = bounds[:, 0] + np.asarray(unit) * (bounds[:, 1] - bounds[:, 0])
        return _mean_squared(curves, values[0] / (1 + values[1] / curves.n), values[2:])

    options = {"bounds": [0, 1], "seed": CMA_SEED, "verbose": -9, "maxfevals": CMA_EVALUATIONS, "tolfun": 1e-12}
    begun = time.process_time()
    best = cma.fmin2(objective, np.full(len(bounds), 0.5), CMA_SPREAD, options)[1]
    spent = time.process_time() - begun
    values = bounds[:, 0] + best.result.xbest * (bounds[:, 1] - bounds[:, 0])
    found = {"k_max": values[0], "n0": values[1], "mse": best.result.fbest, "evaluations": best.result.evaluations}
    return {"peer": f"cma {cma.__version__}", "peer_value": spent, "peer_found": found}


if __name__ == "__main__":
    app.run(main)
