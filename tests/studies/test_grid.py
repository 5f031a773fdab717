"""A study's grid: sweeps multiply members, single values override, seeds come outermost."""

import pytest

from rlscale_jax.experiment.config import Experiment, Study
from rlscale_jax.studies import grid

STUDY = Study(members=(Experiment(name="a"), Experiment(name="b")), seeds=(0, 1))


def test_a_sweep_multiplies_the_members():
    swept = grid.expand(STUDY, ["grpo.group_size=4,16", "grpo.kl_coef=0"])
    assert [m.name for m in swept.members] == ["a_group_size4", "a_group_size16", "b_group_size4", "b_group_size16"]
    assert [m.grpo.group_size for m in swept.members] == [4, 16, 4, 16]
    assert {m.grpo.kl_coef for m in swept.members} == {0.0}
    assert STUDY.members[0].grpo.group_size == 8


def test_two_sweeps_cross():
    swept = grid.expand(STUDY, ["grpo.group_size=4,16", "data.reuse_factor=1,5"])
    assert len(swept.members) == 8
    assert swept.members[1].name == "a_group_size4_reuse_factor5"


def test_runs_are_members_times_seeds():
    assert [(r.name, r.seed) for r in grid.runs(STUDY)] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


@pytest.mark.parametrize("sweep", ["grpo.group_size", "=4", "grpo.group_size=4,,5", "grpo.nope=1", "num_steps=many"])
def test_a_wrong_sweep_is_refused(sweep):
    with pytest.raises(ValueError, match=r"sweep|no such field|expected int"):
        grid.expand(STUDY, [sweep])


def test_a_value_that_a_member_has_anyway_is_the_member():
    swept = grid.expand(STUDY, ["grpo.group_size=4,8"])
    assert [(m.name, m.variant) for m in swept.members] == [
        ("a_group_size4", "group_size4"), ("a", ""), ("b_group_size4", "group_size4"), ("b", ""),
    ]  # fmt: skip


def test_one_value_overrides_without_a_variant():
    (member,) = grid.expand(Study(members=(Experiment(name="a"),)), ["grpo.group_size=4"]).members
    assert (member.name, member.variant, member.grpo.group_size) == ("a", "", 4)


def test_reuse_keeps_the_total_number_of_prompts():
    member = Experiment(name="a", num_steps=10)
    member.grpo.prompts_per_step = 60
    swept = grid.expand(Study(members=(member,)), ["data.reuse_factor=1,5,50"]).members
    assert [(m.name, m.data.num_unique * m.data.reuse_factor) for m in swept] == [
        ("a", 0), ("a_reuse_factor5", 600), ("a_reuse_factor50", 600),
    ]  # fmt: skip
    member.data.num_unique, member.data.reuse_factor = 30, 4
    swept = grid.expand(Study(members=(member,)), ["data.reuse_factor=2,4"]).members
    assert [m.data.num_unique for m in swept] == [60, 30]
    with pytest.raises(ValueError, match=r"D_total = 120 .* do not divide by 7; use one of 1, 2, 3"):
        grid.expand(Study(members=(member,)), ["data.reuse_factor=4,7"])


def test_seeds_may_be_given_as_a_sweep():
    study = grid.expand(STUDY, ["seed=0,1,2"])
    assert study.seeds == (0, 1, 2) and [m.name for m in study.members] == ["a", "b"]


def test_words_with_commas_are_quoted_and_paths_make_no_directories():
    swept = grid.expand(STUDY, ['evaluation.suites="x=d/x,y=d/y",z=d/z']).members
    assert [m.evaluation.suites for m in swept[:2]] == ["x=d/x,y=d/y", "z=d/z"]
    assert len({m.name for m in swept}) == 4 and not any("/" in m.name or "," in m.name for m in swept)
    (long,) = grid.expand(
        Study(members=(Experiment(name="a"),)), ["data.verifier=" + "v" * 300, "grpo.kl_coef=0"]
    ).members
    assert long.name == "a" and len(long.data.verifier) == 300


def test_fields_that_end_alike_are_told_apart():
    names = [m.name for m in grid.expand(STUDY, ["sampling.temperature=0.5,0.7"]).members]
    assert names[0] == "a_sampling_temperature0.5"


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        (["grpo.group_size=4,4"], "stands there 2 times"),
        (["grpo.group_size=4", "grpo.group_size=8"], "given 2 times"),
        (["grpo.group_sice=4,8"], "did you mean grpo.group_size"),
        (["grpo=4"], "no such field"),
        (["name=a,b"], "cannot be swept"),
        (["variant=a,b"], "cannot be swept"),
        (["seed=0,-1"], "whole number"),
        (["grpo.group_size=4,8.5"], "expected int"),
        (["grpo.normalize_std=yes,no"], "expected true or false"),
        (["grpo.group_size="], "write FIELD=V1"),
    ],
)
def test_hostile_sweeps_are_refused_with_a_reason(sweeps, message):
    with pytest.raises(ValueError, match=message):
        grid.expand(STUDY, sweeps)


def test_a_single_run_keeps_its_seed():
    (run,) = grid.runs(grid.as_study(Experiment(name="a", seed=3)))
    assert (run.name, run.seed) == ("a", 3)
    assert grid.as_study(STUDY) is STUDY
