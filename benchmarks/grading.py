"""Answers graded per second, and how many rightly, beside math-verify: python -m benchmarks.grading DATA

DATA is a directory with the study's math files in guru/ and cases of other graders' own tests in
grading/math_peers.jsonl ({"gold", "response", "expected", "category", "contested"} a line); our own hand-decided cases
are tests/rewards/math_cases.tsv. Ordinary answers are the
golds of the evaluation sets at the end of a page of text: as they stand, spelled otherwise, and another problem's
instead. Nothing repeats, so no cache helps; the pool has two workers.
"""

import argparse
import collections
import json
import logging
import pathlib
import time

from rlscale_jax import rewards
from rlscale_jax.data import study_files
from rlscale_jax.data.problems import read_problems
from rlscale_jax.rewards.boxed import last_boxed

SETS = ("heldout", "math500", "aime2024", "amc2023", "gsm8k")
OWN_CASES = pathlib.Path(__file__).parent.parent / "tests" / "rewards" / "math_cases.tsv"
PAGE = "We look at the cases in turn; for each of them $x_k \\ge 0$ and the sum is at most $\\frac{n}{2}$. " * 20

Item = tuple[str, str, str]
Table = dict[str, collections.Counter]


def ordinary(data: pathlib.Path) -> list[Item]:
    """(data source, response, gold): three to every problem, in the order of the sets."""
    files = {file.name: file.filename for file in study_files.FILES}
    golds = [p.ground_truth for name in SETS for p in read_problems(data / "guru" / files[name])]
    answers = []
    for index, gold in enumerate(golds):
        for box in (gold, _respelled(gold, index), golds[(index + 7) % len(golds)]):
            answers.append(("math__math", f"{PAGE}Case {len(answers)}. So the answer is $\\boxed{{{box}}}$.", gold))
    return answers


def _respelled(gold: str, index: int) -> str:
    forms = (
        gold.replace(r"\frac", r"\dfrac").replace(" ", r"\,"),
        f"x = {gold}",
        f"{gold}.0" if gold.isdigit() else f"\\left({gold}\\right)",
        f"{gold}\\text{{ cm}}",
        f"{gold} + 0",
    )
    return forms[index % len(forms)]


def rate(items: list[Item]) -> tuple[float, dict[str, int]]:
    """Answers per second of a warm pool of two workers, and how often each status."""
    with rewards.RewardPool(2) as pool:
        pool.submit([("math__math", rf"\boxed{{\int_0^1 {k} x dx}}", "7") for k in (2, 4, 6, 8)]).result()
        start = time.perf_counter()
        verdicts = pool.submit(items).result()
        secs = time.perf_counter() - start
    return len(items) / secs, dict(collections.Counter(verdict.status for verdict in verdicts))


def peer_rate(items: list[Item]) -> float:
    """Answers per second and core of math-verify alone, on every twentieth item."""
    sample = items[::20]
    _math_verify(*sample[0][1:])
    start = time.perf_counter()
    for _, response, gold in sample:
        _math_verify(response, gold)
    return len(sample) / (time.perf_counter() - start)


def _math_verify(response: str, gold: str) -> bool:
    from math_verify import parse, verify

    try:
        return bool(verify(parse(f"${gold}$"), parse(response)))
    except Exception:
        return False


def peers_cases(data: pathlib.Path) -> list[dict]:
    lines = (data / "grading" / "math_peers.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if not row["contested"]]


def own_cases() -> list[dict]:
    lines = OWN_CASES.read_text(encoding="utf8").splitlines()
    fields = (line.split("\t") for line in lines if not line.startswith("#"))
    return [
        {"category": category, "expected": mark == "=", "gold": gold, "response": rf"\boxed{{{answer}}}"}
        for category, mark, gold, answer in fields
    ]


def compare(rows: list[dict]) -> tuple[Table, Table]:
    """By category: counts of "right", "FP" and "FN", ours and math-verify's on the box."""
    ours: Table = collections.defaultdict(collections.Counter)
    theirs: Table = collections.defaultdict(collections.Counter)
    with rewards.RewardPool(2) as pool:
        verdicts = pool.submit([("math__math", row["response"], row["gold"]) for row in rows]).result()
    for row, verdict in zip(rows, verdicts, strict=True):
        box = last_boxed(row["response"])
        peer = box is not None and _math_verify(rf"\boxed{{{box}}}", row["gold"])
        for table, correct in ((ours, verdict.correct), (theirs, peer)):
            outcome = "right" if correct == row["expected"] else "FP" if correct else "FN"
            table[row["category"]][outcome] += 1
    return ours, theirs


def main(data: pathlib.Path) -> None:
    logging.disable(logging.CRITICAL)
    for title, rows in (("Other graders' cases", peers_cases(data)), ("Our own cases", own_cases())):
        _print_table(title, *compare(rows))
    items = ordinary(data)
    value, statuses = rate(items)
    peer = peer_rate(items)
    record = {"workload": "ordinary math answers", "value": round(value, 1), "unit": "answers/s, 2 workers"}
    record |= {"statuses": statuses, "peer": "math-verify, one core", "peer_value": round(peer, 1)}
    print(json.dumps(record | {"ratio": round(value / (2 * peer), 2)}))


def _print_table(title: str, ours: Table, theirs: Table) -> None:
    print(f"| {title} | cases | right | FP | FN | math-verify: right | FP | FN |\n|---|---|---|---|---|---|---|---|")
    totals = [sum(table.values(), collections.Counter()) for table in (ours, theirs)]
    for name in sorted(ours, key=lambda name: -ours[name].total()):
        print(f"| {name} | {ours[name].total()} | {_cells(ours[name])} | {_cells(theirs[name])} |")
    print(f"| all | {totals[0].total()} | {_cells(totals[0])} | {_cells(totals[1])} |\n")


def _cells(counts: collections.Counter) -> str:
    return " | ".join(str(counts[outcome]) for outcome in ("right", "FP", "FN"))


def _directory() -> pathlib.Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path, help="directory with guru/ and grading/")
    data = parser.parse_args().data
    for needed in (data / "guru", data / "grading" / "math_peers.jsonl"):
        if not needed.exists():
            parser.error(f"{needed} is not there; DATA is a directory with guru/ and grading/math_peers.jsonl")
    return data


if __name__ == "__main__":
    main(_directory())
