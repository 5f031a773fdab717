"""Impossible configs are refused whole, with field, value and what is allowed."""

import dataclasses

import pytest

from rlscale_jax.experiment import validation
from rlscale_jax.experiment.config import (
    Experiment,
    FitConfig,
    GrpoConfig,
    PretrainConfig,
    SamplingConfig,
    Study,
    TaskConfig,
    experiment_from_dict,
    to_dict,
)


def possible(**changes) -> Experiment:
    base = PretrainConfig(
        hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8, num_steps=1
    )
    return Experiment(**{"pretrain": base, "task": TaskConfig(rating=base), **changes})


def test_the_defaults_are_possible():
    validation.validate(possible())


def test_every_problem_is_listed_at_once():
    bad = possible(grpo=GrpoConfig(group_size=1, prompts_per_step=10, num_minibatches=4), num_steps=0)
    with pytest.raises(ValueError) as caught:
        validation.validate(bad)
    message = str(caught.value)
    assert "grpo.group_size = 1" in message
    assert "grpo.prompts_per_step = 10 does not divide" in message
    assert "num_steps = 0: must be positive" in message


@pytest.mark.parametrize("top_p", [0.0, -1.0, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(top_p):
    with pytest.raises(ValueError, match=r"sampling.top_p = .*must be in \(0, 1\]"):
        validation.validate(possible(sampling=SamplingConfig(top_p=top_p)))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("name", "a/b", "name = 'a/b'"),
        ("optimizer.b2", "1.0", r"optimizer.b2 = 1.0: must be in \[0, 1\)"),
        ("optimizer.learning_rate", "inf", "optimizer.learning_rate = inf: must be finite"),
        ("mesh.tensor", "0", "mesh.tensor = 0: must be at least 1"),
        ("mesh.data", "-1", "only one axis may be -1"),
        ("mesh.sampler_tensor", "-2", r"mesh.sampler_tensor = -2: must be 0 \(as tensor\)"),
        ("evaluation.suites", "math500", "'math500' is not name=path"),
        ("pretrain.num_kv_heads", "0", "pretrain.num_kv_heads = 0: must be positive"),
        ("pretrain.head_dim", "5", "pretrain.head_dim = 5: must be even"),
        ("task.rating.num_heads", "0", "task.rating.num_heads = 0: must be positive"),
        ("task.slip_rate", "1.5", "task.slip_rate = 1.5"),
    ],
)
def test_an_impossible_value_is_named(field, value, message):
    bad = possible()
    validation.set_field(bad, field, value)
    with pytest.raises(ValueError, match=message):
        validation.validate(bad)


@pytest.mark.parametrize(
    "fit, message",
    [
        (FitConfig(law="cubic"), "fit.law = 'cubic': must be one of saturating"),
        (FitConfig(resources=("time",)), "'time' must be compute or data"),
        (FitConfig(confidence=90.0), "fit.confidence = 90.0"),
    ],
)
def test_an_impossible_fit_is_refused_before_any_run(fit, message):
    with pytest.raises(ValueError, match=message):
        validation.validate(Study(members=(possible(),), fit=fit))


def test_a_study_names_the_member():
    with pytest.raises(ValueError, match="small: num_steps = -1"):
        validation.validate(Study(members=(possible(name="small", num_steps=-1),)))


def test_a_study_with_two_members_of_one_name_is_refused():
    with pytest.raises(ValueError, match="'a' stands 2 times"):
        validation.validate(Study(members=(possible(name="a"), possible(name="a"))))


def test_set_field_converts_to_the_present_type():
    experiment = possible()
    validation.set_field(experiment, "grpo.kl_coef", "0")
    validation.set_field(experiment, "grpo.normalize_std", "false")
    assert experiment.grpo.kl_coef == 0.0 and isinstance(experiment.grpo.kl_coef, float)
    assert experiment.grpo.normalize_std is False


@pytest.mark.parametrize("name, text", [("grpo.nope", "1"), ("grpo.group_size", "x"), ("grpo", "1"), ("nope.a", "1")])
def test_set_field_refuses(name, text):
    with pytest.raises(ValueError, match=name):
        validation.set_field(possible(), name, text)


def test_a_config_survives_its_dict():
    experiment = possible(name="x", grpo=GrpoConfig(group_size=5))
    assert experiment_from_dict(to_dict(experiment)) == experiment
    with pytest.raises(ValueError, match="has no field colour"):
        experiment_from_dict({**to_dict(experiment), "colour": 1})


def test_every_leaf_of_the_config_is_plain():
    def leaves(config):
        for item in dataclasses.fields(config):
            value = getattr(config, item.name)
            yield from leaves(value) if dataclasses.is_dataclass(value) else [value]

    assert all(isinstance(value, int | float | str | bool) for value in leaves(possible()))
