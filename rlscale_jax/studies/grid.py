"""A study's grid: members x swept values x seeds, as one experiment for each run."""

import copy
import csv
import dataclasses
import difflib
import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rlscale_jax.experiment.config import Experiment, Study, to_dict
from rlscale_jax.experiment.validation import get, set_field

_IDENTITY = ("name", "variant", "schema_version")  # of a run, not settings of it
_MAX_LABEL = 48  # characters of a value in a run's name


def as_study(config: Experiment | Study) -> Study:
    """A single run as a study of it, with its own seed."""
    return config if isinstance(config, Study) else Study(name=config.name, members=(config,), seeds=(config.seed,))


def expand(study: Study, sweeps: Sequence[str]) -> Study:
    """The study with each member multiplied by every combination of swept values.

    A sweep is FIELD=V1,V2,… (a value with commas stands in double quotes); a single value overrides the field without
    a new name. A value that a member has anyway is that member itself, so its finished runs are reused. A sweep of
    `data.reuse_factor` keeps D_total: `data.num_unique` becomes D_total / factor. `seed=0,1,2` sets the study's seeds.

    Raises:
      ValueError: a sweep that is not of this form, an unknown field, a value of another type or given twice, or a
        reuse factor that does not divide D_total.
    """
    axes = [_axis(sweep) for sweep in sweeps]
    fields = [field for field, _ in axes]
    for field in fields:
        if fields.count(field) > 1:
            raise ValueError(f"--sweep={field} is given {fields.count(field)} times; list its values once, with commas")
    if "seed" in fields:
        study = dataclasses.replace(study, seeds=tuple(_seeds(dict(axes)["seed"])))
    axes = [(field, values) for field, values in axes if field != "seed"]
    members = [
        _with(member, dict(zip(dict(axes), values, strict=True)), named=[f for f, v in axes if len(v) > 1])
        for member in study.members
        for values in itertools.product(*[values for _, values in axes])
    ]
    return dataclasses.replace(study, members=tuple(members))


def runs(study: Study) -> list[Experiment]:
    """One experiment a run, all members with the first seed, then with the next."""
    return [_seeded(member, seed) for seed in study.seeds for member in study.members]


def _axis(sweep: str) -> tuple[str, list[str]]:
    field, separator, text = sweep.partition("=")
    field = field.strip()
    values = [value.strip() for value in next(csv.reader([text], skipinitialspace=True), [])]
    if not separator or not field or not values or not all(values):
        raise ValueError(f"--sweep={sweep}: write FIELD=V1,V2,…, e.g. grpo.group_size=4,8,16")
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"--sweep={sweep}: the value {value} stands there {values.count(value)} times")
    if field in _IDENTITY:
        raise ValueError(f"--sweep={sweep}: {field} tells runs apart and cannot be swept; sweep a setting")
    return field, values


def _seeds(values: list[str]) -> Iterator[int]:
    for value in values:
        if not value.isdecimal():
            raise ValueError(f"--sweep=seed: {value!r} is not a whole number from 0")
        yield int(value)


def _with(member: Experiment, values: dict[str, str], named: Sequence[str]) -> Experiment:
    """The member with fields set; those of `named` that thereby change become its variant and part of its name."""
    changed = copy.deepcopy(member)
    known = dict(_leaves(to_dict(member)))
    for field, text in values.items():
        if field not in known:
            close = difflib.get_close_matches(field, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; fields: {', '.join(known)}"
            raise ValueError(f"--sweep={field}: {member.name} has no such field{hint}")
        set_field(changed, field, text)
    if "data.reuse_factor" in values and "data.num_unique" not in values:
        _keep_total(member, changed)
    labels = [
        f"{_short(field, known)}{_label(get(changed, field))}" for field in named if get(changed, field) != known[field]
    ]
    changed.variant = "_".join(filter(None, [member.variant, *labels]))
    changed.name = "_".join([member.name, *labels])
    return changed


def _keep_total(member: Experiment, changed: Experiment) -> None:
    """Sets num_unique so that D_total = num_unique x reuse_factor is the member's."""
    factor, data = changed.data.reuse_factor, member.data
    if factor == data.reuse_factor or factor < 1:
        return
    total = data.num_unique * data.reuse_factor or member.num_steps * member.grpo.prompts_per_step
    if total % factor:
        divisors = ", ".join(str(d) for d in range(1, total + 1) if total % d == 0)
        raise ValueError(
            f"--sweep=data.reuse_factor: D_total = {total} prompts of {member.name} do not divide by {factor}; "
            f"use one of {divisors}"
        )
    changed.data.num_unique = total // factor


def _leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _short(field: str, known: dict[str, Any]) -> str:
    """The last part of a field's name, or all of it where other fields end so too."""
    last = field.rpartition(".")[2]
    alone = sum(name.rpartition(".")[2] == last for name in known) == 1
    return last if alone else field.replace(".", "_")


def _label(value: Any) -> str:
    """A value as part of a directory's name."""
    text = str(value)
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", text)
    if plain == text and len(plain) <= _MAX_LABEL:
        return plain
    return f"{plain[: _MAX_LABEL - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _seeded(member: Experiment, seed: int) -> Experiment:
    member = copy.deepcopy(member)
    member.seed = seed
    return member
