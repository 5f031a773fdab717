"""What a verifier says about one response: right or not, how good, why, and how long it took."""

import dataclasses
from dataclasses import dataclass

OK = "ok"  # the answer is right
WRONG = "wrong"  # an answer was read, and it is not right
UNBOXED = "unboxed"  # no \boxed{}, <answer> or code block to read
PARSE_FAIL = "parse_fail"  # there is an answer, but it cannot be read
TIMEOUT = "timeout"  # the verifier did not end in time
REFUSED = "refused"  # not graded on purpose: too large, unknown data source, sandbox too weak
CRASHED = "crashed"  # the verifier or the candidate program died
STATUSES = (OK, WRONG, UNBOXED, PARSE_FAIL, TIMEOUT, REFUSED, CRASHED)


@dataclass(frozen=True)
class Verdict:
    """`status` is "ok" exactly when `correct`; the other statuses tell why there is no reward.

    score: in [0, 1]. 1.0 or 0.0, but for zebra puzzles the share of right cells (`correct` is the exact
        grid), and for a user's own verifier whatever number it returned.
    seconds: wall time of the grading itself, without the wait in the queue.
    """

    correct: bool
    score: float
    status: str
    seconds: float = 0.0

    def timed(self, seconds: float) -> "Verdict":
        return dataclasses.replace(self, seconds=seconds)


def right() -> Verdict:
    return Verdict(True, 1.0, OK)


def failed(status: str) -> Verdict:
    """No reward, and why."""
    return Verdict(False, 0.0, status)


def decided(correct: bool) -> Verdict:
    return right() if correct else failed(WRONG)
