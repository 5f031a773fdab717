"""A run's problems: too long prompts are counted, what nothing grades is refused before any model is read."""

import json

import pytest

from rlscale_jax.experiment.config import Experiment, GrpoConfig
from rlscale_jax.training import problem_sets


class Letters:
    """A token a letter."""

    def render(self, messages) -> list[int]:
        return [ord(letter) for message in messages for letter in message["content"]]


@pytest.fixture
def experiment(tmp_path):
    def make(**data) -> Experiment:
        for name in ("train", "heldout"):
            rows = [{"prompt": f"{name}{k}" + "x" * (20 * (k % 4 == 0)), "answer": str(k)} for k in range(8)]
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row | {"data_source": "math__own"}) + "\n" for row in rows))
        changed = Experiment(num_steps=3, grpo=GrpoConfig(prompts_per_step=2))
        changed.data.train, changed.data.heldout = str(tmp_path / "train.jsonl"), str(tmp_path / "heldout.jsonl")
        changed.data.max_prompt_tokens = 15
        for field, value in data.items():
            setattr(changed.data, field, value)
        return changed

    return make


def test_too_long_prompts_are_left_out_and_counted_in_training_and_evaluation(experiment, caplog):
    stream = problem_sets.training_stream(experiment(), Letters())
    assert (stream.num_overlong, stream.num_steps) == (2, 3)
    sets = problem_sets.evaluation_sets(experiment(), Letters())
    assert [problem.ground_truth for problem in sets["heldout"]] == ["1", "2", "3", "5", "6", "7"]
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(": ")[1].split(" are")[0] for message in messages] == ["2 of 8 prompts", "2 of 8 prompts"]


def test_a_source_that_nothing_grades_is_refused_unless_the_user_brings_a_verifier(experiment, tmp_path):
    mine = experiment()
    path = tmp_path / "train.jsonl"
    path.write_text(path.read_text().replace("math__own", "mine"))
    with pytest.raises(ValueError, match=r"no verifier for data_source 'mine'.*module:function"):
        problem_sets.training_stream(mine, Letters())
    mine.data.verifier = "mine.py:grade"
    assert problem_sets.training_stream(mine, Letters()).num_steps == 3


def test_suites_are_name_and_path(experiment, tmp_path):
    both = experiment()
    both.evaluation.suites = f"again={tmp_path / 'heldout.jsonl'}"
    assert list(problem_sets.evaluation_sets(both, Letters())) == ["heldout", "again"]
    both.evaluation.suites = "heldout2"
    with pytest.raises(ValueError, match="'heldout2' is not name=path"):
        problem_sets.evaluation_sets(both, Letters())


def test_too_few_problems_for_the_steps_are_refused(experiment):
    long = experiment()
    long.num_steps = 4
    with pytest.raises(ValueError, match=r"fill only 3 steps; lower num_steps or raise data\.reuse_factor"):
        problem_sets.training_stream(long, Letters())
