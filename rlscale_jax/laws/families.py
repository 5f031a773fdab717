"""Which models belong under one law: a family and a starting point, told from their names."""

import re

import numpy as np

from rlscale_jax.laws.table import Table

PLAIN = "models"  # the group of names without a family or a starting point


def label(model: str) -> str:
    """ "qwen2.5-7b-instruct" -> "qwen instruct", "llama_d64" -> "llama", "d64" and "7B" -> "models"."""
    words = re.findall(r"[a-z]{2,}", model.lower())
    start = "instruct" if "instruct" in words else "base" if "base" in words else ""
    family = next((word for word in ("qwen", "llama") if any(w.startswith(word) for w in words)), "")
    return " ".join(filter(None, (family, start))) or PLAIN


def groups(table: Table) -> dict[str, Table]:
    """The table's models by group, each group to be fitted by itself; names without a family are one, "models"."""
    labels = np.array([label(model) for model in table.model])
    names = sorted(set(labels.tolist()), key=lambda name: (name != PLAIN, name))
    return {name: table.select(labels == name) for name in names}


def matching(table: Table, pattern: str) -> Table:
    """The rows of models in whose names the regular expression is found.

    Raises: ValueError where it is none, or no model has it.
    """
    try:
        keep = np.array([bool(re.search(pattern, model)) for model in table.model])
    except re.error as error:
        raise ValueError(f"--models={pattern} is no regular expression: {error}") from None
    if not keep.any():
        raise ValueError(f"--models={pattern} matches none of {', '.join(sorted(set(table.model.tolist())))}")
    return table.select(keep)


def warning(table: Table) -> list[str]:
    """A remark where models of several groups come under one law, else nothing."""
    names = list(groups(table))
    if len(names) < 2:
        return []
    return [
        f"Models of {len(names)} kinds ({', '.join(names)}) under one law; fit each by itself with --models=PATTERN."
    ]
