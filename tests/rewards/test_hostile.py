r"""Hostile and careless text: the right verdict within 5 seconds and 1 GiB each, and the pool goes on."""

import time

import pytest

from rlscale_jax import rewards
from rlscale_jax.rewards import math_answer

MATH = "math__math"
GRID = '{"header": ["Position", "Pet"], "rows": [["1", "cat"], ["2", "dog"]]}'
ZEBRA = "logic__zebra_puzzle_dataset"
MEGABYTE = 1 << 20

# name -> data_source, response, ground truth, allowed statuses
CASES = {
    "tower of powers": (MATH, r"\boxed{9^{9^{9^9}}}", "7", {"wrong"}),
    "tower, calculator style": (MATH, r"\boxed{9**9**9**9}", r"\sqrt{2}", {"wrong"}),
    "tower of the gold": (MATH, r"\boxed{9^{9^{9^9}}}", r"9^{9^{9^{9}}}", {"ok"}),
    "tower inside a fraction": (MATH, r"\boxed{\frac{9^{9^{9^9}}}{9^{9^{9^9}}}}", "1", {"wrong", "refused"}),
    "factorial of a factorial": (MATH, r"\boxed{((100!)!)!}", "7", {"wrong"}),
    "large factorial": (MATH, r"\boxed{100000000!}", "7", {"wrong"}),
    "factorial tail": (MATH, r"\boxed{7" + "!" * 500 + "}", "7", {"refused", "wrong", "unboxed"}),
    "binomial": (MATH, r"\boxed{\binom{10^{15}}{10^{14}}}", "7", {"wrong"}),
    "long sum": (MATH, r"\boxed{\sum_{k=1}^{10^{12}} k^k}", "7", {"wrong", "timeout"}),
    "sum too long": (MATH, r"\boxed{" + r"\sum_{k=1}^{9} k+" * 90 + "1}", "7", {"refused"}),
    "integral": (MATH, r"\boxed{\int_0^{10^9} \frac{\sin(x^{x^x})}{x^{x}} dx}", "7", {"wrong", "timeout"}),
    "long number": (MATH, r"\boxed{" + "9" * 3_000 + "}", "9" * 3_000, {"ok"}),
    "longer number": (MATH, r"\boxed{" + "9" * MEGABYTE + "}", "9", {"refused", "unboxed"}),
    "expanded product": (MATH, r"\boxed{" + "(x+1)" * 300 + "}", "(x+1)^{300}", {"ok", "refused"}),
    "power of a sum": (MATH, r"\boxed{(x+y+z+1)^{100000}}", "(x+y+z+2)^{100000}", {"wrong"}),
    "unclosed boxes": (MATH, r"\boxed{" * 100_000, "1", {"unboxed"}),
    "unclosed braces before the box": (MATH, "{" * 100_000 + r"\boxed{5}", "5", {"ok"}),
    "braces in the box": (MATH, r"\boxed{" + "{}" * 100_000 + "}", "5", {"refused", "unboxed"}),
    "nested boxes": (MATH, r"\boxed{" * 30_000 + "5" + "}" * 30_000, "5", {"refused", "ok"}),
    "nested brackets": (MATH, r"\boxed{" + "(" * 900 + "5" + ")" * 900 + "}", "5", {"ok", "wrong", "refused"}),
    "nested fractions": (MATH, r"\boxed{" + r"\frac{1}{" * 100 + "2" + "}" * 101, "5", {"refused", "wrong", "unboxed"}),
    "nested roots": (MATH, r"\boxed{" + r"\sqrt{" * 200 + "2" + "}" * 201, "5", {"refused", "wrong", "unboxed"}),
    "signs": (MATH, r"\boxed{" + "-" * 1_500 + "5}", "5", {"refused", "wrong", "ok"}),
    "commas": (MATH, r"\boxed{" + "1," * 900 + "1}", "1", {"wrong", "refused"}),
    "pluses and minuses": (MATH, r"\boxed{" + r"1\pm" * 300 + "1}", "1", {"wrong", "refused"}),
    "bars": (MATH, r"\boxed{" + "|" * 1_000 + "5" + "|" * 1_000 + "}", "5", {"refused", "wrong", "unboxed"}),
    "spaces": (MATH, r"\boxed{5" + " " * 1_900 + "}", "5", {"ok"}),
    "megabytes of text": (MATH, "word " * (4 * MEGABYTE) + r"\boxed{5}", "5", {"ok"}),
    "megabytes after the box": (MATH, r"\boxed{5}" + "word {} " * MEGABYTE, "5", {"ok"}),
    "megabytes of braces": (MATH, "{}" * (4 * MEGABYTE) + r"\boxed{5}", "5", {"ok"}),
    "megabytes of backslashes": (MATH, "\\" * (8 * MEGABYTE) + " \\boxed{5}", "5", {"ok", "unboxed"}),
    "control characters": (MATH, "\x00\x1b[31m\ud800 \\boxed{5}\x00", "5", {"ok"}),
    "zero bytes in the box": (MATH, "\\boxed{5\x00}", "5", {"ok"}),
    "look-alike letter": (MATH, r"\boxed{х}", "x", {"wrong"}),  # Cyrillic
    "look-alike digits": (MATH, r"\boxed{４２}", "42", {"ok"}),  # full width
    "right-to-left mark": (MATH, "\\boxed{\u202e21}", "12", {"wrong"}),
    "several boxes": (MATH, r"\boxed{7} no, \boxed{8}", "7", {"wrong"}),
    "several answers in the box": (MATH, r"\boxed{7 or 5}", "7", {"wrong"}),
    "every answer in the box": (MATH, r"\boxed{" + ", ".join(map(str, range(100))) + "}", "7", {"wrong"}),
    "the gold quoted": (MATH, "The answer is 7, they say. I do not know.", "7", {"unboxed"}),
    "the gold in prose in the box": (MATH, r"\boxed{\text{the answer is } 7}", "8", {"wrong"}),
    "empty box": (MATH, r"\boxed{}", "7", {"parse_fail"}),
    "empty response": (MATH, "", "7", {"unboxed"}),
    "division by zero": (MATH, r"\boxed{\frac{1}{0}}", "7", {"wrong"}),
    "infinity minus infinity": (MATH, r"\boxed{\infty-\infty}", "0", {"wrong"}),
    "python": (MATH, r"\boxed{__import__('os').system('true')}", "0", {"wrong"}),
    "format string": (MATH, r"\boxed{%s%n{0.__class__}}", "0", {"wrong"}),
    "equals everything": (MATH, r"\boxed{x=x}", "7", {"wrong"}),
    "placeholder": (MATH, r"\boxed{...}", "7", {"wrong", "parse_fail"}),
    "unclosed answers": (ZEBRA, "<answer>" * 100_000, GRID, {"unboxed"}),
    "closed answers": (ZEBRA, "<answer></answer>" * 100_000, GRID, {"parse_fail"}),
    "closing tags": (ZEBRA, "</answer>" * 100_000, GRID, {"unboxed"}),
    "nested arrays": (ZEBRA, f"<answer>{'[' * 9_000}</answer>", GRID, {"parse_fail"}),
    "nested objects": (ZEBRA, f"<answer>{'{0:' * 5_000}</answer>", GRID, {"parse_fail"}),
    "huge number in a grid": (ZEBRA, f"<answer>{'9' * 10_000}</answer>", GRID, {"parse_fail"}),
    "python in a grid": (ZEBRA, "<answer>{'header': exit(0), 'rows': 9**9**9}</answer>", GRID, {"parse_fail"}),
    "megabytes of grid": (ZEBRA, f"<answer>{'x' * MEGABYTE}</answer>", GRID, {"refused"}),
    "letters": ("stem__supergpqa", r"\boxed{ABCDEFGHIJ}", "C", {"parse_fail"}),
    "two letters": ("stem__supergpqa", r"\boxed{A, C}", "C", {"parse_fail"}),
    "Greek letter": ("stem__supergpqa", r"\boxed{Α}", "A", {"parse_fail"}),
    "no letter": ("stem__supergpqa", "It is C.", "C", {"unboxed"}),
    "unknown data source": ("no_such_source", r"\boxed{5}", "5", {"refused"}),
    "long and unknown": ("no_such_source", "x" * MEGABYTE, "5", {"refused"}),
    "fences": ("codegen__humaneval", "```" * 100_000, '{"functional": "check(f)"}', {"unboxed"}),
}  # fmt: skip


