"""One law or two: if a prompt costs C = phi N D, the compute and the data law must have one slope (App. C.2).

Then k_C(N) = k_D(N) and E_D(N) = E_C(N) - k(N) log10(phi N).
"""

import dataclasses

import numpy as np

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.fitting import equations, fit, starts
from rlscale_jax.laws.objectives import pose, project
from rlscale_jax.laws.slopes import build
from rlscale_jax.laws.solver import minimise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """One model: FLOPs per parameter and prompt `phi` (median), its relative drift from first to last quarter, the two
    slopes fitted apart, and E_D less what the linkage makes of E_C."""

    model: str
    phi: float
    drift: float
    k_compute: float
    k_data: float
    E_gap: float


def links(compute: Curves, data: Curves) -> list[Link]:
    """The linkage of every model found in both sets of curves (matched by name and step)."""
    fits = [fit(c, resource=c.resource, law="loglinear") for c in (compute, data)]
    found = []
    for i, name in enumerate(compute.names):
        if name not in data.names:
            continue
        phi, drift = _phi(compute, data, i, data.names.index(name))
        c, d = (f.models[name] for f in fits)
        k = (c.k + d.k) / 2
        gap = d.E - (c.E - k * np.log10(phi * c.n))
        found.append(Link(model=name, phi=phi, drift=drift, k_compute=c.k, k_data=d.k, E_gap=gap))
    return found


def _phi(compute: Curves, data: Curves, i: int, j: int) -> tuple[float, float]:
    steps, a, b = np.intersect1d(compute.step[i, compute.mask[i]], data.step[j, data.mask[j]], return_indices=True)
    if not len(steps):
        raise ValueError(f"the compute and data curves of {compute.names[i]} share no step")
    x_c, x_d = compute.points(i)[0][a], data.points(j)[0][b]
    ratio = x_c / (x_d * compute.n[i])
    quarter = max(len(ratio) // 4, 1)
    return float(np.median(ratio)), float(np.median(ratio[-quarter:]) / np.median(ratio[:quarter]) - 1)


def joint(compute: Curves, data: Curves, *, law: str = "saturating", objective: str = "robust") -> dict:
    """One k(N) for both resources: its parameters, and each model's E against compute and against data."""
    if compute.names != data.names:
        raise ValueError(f"joint fit of different models: {', '.join(compute.names)} and {', '.join(data.names)}")
    slope = build(law, compute.n, objective=objective)
    problems = [pose(objective, c.log_x, c.loss, c.trials, c.mask) for c in (compute, data)]
    both = [equations(problem, slope, compute.n) for problem in problems]

    def summed(theta):
        return tuple(map(sum, zip(*(one(theta) for one in both), strict=True)))

    found = minimise(summed, np.concatenate([starts(slope, c) for c in (compute, data)]), slope.bounds)
    best = int(np.argmin(found.cost))
    k = slope.k(found.theta[best], compute.n)
    E = {p.resource: project(q, k).E for p, q in zip((compute, data), problems, strict=True)}
    return {
        "parameters": slope.public(found.theta[best]),
        "converged": bool(found.converged[best]),
        "E": {name: dict(zip(compute.names, map(float, values), strict=True)) for name, values in E.items()},
    }
