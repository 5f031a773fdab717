r"""Multiple choice: the box must hold exactly one letter, and it must be the right one."""

import re

from rlscale_jax.rewards.boxed import last_boxed
from rlscale_jax.rewards.verdict import PARSE_FAIL, UNBOXED, Verdict, decided, failed

_DRESS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|textrm|rm|bf|left|right)(?![A-Za-z])|[{}$\s.]|\\[,;!()]")


def grade(response: str, ground_truth: str) -> Verdict:
    """One Latin letter, with or without brackets or a font command; nothing else counts as an answer."""
    box = last_boxed(response)
    if box is None:
        return failed(UNBOXED)
    if len(box) > 80:
        return failed(PARSE_FAIL)
    letter = _DRESS.sub("", box)
    if letter.startswith("(") and letter.endswith(")"):
        letter = letter[1:-1]
    elif letter.endswith(")"):
        letter = letter[:-1]
    if not re.fullmatch(r"[A-Za-z]", letter):
        return failed(PARSE_FAIL)
    return decided(letter.upper() == ground_truth.strip().strip("()").upper())


quick = grade  # linear and tiny: always decided where it is asked