def test_every_hostile_text_gets_its_verdict_in_time():
    with rewards.RewardPool(1) as pool:
        pool.submit([(MATH, r"\boxed{\int_0^1 x dx}", "7")]).result(60)  # the imports come before the clock
        verdicts, seconds = {}, {}
        for name, (source, response, truth, _) in CASES.items():
            start = time.monotonic()
            verdicts[name] = pool.submit([(source, response, truth)]).result(60)[0].status
            seconds[name] = time.monotonic() - start
        after = pool.submit([(MATH, r"\boxed{1+x}", "x+1")]).result(60)[0]
    assert {name: status for name, status in verdicts.items() if status not in CASES[name][3]} == {}
    assert {name: round(spent, 1) for name, spent in seconds.items() if spent > 10.0} == {}  # 5 on an idle core
    assert after.status == "ok"


@pytest.mark.parametrize("response", [None, 5, b"bytes"])
def test_what_is_no_text_is_refused(response):
    assert rewards.verify(MATH, response, "5").status == "refused"
    assert rewards.verify(response, r"\boxed{5}", "5").status == "refused"  # type: ignore[arg-type]


@pytest.mark.parametrize("truth", [None, 5, {(1, 2): 3}, ["5"], object(), float("nan")])
def test_a_ground_truth_that_is_no_answer_is_not_met(truth):
    assert not rewards.verify(MATH, r"\boxed{7}", truth).correct


def test_what_breaks_in_the_quick_look_breaks_in_the_worker(monkeypatch):
    """Never in the caller, whose training would end."""
    monkeypatch.setattr(math_answer, "quick", lambda response, truth: 1 / 0)
    assert rewards.verify(MATH, r"\boxed{7}", "7").status == "ok"


def test_the_same_text_gets_the_same_verdict():
    first = [
        rewards.verify(source, response, truth).status for source, response, truth, _ in list(CASES.values())[-12:]
    ]
    assert first == [
        rewards.verify(source, response, truth).status for source, response, truth, _ in list(CASES.values())[-12:]
    ]
