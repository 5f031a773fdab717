"""A study directory's groups of models: their curves, the laws fitted to each, and what each is called."""

import json
import pathlib
import re

import numpy as np

from rlscale_jax import laws
from rlscale_jax.laws.families import PLAIN, groups

DEFAULT_INTRA = 80  # last points kept for testing, as published for base models
SHORT_SHARE = 0.5  # of the shortest curve, where that would leave too little


def in_directory(directory: pathlib.Path) -> tuple[dict[str, laws.Table], list[str]]:
    """Every group of a study's directory, and in words which models had too few evaluations to stand in one.

    Runs as their config says them (curves.csv) come first; those of a sweep's variants (curves_VARIANT.csv, as the
    study writes them) are groups of their own, "VARIANT" or "FAMILY START, VARIANT".

    Raises: FileNotFoundError: the directory has no curves. ValueError: rows that cannot be read.
    """
    found: dict[str, laws.Table] = {}
    short: list[str] = []
    for variant, rows in _by_variant(directory).items():
        table, left_out = _long_enough(rows)
        short += left_out
        for name, part in groups(table).items() if len(table) else ():
            found[", ".join(filter(None, (name if name != PLAIN or not variant else "", variant)))] = part
    return found, short


def _by_variant(directory: pathlib.Path) -> dict[str, laws.Table]:
    """The rows of each variant, "" first: from the files of curves, else from the runs and their configs."""
    files = {path.stem.removeprefix("curves_"): path for path in sorted(directory.glob("curves_*.csv"))}
    plain = directory / "curves.csv"
    if plain.exists():
        files = {"": plain, **files} if _has_rows(plain) or not files else files
        return {variant: laws.read(path) for variant, path in files.items() if variant == "" or _has_rows(path)}
    table = laws.read(directory)
    variant_of = {}
    for path in directory.glob("runs/*/config.json"):
        model = path.parent.name.rpartition("_s")[0] or path.parent.name
        variant_of[model] = json.loads(path.read_text(encoding="utf-8")).get("variant") or ""
    variants = np.array([variant_of.get(model, "") for model in table.model])
    return {variant: table.select(variants == variant) for variant in sorted(set(variants.tolist()))}


def _has_rows(path: pathlib.Path) -> bool:
    """Whether a CSV has more than its header."""
    return path.read_text(encoding="utf-8").count("\n") > 1


def file_name(group: str) -> str:
    """A group's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", group)


def suffix(group: str) -> str:
    """For the names of files: nothing for models without a family or a starting point."""
    return "" if group == PLAIN else f"_{file_name(group)}"


def ending(group: str) -> str:
    """For titles, likewise."""
    return "" if group == PLAIN else f", {group}"


def _long_enough(table: laws.Table) -> tuple[laws.Table, list[str]]:
    """The rows of models with enough evaluations for a slope; the others in words."""
    keep, left_out = np.ones(len(table), bool), []
    for model in sorted(set(table.model.tolist())):
        on = table.model == model
        steps = len(np.unique(table["step"][on & (table["step"] > 0)])) if table.has("step") else int(on.sum())
        if steps < laws.MIN_POINTS:
            keep &= ~on
            left_out.append(f"{model} has {steps} evaluations after step 0, a slope needs {laws.MIN_POINTS}: left out")
    return table.select(keep), left_out


def fits_of(table: laws.Table, *, law: str, objective: str, confidence: float) -> dict[str, laws.Fit]:
    """The law for every resource that the table has; a single size gets a slope of its own."""
    law = law if len(set(table["n_params"])) > 1 else "loglinear"
    resources = [name for name, column in laws.RESOURCES.items() if table.has(column)]
    return {r: laws.fit(table, resource=r, law=law, objective=objective, confidence=confidence) for r in resources}


def protocol_fits(table: laws.Table, full: laws.Fit) -> dict[str, laws.Fit]:
    """The same law under the inter and intra protocols, as far as the sizes and points allow."""
    curves = laws.gather(table, full.resource)
    shortest = int(curves.mask.sum(1).min())
    late = DEFAULT_INTRA if shortest >= DEFAULT_INTRA + 20 else int(SHORT_SHARE * shortest)
    wanted = {"intra": laws.Protocol(name="intra", drop_last=late)}
    if len(np.unique(curves.n)) > len(full.theta):
        wanted = {"inter": laws.Protocol(name="inter"), **wanted}
    if shortest - late < laws.MIN_POINTS:
        wanted.pop("intra")
    options = {"resource": full.resource, "law": full.law, "objective": full.objective}
    return {
        name: laws.fit(curves, protocol=p, confidence=full.region.confidence, **options) for name, p in wanted.items()
    }
