r"""Finds the last \boxed{...} with balanced braces; linear in any text, and fast on megabytes of it."""

import re

MAX_BOX_CHARS = 100_000  # what is longer is no answer

_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{")
_TOKEN = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""The content of the last \boxed{} (or \fbox{}) whose braces close; of nested boxes the inner one.

    Escaped braces (\{ and \}) do not count, an unclosed box is skipped. Only the text from the last boxes on
    is read, going back further (16 times as many boxes each time) while none of them closes.
    """
    starts = [box.start() for box in _BOX.finditer(text)]
    reach = 1
    while starts:
        begin = starts[max(0, len(starts) - reach)]
        if (found := _last_closed(text, begin, starts[-1] + MAX_BOX_CHARS)) is not None:
            return found
        if reach >= len(starts):
            break
        reach *= 16
    return None


def _last_closed(text: str, begin: int, end: int) -> str | None:
    """The closed box that starts last in text[begin:end]."""
    open_braces: list[int] = []  # start of a box's content, or -1 for a plain brace
    found = (-1, -1)
    for token in _TOKEN.finditer(text, begin, end):
        mark = token.group()
        if mark.endswith("{") and mark != "\\{":
            open_braces.append(token.end() if len(mark) > 1 else -1)
        elif mark == "}" and open_braces:
            found = max(found, (open_braces.pop(), token.start()))
    return text[found[0] : found[1]] if found[0] >= 0 else None
