"""Which models belong under one law: a family and a starting point (base or instruct), told from their names."""

import re

import numpy as np

from rlscale_jax import laws

DEFAULT_INTRA = 80  # last points kept for testing, as published for base models
SHORT_SHARE = 0.5  # of the shortest curve, where that would leave too little


def groups(table: laws.Table) -> dict[str, laws.Table]:
    """The table's models by group, each group fitted by itself; names without a family fall into one, "models"."""
    labels = np.array([label(model) for model in table.model])
    return {name: table.select(labels == name) for name in sorted(set(labels.tolist()))}


def label(model: str) -> str:
    """ "qwen2.5-7b-instruct" -> "qwen instruct", "llama_d64" -> "llama", "d64" and "7B" -> "models"."""
    words = re.findall(r"[a-z]{2,}", model.lower())
    start = "instruct" if "instruct" in words else "base" if "base" in words else ""
    family = next((word for word in ("qwen", "llama") if any(w.startswith(word) for w in words)), "")
    return " ".join(filter(None, (family, start))) or "models"


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
