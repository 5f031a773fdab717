r"""Takes an answer out of the words around it: "the answer is 5", "k\pi, k \in \mathbb{Z}", "17 \pmod{20}".

Only what cannot change the answer goes. Words that could ("5 or more", "not 5", "2 if n is even") stay, and make
it another answer.
"""

import re
from dataclasses import dataclass

_OPENING = re.compile(
    r"(?i)\A\s*(?:\\text\{\s*)?(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:(?:final|correct) )?answer(?: is)?"
    r"\s*[:=]?\s*(?:\}\s*[:=]?\s*|(?<=[\s:=]))"
)
_QUOTED = re.compile(
    r"(?i)\A\\text\{\s*(?:the )?(?:(?:final|correct) )?answer(?: is)?\s*[:=]?\s+([^{}]*)\}\Z"
)  # \text{the answer is 5}
_SIGN = re.compile(r"\A\s*(?:=|\\approx|\\therefore|\\Rightarrow|\\implies)(?![A-Za-z])\s*")
_REASON = re.compile(r"(?i)[,;.]?\s*\(?\\text\{[\s,;(]*(?:where|since|because|as desired)\b.*\Z", re.DOTALL)
_LETTERS = r"[a-z](?:\s*,\s*[a-z])*"
_BEFORE = r"(?:[,;]\s*\(?|\s*\()\s*(?:\\text\{\s*(?:for|where|with)?(?: all| any| some)?(?: integers?)?\s*\})?\s*"
_WHERE = r"\s*\\text\{\s*,?\s*(?:for|where|with)(?: all| any| some)?(?: integers?)?\s*\}\s*"
_QUANTIFIER = re.compile(
    rf"(?:{_BEFORE}|{_WHERE})({_LETTERS})\s*\\in\s*\\mathbb\{{[ZN]\}}(?:_\{{?0\}}?|[_^]\{{?[*+]\}}?)?\s*\)?\s*\Z"
)
_INTEGERS = re.compile(
    rf"(?i)(?:{_BEFORE}|{_WHERE})({_LETTERS})\s*"
    r"\\text\{\s*(?:is|are|is an|is any)?\s*(?:an |any )?integers?\s*\}\)?\s*\Z"
)
_LETTER = re.compile(r"(?<![\\A-Za-z])[a-z](?![A-Za-z])")
_MODULUS = re.compile(
    r"\s*(?:\\pmod|\(\s*(?:\\bmod|\\mod|\\text\{\s*mod\s*\}|mod(?![a-z])))\s*(?:\{([^{}]{1,20})\}|([^{}\s)]{1,20}))"
    r"\s*\)?\s*\Z"
)


@dataclass(frozen=True)
class Phrase:
    """text: the answer itself; modulus: of a residue, or ""; parameter: the one letter that runs over the integers."""

    text: str
    modulus: str = ""
    parameter: str = ""


def bare(text: str) -> Phrase:
    """The answer in a normalised text."""
    text = _SIGN.sub("", _OPENING.sub("", _QUOTED.sub(r"\1", text)))
    text = _REASON.sub("", text)
    parameter = ""
    for pattern in (_QUANTIFIER, _INTEGERS):
        if (match := pattern.search(text)) and text[: match.start()].strip():
            text, parameter = text[: match.start()], match[1] if len(match[1]) == 1 else ""
            break
    modulus = ""
    if (match := _MODULUS.search(text)) and text[: match.start()].strip():
        modulus, text = (match[1] or match[2]).strip(), text[: match.start()].replace(r"\equiv", "=")
    return Phrase(text.strip(" .,;"), modulus, parameter)


def same_names(gold: Phrase, answer: Phrase) -> Phrase:
    r"""`answer` with its integer parameter named as in `gold`: k\pi and n\pi, n \in \mathbb{Z}, are one family."""
    if not (gold.parameter or answer.parameter):
        return answer
    ours, theirs = set(_LETTER.findall(gold.text)), set(_LETTER.findall(answer.text))
    old, new = answer.parameter or _only(theirs - ours), gold.parameter or _only(ours - theirs)
    if not old or not new or new in theirs or old in ours:
        return answer
    renamed = re.sub(rf"(?<![\\A-Za-z]){old}(?![A-Za-z])", new, answer.text)
    return Phrase(renamed, answer.modulus, new)


def _only(letters: set[str]) -> str:
    return letters.pop() if len(letters) == 1 else ""
