"""Zebra grids and multiple choice."""

import json

import pytest

from rlscale_jax import rewards
from rlscale_jax.rewards import choice, zebra

GRID = {"header": ["Position", "Pet", "Job"], "rows": [["1", "cat", "baker"], ["2", "dog", "guinea pig"]]}
GOLD = json.dumps(GRID)
NEAR = {"header": GRID["header"], "rows": [["1", "cat", "baker"], ["2", "dog", "nurse"]]}


@pytest.mark.parametrize(
    "block",
    [
        GOLD,
        json.dumps(GRID, indent=2),
        str(GRID),
        "```json\n" + GOLD + "\n```",
        json.dumps({"header": GRID["header"], "rows": [[1, "Cat", "baker "], [2, "DOG", "guinea  pig"]]}),
        str({"header": tuple(GRID["header"]), "rows": [tuple(row) for row in GRID["rows"]]}),
    ],
)
def test_the_same_grid_however_it_is_written(block):
    verdict = zebra.grade(f"I think.\n<answer>\n{block}\n</answer>\nDone.", GOLD)
    assert (verdict.correct, verdict.score, verdict.status) == (True, 1.0, "ok")


def test_one_wrong_cell_is_wrong_with_its_cell_accuracy():
    verdict = zebra.grade(f"<answer>{json.dumps(NEAR)}</answer>", GOLD)
    assert (verdict.correct, verdict.score, verdict.status) == (False, 5 / 6, "wrong")


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (GOLD, "unboxed"),
        (f"<answer>{GOLD}", "unboxed"),
        ("<answer></answer>", "parse_fail"),
        ("<answer>[1, 2]</answer>", "parse_fail"),
        (f"<answer>{GOLD}{GOLD}</answer>", "parse_fail"),
        ('<answer>{"header": ["a"], "rows": ["b"]}</answer>', "parse_fail"),
        ('<answer>{"header": ["Position"], "rows": []}</answer>', "wrong"),
        (f"<answer>{GOLD}</answer> no: <answer>{json.dumps(NEAR)}</answer>", "wrong"),
        ('<answer>{"header": ["Position", "Pet", "Job"], "rows": [["1", "cat", "baker"]]}</answer>', "wrong"),
    ],
)
def test_what_is_not_the_grid(response, status):
    assert zebra.grade(response, GOLD).status == status


def test_a_grid_comes_as_the_files_hold_it(shared_data):
    """Nested arrays from parquet, straight into verify, for all real puzzles."""
    table = pytest.importorskip("pyarrow.parquet").read_table(
        shared_data / "guru" / "logic__zebra_puzzle_dataset_200.parquet"
    )
    for row in table.to_pylist():
        truth = row["reward_model"]["ground_truth"]
        wrong = {"header": truth["header"], "rows": truth["rows"][::-1]}
        responses = [f"<answer>{json.dumps(grid)}</answer>" for grid in (truth, wrong)]
        right, other = (rewards.verify(row["data_source"], response, truth) for response in responses)
        assert right.correct and not other.correct and 0 <= other.score < 1


@pytest.mark.parametrize(
    ("box", "status"),
    [
        ("C", "ok"), ("c", "ok"), ("(C)", "ok"), (r"\text{C}", "ok"), (r"\mathrm{(C)}", "ok"), ("C.", "ok"),
        (" C ", "ok"),
        ("C)", "ok"), ("D", "wrong"), ("CD", "parse_fail"), ("C or D", "parse_fail"), ("", "parse_fail"),
        ("1", "parse_fail"), ("C: 5 g", "parse_fail"),
        ("С", "parse_fail"),  # Cyrillic
    ],
)  # fmt: skip
def test_one_letter_is_the_answer(box, status):
    assert choice.grade(rf"So \boxed{{{box}}}", "C").status == status


def test_no_box_is_no_answer():
    assert choice.grade("The answer is (C).", "C").status == "unboxed"
