"""One law or two: if a prompt costs C = phi N D, the compute and the data law must have one slope (App. C.2).

Then k_C(N) = k_D(N) and E_D(N) = E_C(N) - k(N) log10(phi N).
"""

import dataclasses

import numpy as np

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.fitting import equations, fit, pooled_r2, starts
from rlscale_jax.laws.objectives import pose, project
from rlscale_jax.laws.protocols import Protocol
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Joint:
    """One k(N) for both resources: its `parameters`, each model's slope `k`, and its intercepts `E[resource][model]`.

    `r2` and `r2_apart` [resource]: raw loss, pooled, of the joint law and of laws fitted apart.
    """

    law: str
    objective: str
    parameters: dict[str, float]
    converged: bool
    k: dict[str, float]
    E: dict[str, dict[str, float]]
    r2: dict[str, float]
    r2_apart: dict[str, float]


def joint(
    compute: Curves,
    data: Curves,
    *,
    law: str = "saturating",
    objective: str = "robust",
    protocol: Protocol | str = "full",
) -> Joint:
    """One k(N) fitted to the curves against compute and against data of the same models."""
    if compute.names != data.names:
        raise ValueError(f"joint fit of different models: {', '.join(compute.names)} and {', '.join(data.names)}")
    protocol = Protocol(name=protocol) if isinstance(protocol, str) else protocol
    apart = [fit(c, resource=c.resource, law=law, objective=objective, protocol=protocol) for c in (compute, data)]
    both = [one.fitted for one in apart]
    slope = build(law, both[0].n, objective=objective)
    problems = [pose(objective, c.log_x, c.loss, c.trials, c.mask) for c in both]
    parts = [equations(problem, slope, both[0].n) for problem in problems]

    def summed(theta):
        return tuple(map(sum, zip(*(one(theta) for one in parts), strict=True)))

    found = minimise(summed, np.concatenate([starts(slope, c) for c in both]), slope.bounds)
    best = int(np.argmin(found.cost))
    k = slope.k(found.theta[best], both[0].n)
    E = {c.resource: project(problem, k).E for c, problem in zip(both, problems, strict=True)}
    return Joint(
        law=law,
        objective=objective,
        parameters=slope.public(found.theta[best]),
        converged=bool(found.converged[best]),
        k=dict(zip(both[0].names, map(float, k), strict=True)),
        E={name: dict(zip(both[0].names, map(float, values), strict=True)) for name, values in E.items()},
        r2={c.resource: pooled_r2(c, k, E[c.resource]) for c in both},
        r2_apart={one.resource: one.r2 for one in apart},
    )
