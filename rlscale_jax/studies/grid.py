"""A study's grid: members x swept values x seeds, as one experiment for each run."""

import copy
import dataclasses
import itertools
from collections.abc import Sequence

from rlscale_jax.experiment.config import Experiment, Study
from rlscale_jax.experiment.validation import set_field


def expand(study: Study, sweeps: Sequence[str]) -> Study:
    """The study with each member multiplied by every combination of swept values.

    A sweep is FIELD=V1,V2,…; a single value overrides the field without a new name.

    Raises:
      ValueError: a sweep that is not of this form, an unknown field, or a value of another type.
    """
    axes = [_axis(sweep) for sweep in sweeps]
    members = [
        _with(member, values)
        for member in study.members
        for values in itertools.product(*[[(field, value, len(vs) > 1) for value in vs] for field, vs in axes])
    ]
    return dataclasses.replace(study, members=tuple(members))


def runs(study: Study) -> list[Experiment]:
    """One experiment a run, all members with the first seed, then with the next."""
    return [_seeded(member, seed) for seed in study.seeds for member in study.members]


def _axis(sweep: str) -> tuple[str, list[str]]:
    field, separator, values = sweep.partition("=")
    if not separator or not field or not all(values.split(",")):
        raise ValueError(f"--sweep={sweep}: write FIELD=V1,V2,…, e.g. grpo.group_size=4,8,16")
    return field, values.split(",")


def _with(member: Experiment, values: Sequence[tuple[str, str, bool]]) -> Experiment:
    member = copy.deepcopy(member)
    for field, value, named in values:
        set_field(member, field, value)
        if named:
            member.name += f"_{field.rpartition('.')[2]}{value}"
    return member


def _seeded(member: Experiment, seed: int) -> Experiment:
    member = copy.deepcopy(member)
    member.seed = seed
    return member
