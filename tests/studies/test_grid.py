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
