"""The ladder's variants and the published studies: the experiments differ in the config alone."""

import pathlib

import pytest

from rlscale_jax.experiment import flags, validation
from rlscale_jax.experiment.config import Experiment, Study
from rlscale_jax.laws import families
from rlscale_jax.studies import grid

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs"


def load(name: str) -> Experiment:
    found = flags.load(str(CONFIGS / name))
    assert isinstance(found, Experiment)
    validation.validate(found)
    return found


def load_study(name: str) -> Study:
    found = flags.load(str(CONFIGS / name))
    assert isinstance(found, Study)
    validation.validate(found)
    return found


@pytest.mark.parametrize(
    ("name", "group", "sizes"),
    [("ladder_cpu.py", "models", 5), ("ladder_cpu.py:instruct", "instruct", 4), ("ladder_cpu.py:llama", "llama", 4),
     ("qwen2_5.py:base", "qwen base", 7), ("qwen2_5.py:instruct", "qwen instruct", 7),
     ("llama3.py:instruct", "llama instruct", 4), ("qwen2_5.py:base-transfer", "qwen base", 7)],
)  # fmt: skip
def test_a_study_s_members_share_one_law(name, group, sizes):
    study = load_study(name)
    assert len(study.members) == sizes
    assert {families.label(member.name) for member in study.members} == {group}
    assert {(member.variant, member.model.name == member.name) for member in study.members} == {("", True)}


def test_published_studies_have_three_seeds():
    assert {load_study(name).seeds for name in ("qwen2_5.py:base", "llama3.py:instruct")} == {(0, 1, 2)}


def test_an_instruct_like_start_differs_from_its_base_by_finetuning_alone():
    base, tuned = load("ladder_cpu.py:d64"), load("ladder_cpu.py:d64-instruct")
    assert tuned.pretrain.finetune_steps > 0
    tuned.pretrain.finetune_steps = base.pretrain.finetune_steps
    tuned.pretrain.finetune_learning_rate = base.pretrain.finetune_learning_rate
    assert tuned.pretrain == base.pretrain and tuned.grpo == base.grpo and tuned.task == base.task


@pytest.mark.parametrize(
    ("name", "factors", "total"),
    [("ladder_cpu.py:d40", "1,2,5,10,25,50", 3200), ("qwen2_5.py:7b-reuse", "1,2,4,5,10,20,25,50,100", 51_200)],
)
def test_the_reuse_study_keeps_its_total(name, factors, total):
    swept = grid.expand(Study(members=(load(name),)), [f"data.reuse_factor={factors}"])
    validation.validate(swept)
    for member in swept.members:
        assert member.num_steps * member.grpo.prompts_per_step == total
        assert member.data.num_unique * member.data.reuse_factor in (0, total)
    assert len({member.name for member in swept.members}) == len(factors.split(","))


def test_the_group_size_study_reuses_the_main_run():
    main = load("qwen2_5.py:7b")
    swept = grid.expand(Study(members=(main,)), ["grpo.group_size=4,8,16,32"]).members
    assert [member.name for member in swept if not member.variant] == [main.name]


@pytest.mark.parametrize("variant", ["d65", "d64-chat", "smoke-instruct", "llama-"])
def test_unknown_ladder_variants_list_the_known(variant):
    with pytest.raises(ValueError, match=r"d24, d40, d64, d96, d160"):
        flags.load(f"{CONFIGS / 'ladder_cpu.py'}:{variant}")
