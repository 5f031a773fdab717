"""The peculiarities of the study's files."""

import json
import math

import pytest

from rlscale_jax.data.problems import read_problems
from rlscale_jax.data.study_rows import study_problem


def row(**changes) -> dict:
    return {
        "data_source": "math__math",
        "prompt": [{"content": "1+1?", "role": "user"}],
        "ability": "math",
        "reward_model": {"ground_truth": "2", "style": "rule"},
        "extra_info": {"index": 12, "split": "val"},
    } | changes


def test_an_ordinary_row():
    problem = study_problem(row(), "math__math_500", 3)
    assert (problem.problem_id, problem.provenance) == ("math__math_500/00012", "math__math_500:3")
    assert (problem.domain, problem.data_source, problem.ground_truth) == ("math", "math__math", "2")
    assert problem.messages == ({"role": "user", "content": "1+1?"},)
    assert math.isnan(problem.difficulty)


def test_difficulty_is_one_less_the_pass_rate():
    extra = {"index": 1, "qwen2.5_7b_pass_rate": 0.6875, "qwen3_30b_pass_rate": 0.5}
    assert study_problem(row(extra_info=extra), "f", 0).difficulty == 0.3125


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (str([{"content": "say 'hi'\n\"x\"", "role": "user"}]), "say 'hi'\n\"x\""),
        ("[{1, 2}, {3}] is a list of sets", "[{1, 2}, {3}] is a list of sets"),
        ("[{'a': 1}]", "[{'a': 1}]"),
        ("[{}, {}]", "[{}, {}]"),
        ("[{" * 200, "[{" * 200),
        ("[{'content': __import__('os').getcwd(), 'role': 'user'}]",) * 2,
    ],
)
def test_printed_messages_are_read_and_look_alikes_left_alone(content, expected):
    problem = study_problem(row(prompt=[{"content": content, "role": "user"}]), "f", 0)
    assert problem.messages == ({"role": "user", "content": expected},)


def test_structured_ground_truth_becomes_json():
    grid = {"header": ["House", "Pet"], "rows": [["1", "café"], ["2", "dog"]]}
    problem = study_problem(row(reward_model={"ground_truth": grid, "style": "rule"}), "f", 0)
    assert json.loads(problem.ground_truth) == grid


def test_the_real_files(shared_data):
    def read(name):
        return read_problems(shared_data / "guru" / f"{name}.parquet")

    humaneval = read("codegen__humaneval_164")
    assert len(humaneval) == 164
    for problem in humaneval:
        assert len(problem.messages) == 1
        assert problem.text.startswith("Write a complete, self-contained Python solution")
        assert "'role': 'user'" not in problem.text
        assert set(json.loads(problem.ground_truth)) == {"functional"}
    for problem in read("logic__zebra_puzzle_dataset_200"):
        grid = json.loads(problem.ground_truth)
        assert set(grid) == {"header", "rows"}
        assert {len(line) for line in grid["rows"]} == {len(grid["header"])}
    assert {problem.data_source for problem in read("amc2023")} == {"aimeamc2023"}
    heldout = read("math__full_difficulty_ordered_test_500")
    assert sum(problem.difficulty <= 0.7 for problem in heldout) == 250  # the study's half easy, half hard
    assert all(math.isnan(problem.difficulty) for problem in read("gsm8k"))
