"""Figures and table of a hand-made set of responses."""

import dataclasses
import json
import math

import numpy as np
import pytest

from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation import statistics, summary
from rlscale_jax.evaluation.suites import ProblemSet

# problem -> (status, score, tokens, truncated) of its four samples
OUTCOMES = {
    "a": [("ok", 1.0, 10, False), ("ok", 1.0, 12, False), ("wrong", 0.5, 20, False), ("wrong", 0.25, 30, False)],
    "b": [("unboxed", 0.0, 64, True), ("timeout", 0.0, 64, True), ("ok", 1.0, 4, False), ("crashed", 0.0, 4, False)],
}
ROWS = [
    {
        "problem_id": name,
        "sample": sample,
        "correct": status == "ok",
        "score": score,
        "status": status,
        "num_tokens": tokens,
        "truncated": cut,
    }
    for name, group in OUTCOMES.items()
    for sample, (status, score, tokens, cut) in enumerate(group)
]


@pytest.fixture
def problem_set():
    problems = tuple(
        Problem(problem_id=name, data_source="x", messages=({"role": "user", "content": "?"},), ground_truth="")
        for name in OUTCOMES
    )
    return ProblemSet(
        name="hand", path="", problems=problems, num_overlong=3, longest_prompt_tokens=9, domains=frozenset({"zebra"})
    )


def test_figures_by_hand(problem_set):
    figures = summary.summarize(ROWS[::-1], problem_set, num_samples=4)  # whatever the order of the rows
    expected = {
        "num_problems": 2, "num_overlong_dropped": 3, "num_samples": 4,
        "accuracy": 3 / 8, "test_loss": 5 / 8, "avg@4": 3 / 8, "pass@1": 3 / 8,
        "pass@2": (5 / 6 + 3 / 6) / 2, "pass@4": 1.0,
        "se_questions": 0.125,  # means 0.5 and 0.25: std 0.17678 / sqrt 2
        "se_binomial": math.sqrt(3 / 8 * 5 / 8 / 8),
        "se_samples": 0.125,  # passes 0.5, 0.5, 0.5, 0: std 0.25 / sqrt 4
        "cell_accuracy": 3.75 / 8, "truncated_rate": 0.25,
    }  # fmt: skip
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert "pass@3" not in figures
    assert figures["status_rates"] == pytest.approx(
        {
            "ok": 3 / 8,
            "wrong": 2 / 8,
            "unboxed": 1 / 8,
            "parse_fail": 0,
            "timeout": 1 / 8,
            "refused": 0,
            "crashed": 1 / 8,
        }
    )
    assert figures["response_tokens"] == pytest.approx({"mean": 26, "median": 16, "p95": 64, "max": 64})


def test_one_sample_has_no_error_over_samples_and_figures_are_json(problem_set):
    figures = summary.summarize([row for row in ROWS if row["sample"] == 0], problem_set, num_samples=1)
    assert figures["se_samples"] is None and figures["avg@1"] == figures["pass@1"] == 0.5
    json.dumps(figures, allow_nan=False)


def test_a_missing_response_is_no_figure(problem_set):
    with pytest.raises(KeyError):
        summary.summarize(ROWS[1:], problem_set, num_samples=4)


def test_cells_are_for_puzzles_and_scores_for_own_verifiers(problem_set):
    own = summary.summarize(ROWS, dataclasses.replace(problem_set, domains=frozenset()), num_samples=4)
    math_set = summary.summarize(ROWS, dataclasses.replace(problem_set, domains=frozenset({"math"})), num_samples=4)
    assert own["mean_score"] == pytest.approx(3.75 / 8) and "cell_accuracy" not in own
    assert not {"mean_score", "cell_accuracy"} & math_set.keys()


def test_the_table_lines_up(problem_set):
    figures = summary.summarize(ROWS, problem_set, num_samples=4)
    lines = summary.table({"hand": figures, "a_much_longer_name": figures | {"se_questions": None}}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == [
        *("hand", "2", "3", "37.5", "12.5", "0.6250", "100.0", "46.9", "26", "25.0"),
        *("25.0", "12.5", "0.0", "12.5", "0.0", "12.5"),
    ]
    assert lines[2].split()[4] == "-"


def test_errors_mean_what_they_say():
    """Simulated: each error is the spread of what it claims to be the error of."""
    rng = np.random.default_rng(0)
    chances = rng.beta(0.5, 0.5, size=100_000)
    draws = [rng.random((200, 4)) < rng.choice(chances, (200, 1)) for _ in range(1000)]  # fresh questions each time
    fixed = chances[:200, None]
    repeats = [rng.random((200, 4)) < fixed for _ in range(1000)]  # the same questions each time
    over_questions = np.std([draw.mean() for draw in draws])
    over_samples = np.std([repeat.mean() for repeat in repeats])
    assert np.mean([statistics.standard_error(d) for d in draws]) == pytest.approx(over_questions, rel=0.08)
    assert np.sqrt(np.mean([statistics.sampling_error(r) ** 2 for r in repeats])) == pytest.approx(
        over_samples, rel=0.08
    )
    assert np.mean([statistics.binomial_error(d) for d in draws]) < 0.8 * over_questions
