r"""Decides whether two mathematical answers that differ as strings are equal."""

from math_verify import parse
from math_verify import verify as math_verify

from rlscale_jax.rewards.verdict import PARSE_FAIL, Verdict, decided, failed


def equivalent(box: str, gold: str) -> Verdict:
    """math-verify's opinion."""
    gold_value = parse(f"${gold}$", parsing_timeout=None)  # type: ignore[arg-type]
    answer = parse(f"$\\boxed{{{box}}}$", parsing_timeout=None)  # type: ignore[arg-type]
    if not answer:
        return failed(PARSE_FAIL)
    return decided(math_verify(gold_value, answer, timeout_seconds=None))
