"""How far the answer depends on choices that a reader cannot see: one choice at a time is changed, the law refitted."""

import dataclasses

import numpy as np

from rlscale_jax.laws.fitting import fit
from rlscale_jax.laws.protocols import Protocol
from rlscale_jax.laws.table import Table

WARM_UP = (2, 5, 10)  # first points left out
END_SHARE = (0.25, 0.5)  # of the shortest curve, left out at the end


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A changed choice and what the fit then says; `skipped` says why there is none."""

    choice: str
    value: str
    k_max: float
    n0: float
    k_largest: float
    r2: float
    skipped: str = ""


def sensitivity(table: Table, *, resource: str) -> list[Variant]:
    """The default fit, then each other objective, warm-up clip, end clip, definition of N and of FLOPs."""
    variants = [_variant(table, resource, "default fit", "robust, every point")]
    variants.append(_variant(table, resource, "objective", "published", objective="published"))
    for points in WARM_UP:
        protocol = Protocol(drop_first=points)
        variants.append(_variant(table, resource, "warm-up clip", f"first {points} points", protocol=protocol))
    shortest = min(int((table.model == model).sum()) for model in set(table.model))
    for share in END_SHARE:
        points = int(share * shortest)
        protocol = Protocol(name="intra", drop_last=points)
        variants.append(_variant(table, resource, "end clip", f"last {points} points", protocol=protocol))
    for column, name in (("n_nominal", "nominal"), ("n_nonembed", "non-embedding")):
        variants.append(_redefined(table, resource, "definition of N", name, "n_params", column))
    if resource == "compute":
        for column, name in (("flops_paper", "6 N T of the update"), ("flops_total", "all that was done")):
            variants.append(_redefined(table, resource, "definition of FLOPs", name, "compute_flops", column))
    return variants


def _redefined(table: Table, resource: str, choice: str, value: str, target: str, column: str) -> Variant:
    if not np.isfinite(table[column]).all():
        return _skipped(choice, value, f"the curves have no {column}")
    return _variant(table.replace(**{target: table[column]}), resource, choice, value)


def _variant(table: Table, resource: str, choice: str, value: str, **options) -> Variant:
    try:
        found = fit(table, resource=resource, **options)
    except ValueError as error:
        return _skipped(choice, value, str(error))
    return Variant(
        choice=choice,
        value=value,
        k_max=found.parameters["k_max"],
        n0=found.parameters["n0"],
        k_largest=float(found.k(found.fitted.n.max())),
        r2=found.r2,
    )


def _skipped(choice: str, value: str, why: str) -> Variant:
    nan = float("nan")
    return Variant(choice=choice, value=value, k_max=nan, n0=nan, k_largest=nan, r2=nan, skipped=why)
