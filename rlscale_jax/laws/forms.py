"""Laws with a floor as results of their own: the loss decomposition and the S-curve, fitted, scored on held-out data.

A log-linear law has no floor and its `Fit` is built around k(N) and E(N); these two forms have other parameters and so
another record, with the same names where the same things are meant (`models`, `r2`, `r2_log`, `log_rmse`).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.decomposition import decompose, with_calibrated
from rlscale_jax.laws.fitting import OBJECTIVES, Source, load, r_squared
from rlscale_jax.laws.holdout import Score
from rlscale_jax.laws.protocols import Protocol, split
from rlscale_jax.laws.result import SCHEMA_VERSION
from rlscale_jax.laws.sigmoid import MIN_POINTS, sigmoids

FORMS = ("decomposition", "sigmoid")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """A fitted law with a floor: what sizes share (`parameters`), each model's own numbers, and held-out scores."""

    law: str
    resource: str
    objective: str
    protocol: Protocol
    parameters: dict[str, float]
    models: dict[str, dict[str, float | bool]]
    r2: float
    r2_log: float
    converged: bool
    notes: tuple[str, ...]
    held_out: list[Score]
    loss: Callable = dataclasses.field(repr=False)
    slope: Callable = dataclasses.field(repr=False)

    def to_json(self) -> dict:
        """Plain numbers and names, as `fits.json` has them."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("loss", "slope")}
        fields |= {"protocol": dataclasses.asdict(self.protocol), "notes": list(self.notes)}
        fields["held_out"] = [dataclasses.asdict(score) for score in self.held_out]
        return {"schema_version": SCHEMA_VERSION, "k_max": None, "n0": None, "intervals": {}, **fields}


def fit_form(
    curves: Source, *, law: str, resource: str, objective: str = "robust", protocol: Protocol | str = "full"
) -> Form:
    """Fits "decomposition" (App. D) or "sigmoid" (ScaleRL) to curves against `resource`.

    `result.loss(model, x)` is the fitted loss and `result.slope(model, x)` the effective slope -d log L / d log x.
    Under protocol inter the decomposition's D0 and dL of the largest size are calibrated on its data, as published.

    Raises: ValueError for a law, objective or protocol that does not go together with the curves, and why.
    """
    if law not in FORMS:
        raise ValueError(f"law {law!r} is not one of {', '.join(FORMS)}")
    if objective not in OBJECTIVES:
        raise ValueError(f"objective {objective!r} is not one of {', '.join(OBJECTIVES)}")
    protocol = Protocol(name=protocol) if isinstance(protocol, str) else protocol
    fitted, held = split(load(curves, resource), protocol)
    rows = [row for row in range(len(held.n)) if held.mask[row].any()]
    parts = (_decomposition if law == "decomposition" else _sigmoid)(fitted, held, objective, protocol)
    actual, predicted = _all_points(fitted, parts["loss"])
    return Form(
        law=law, resource=resource, objective=objective, protocol=protocol, r2=r_squared(actual, predicted),
        r2_log=r_squared(np.log10(actual), np.log10(predicted)), **parts,
        held_out=[_score(held, row, law, protocol, parts["loss"]) for row in rows],
    )  # fmt: skip


def _decomposition(fitted: Curves, held: Curves, objective: str, protocol: Protocol) -> dict:
    found = decompose(fitted, objective=objective)
    if protocol.name == "inter":
        found = with_calibrated(found, held)
    models = {}
    for i, name in enumerate(fitted.names):
        x, actual, _ = fitted.points(i)
        own = {"n": float(fitted.n[i]), "d0": found.d0[name], "dl": found.dl[name]}
        models[name] = own | {"slope_at_d0": found.slope_at_d0(name)} | _errors(actual, found.loss(name, x))
    shared = {"l_inf": found.l_inf, "n_c": found.n_c, "alpha": found.alpha, "beta": found.beta}
    return {"parameters": shared, "models": models, "converged": found.converged, "notes": found.notes,
            "loss": found.loss, "slope": found.slope}  # fmt: skip


def _sigmoid(fitted: Curves, held: Curves, objective: str, protocol: Protocol) -> dict:
    if protocol.name == "inter":
        raise ValueError(
            "law sigmoid has a curve for each model and says nothing of other sizes, so protocol inter has nothing to "
            "predict with; use --protocol=full or intra, or --law=decomposition"
        )
    found = {one.model: one for one in sigmoids(fitted, objective=objective)}
    few = [name for name in fitted.names if name not in found]
    if few:
        raise ValueError(f"an S-curve has 4 parameters and needs {MIN_POINTS} points; {', '.join(few)} has fewer")
    models = {
        name: {"n": float(n), "R0": s.start, "A": s.ceiling, "x_mid": s.middle, "B": s.steepness,
               "identified": s.identified, "r2": s.r2, "log_rmse": s.log_rmse}
        for (name, s), n in zip(found.items(), fitted.n, strict=True)
    }  # fmt: skip
    open_ended = [name for name, s in found.items() if not s.identified]
    notes = []
    if open_ended:
        notes.append(f"The ceiling of {', '.join(open_ended)} is not identified: the data end before the curve bends.")
    if not all(s.converged for s in found.values()):
        notes.append(f"No convergence for {', '.join(name for name, s in found.items() if not s.converged)}.")
    return {"parameters": {}, "models": models, "notes": tuple(notes),
            "converged": all(s.converged for s in found.values()),
            "loss": lambda model, x: found[model].loss(x), "slope": lambda model, x: found[model].slope(x)}  # fmt: skip


def _all_points(curves: Curves, loss: Callable) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(curves.points(i)[1], loss(name, curves.points(i)[0])) for i, name in enumerate(curves.names)]
    actual, predicted = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return actual, np.maximum(predicted, 1e-6)


def _errors(actual: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    apart = np.log10(np.maximum(predicted, 1e-6)) - np.log10(actual)
    return {"r2": r_squared(actual, predicted), "log_rmse": float(np.sqrt((apart**2).mean()))}


def _score(held: Curves, row: int, law: str, protocol: Protocol, loss: Callable) -> Score:
    x, actual, _ = held.points(row)
    uses = "calibrated" if protocol.name == "inter" else "predicted"
    errors = _errors(actual, loss(held.names[row], x))
    return Score(model=held.names[row], method=law, uses=uses, num_points=len(actual), **errors)
