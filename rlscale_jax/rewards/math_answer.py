r"""Mathematical answers: the last \boxed{}, read the same way as the gold answer, then compared.

`quick` decides in microseconds what strings and exact numbers decide, in linear time and safe in any process;
`grade` decides the rest and may need seconds and sympy, so it belongs into a worker process.
"""

import re
from functools import lru_cache

from rlscale_jax.rewards import exact
from rlscale_jax.rewards.boxed import last_boxed
from rlscale_jax.rewards.latex import compact, normalize
from rlscale_jax.rewards.verdict import REFUSED, UNBOXED, Verdict, decided, failed

QUICK_CHARS = 200  # longer answers are not looked at outside a worker
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
MAX_CHARS = 4_000  # longer answers are no answers


def quick(response: str, ground_truth: str) -> Verdict | None:
    """The verdict where no algebra is needed, else None."""
    box = last_boxed(response)
    if box is None:
        return failed(UNBOXED)
    if _INTEGER.fullmatch(box) and _INTEGER.fullmatch(ground_truth):
        return decided(int(box) == int(ground_truth))
    if len(box) > QUICK_CHARS or len(ground_truth) > QUICK_CHARS:
        return failed(REFUSED) if len(box) > MAX_CHARS and len(ground_truth) <= MAX_CHARS else None
    return _quick(box.strip(), ground_truth)


def grade(response: str, ground_truth: str) -> Verdict:
    """The verdict, by algebra where needed. May be slow or large on hostile answers: run it in a worker."""
    verdict = quick(response, ground_truth)
    if verdict is not None:
        return verdict
    from rlscale_jax.rewards.equivalence import equivalent

    return equivalent(last_boxed(response) or "", ground_truth)


@lru_cache(maxsize=8192)
def _quick(box: str, ground_truth: str) -> Verdict | None:
    answer, gold = normalize(box), normalize(ground_truth)
    if answer and compact(answer) == compact(gold):
        return decided(True)
    answer_number, gold_number = exact.read(answer), exact.read(gold)
    if answer_number and gold_number:
        return decided(exact.equal(gold_number, answer_number))
    return None
