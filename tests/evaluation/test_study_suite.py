"""The study's eight sets: prompts through the real tokenizer; verdicts of right, wrong and rubbish answers."""

import importlib.util
import json
import pathlib

import pytest

from rlscale_jax import rewards, tokenizers
from rlscale_jax.data import study_files
from rlscale_jax.evaluation import suites
from rlscale_jax.rewards import sandbox

MATH = ("heldout", "math500", "aime2024", "amc2023", "gsm8k")
OTHERS = ("humaneval", "zebra", "supergpqa")
RUBBISH = [
    "",
    "I do not know.",
    "\\boxed{",
    "}" * 2000,
    "```python\n" * 50,
    "<answer>" * 500,
    "\\boxed{}",
    "\x00\ufffd🦆",
]


def load_programs():
    spec = importlib.util.spec_from_file_location("programs", pathlib.Path(__file__).with_name("programs.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def qwen(shared_data):
    return tokenizers.load(shared_data / "tokenizers" / "qwen2.5")


@pytest.fixture(scope="module")
def study(shared_data, qwen):
    """All 2,953 rows, as `evaluate` loads them under a limit that none exceeds."""
    files = {file.name: shared_data / "guru" / file.filename for file in study_files.FILES}
    return {
        name: suites.load(name, str(files[name]), tokenizer=qwen, max_prompt_tokens=4096) for name in suites.STUDY_SETS
    }


@pytest.fixture(scope="module")
def pool():
    with rewards.RewardPool(2) as pool:
        yield pool


def right(problem) -> str:
    domain = rewards.domain_of(problem.data_source)
    if domain == "code":
        return f"Here it is.\n```python\n{load_programs().right(problem)}\n```\n"
    if domain == "zebra":
        return f"<answer>\n{json.dumps(json.loads(problem.ground_truth), indent=1)}\n</answer>"
    return f"Thus the answer is $\\boxed{{{problem.ground_truth}}}$."


def wrong(problem) -> str:
    """Well formed, but another answer."""
    domain = rewards.domain_of(problem.data_source)
    if domain == "code":
        return f"```python\ndef {load_programs().entry_point(problem.ground_truth)}(*args):\n    return 'no'\n```"
    if domain == "zebra":
        grid = json.loads(problem.ground_truth)
        grid["rows"][0][-1], grid["rows"][1][-1] = grid["rows"][1][-1], grid["rows"][0][-1]
        return f"<answer>{json.dumps(grid)}</answer>"
    if domain == "choice":
        return f"\\boxed{{{'B' if problem.ground_truth == 'A' else 'A'}}}"
    return "$\\boxed{1234567.875}$"


def check(pool, problems):
    """Three kinds of answers to every problem, in the order of the problems."""
    answers = tuple((right(p), wrong(p), RUBBISH[i % len(RUBBISH)]) for i, p in enumerate(problems))
    pending = [
        pool.submit((problem.data_source, text, problem.ground_truth) for text in texts)
        for problem, texts in zip(problems, answers, strict=True)
    ]
    for problem, handle in zip(problems, pending, strict=True):
        good, bad, rubbish = handle.result()
        assert (good.correct, good.status) == (True, "ok"), (problem.problem_id, problem.ground_truth, good)
        assert (bad.correct, bad.status) == (False, "wrong"), (problem.problem_id, problem.ground_truth, bad)
        assert not rubbish.correct and rubbish.status in ("unboxed", "parse_fail", "wrong"), problem.problem_id
        if rewards.domain_of(problem.data_source) == "zebra":
            assert 0.0 < bad.score < good.score == 1.0


def test_all_prompts_are_put_to_the_model(study, qwen):
    counts = {name: len(one.problems) for name, one in study.items()}
    assert counts == {
        "heldout": 500, "math500": 500, "aime2024": 30, "amc2023": 40, "gsm8k": 1319,
        "humaneval": 164, "zebra": 200, "supergpqa": 200,
    }  # fmt: skip
    assert all(one.num_overlong == 0 for one in study.values())
    for one in study.values():
        rendered = qwen.decode(qwen.render(one.problems[0].messages))
        assert rendered.endswith("<|im_end|>\n<|im_start|>assistant\n") and one.problems[0].text in rendered
    assert study["zebra"].domains == {"zebra"} and study["humaneval"].domains == {"code"}


def test_the_published_limit_drops_a_quarter_of_the_zebra_puzzles(study, shared_data, qwen):
    path = str(shared_data / "guru" / "logic__zebra_puzzle_dataset_200.parquet")
    kept = suites.load("zebra", path, tokenizer=qwen, max_prompt_tokens=2048)
    short = tuple(p for p in study["zebra"].problems if len(qwen.render(p.messages)) <= 2048)
    assert (kept.problems, kept.num_overlong) == (short, 52)
    assert kept.digest != study["zebra"].digest
    others = [one.longest_prompt_tokens for name, one in study.items() if name != "zebra"]
    assert max(others) == 1283


@pytest.mark.parametrize("name", MATH + OTHERS)
def test_a_sample_of_each_set_is_graded_as_it_must(study, pool, name):
    if name == "humaneval" and sandbox.missing_isolation():
        pytest.skip("programs cannot be isolated here")
    problems = study[name].problems
    check(pool, problems[:: max(1, len(problems) // 12)])


@pytest.mark.slow
@pytest.mark.parametrize("name", MATH + OTHERS)
def test_every_row_is_graded_as_it_must(study, pool, name):
    if name == "humaneval" and sandbox.missing_isolation():
        pytest.skip("programs cannot be isolated here")
    check(pool, study[name].problems)
