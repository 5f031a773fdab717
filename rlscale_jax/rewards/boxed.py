r"""Finds the last \boxed{...} with balanced braces, in one linear pass over any text."""

import re

_TOKEN = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""The content of the last complete \boxed{} (or \fbox{}); the outermost one where boxes are nested.

    Escaped braces (\{ and \}) do not count. An unclosed box is skipped: 100,000 of them cost one pass.
    """
    if "boxed" not in text and "fbox" not in text:
        return None
    open_braces: list[int] = []  # start of a box's content, or -1 for a plain brace
    found = (-1, -1)
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark.endswith("{") and mark != "\\{":
            open_braces.append(token.end() if len(mark) > 1 else -1)
        elif mark == "}" and open_braces:
            start = open_braces.pop()
            if start >= 0:
                found = (start, token.start())
    return text[found[0] : found[1]] if found[0] >= 0 else None
