"""Do the intervals hold what they promise? Simulated studies with a known law, fitted, and counted."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rlscale_jax.laws.bootstrap import bootstrap
from rlscale_jax.laws.fitting import fit
from rlscale_jax.laws.simulation import Design, simulate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """Share of simulated studies whose interval held the truth: `k_max`, `n0`, and k at each size (`k` [S])."""

    method: str
    num_studies: int
    k_max: float
    n0: float
    k: np.ndarray


def coverage(
    design: Design,
    *,
    num_studies: int,
    over: Sequence[str] = (),
    objective: str = "robust",
    confidence: float = 0.9,
    num_bootstrap: int = 300,
) -> Coverage:
    """Coverage of the profile interval (`over` empty) or of the bootstrap over `over`, against data."""
    hits = np.zeros(2 + len(design.sizes))
    for seed in range(num_studies):
        study = simulate(design, seed=seed, new_questions="questions" in over)
        found = fit(study.table, resource="data", objective=objective, confidence=confidence)
        if over:
            answers = study.answers(found.fitted) if "questions" in over else None
            found = dataclasses.replace(
                found, region=bootstrap(found, over=over, num=num_bootstrap, seed=seed, answers=answers)
            )
        low, high = found.k_interval(np.array(design.sizes))
        ends = found.intervals
        truth = [ends["k_max"][0] <= design.k_max <= ends["k_max"][1], ends["n0"][0] <= design.n0 <= ends["n0"][1]]
        hits += np.array([*truth, *((low <= design.k) & (design.k <= high))])
    share = hits / num_studies
    method = f"bootstrap over {' and '.join(over)}" if over else "profile"
    return Coverage(method=method, num_studies=num_studies, k_max=share[0], n0=share[1], k=share[2:])
