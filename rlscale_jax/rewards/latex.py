r"""Brings an answer's LaTeX (or plain text) into one spelling, so that equal answers look alike.

Only spelling: \dfrac12, \tfrac{1}2 and ½ become \frac{1}{2}; spacing commands, fonts, dollar signs and
delimiter sizes go; unicode symbols become their commands. No mathematics is done here.
"""

import re
import unicodedata

_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙₖ]+")
_ROOT = re.compile(r"([√∛∜]) ?(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[A-Za-zπ]))")
_ROOT_INDEX = {"√": "", "∛": "[3]", "∜": "[4]"}
_SYMBOLS = {
    ord(c): command
    for c, command in {
        "−": "-", "–": "-", "—": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
        "÷": "/", "⁄": "/", "∕": "/", "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "±": r"\pm ", "∓": r"\mp ",
        "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ",
        "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"\degree ", "º": r"\degree ", "′": "'", "’": "'",
        "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "φ": r"\phi ",
        "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "€": r"\$", "£": r"\$",
        "∠": r"\angle ", "△": r"\triangle ", "：": ":", "，": ",", "（": "(", "）": ")", "％": "%", "∖": r"\setminus ",
        "⇒": r"\Rightarrow ", "∴": r"\therefore ", "¢": r"\text{ cents}", "∨": r"\lor ", "∧": r"\land ",
    }.items()
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_VULGAR = re.compile("[¼½¾⅐-⅞]")
_TEXT_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textnormal|textrm|texttt|textsf|mbox|hbox|mathrm|mathbf|mathit|mathsf|mathtt|"
    r"bold|boldsymbol|bm|rm|operatorname\*?|underline|emph)\s*\{([^{}]*)\}"
)


def _unglued(match: re.Match) -> str:
    r"""\piR^2 and \cosx, from which a space was lost; \cosh stays."""
    return match[0] if match[0][1:] in ("sinh", "cosh", "tanh") else rf"\{match[1]} {match[2]}"


def _unstyled(match: re.Match) -> str:
    """A formula without the font or underline around it; words keep theirs (see `_text`)."""
    return match[1] if re.search(r"[\\^]", match[1]) else match[0]


def _repeated(match: re.Match) -> str:
    """0.1666... as 0.1\\overline{6}: the shortest tail that stands there three times (or twice, if longer)."""
    digits = match[1]
    for period in range(1, len(digits) // 2 + 1):
        tail = digits[-period:]
        times = 3 if period == 1 else 2
        if digits.endswith(tail * times):
            fixed = digits
            while fixed.endswith(tail):
                fixed = fixed[:-period]
            return rf".{fixed}\overline{{{tail}}}"
    return match[0]


_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|gcd|lcm|max|min"
_NESTED = r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"
_ORDINAL = (
    r"(?<=\d)(?:\^\{ ?\\(?:text|mathrm|textrm)\{ ?(?:st|nd|rd|th) ?\} ?\}|\^\{ ?(?:st|nd|rd|th) ?\}"
    r"|\^?\\(?:text|mathrm|textrm|textsuperscript)\{ ?(?:st|nd|rd|th) ?\}|(?:st|nd|rd|th)(?![A-Za-z]))"
)  # 5th, 5^{\text{th}}
_UNIT = r"\\(?:text|mathrm)\{ ?([A-Za-z]+) ?\}"
_REWRITES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\A\s*\*\*(.+)\*\*\s*\Z", r"\1"),  # bold in Markdown
        (r"\\(?:text)?color\s*\{[^{}]*\}|\\[hv]?phantom\s*\{[^{}]*\}|\\[hv]space\*?\s*\{[^{}]*\}", ""),
        (r"\\(?:bf|it|rm|sf|tt|bfseries|itshape|large|Large|LARGE|huge|Huge|small|normalsize)(?![A-Za-z])", ""),
        (r"\\(?:label|tag)\s*\{[^{}]*\}|\\(?:strut|mathstrut|qedhere|blacksquare|checkmark)(?![A-Za-z])", ""),
        (r"\\\\\s*\Z", ""),
        (rf"\\(?:mathbf|boldsymbol|bm|mathrm|mathit|underline|ensuremath|smash)\s*\{{({_NESTED})\}}", _unstyled),
        (r"\.(\d{3,40}) ?(?:\.\.\.|\\[lc]?dots(?![A-Za-z]))", _repeated),
        (r"(?<=[\d.])\\dot ?\{?(\d)\}?(\d*)\\dot ?\{?(\d)\}?", r"\\overline{\1\2\3}"),
        (r"(?<=[\d.])\\(?:bar|dot|overline) ?(?:\{(\d+)\}|(\d))", r"\\overline{\1\2}"),
        (r"(?<=\d\.)\((\d{1,20})\)", r"\\overline{\1}"),  # 0.(3)
        (r"\\(?:[lc]?dots[cbm]?)(?![A-Za-z])|\.\.\.(?!\s*\Z)", r"\\dots "),
        (rf"{_ORDINAL}", ""),
        (rf"\\d?frac ?\{{ ?{_UNIT} ?\}} ?\{{ ?{_UNIT} ?(\^\{{?2\}}?)? ?\}}", r"\\text{ \1/\2\3}"),
        (rf"{_UNIT} ?(?:\\cdot ?)?{_UNIT}\^\{{?-1\}}?", r"\\text{ \1/\2}"),
        (rf"{_UNIT} ?(?:\\cdot ?)?{_UNIT}\^\{{?-2\}}?", r"\\text{ \1/\2^2}"),
        (r"\\(leqslant|geqslant|pi|sin|cos|tan|ln|theta|alpha)([A-Za-z])(?![A-Za-z])", _unglued),
        (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|hfill|noindent|protect)(?![A-Za-z])", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?", ""),
        (r"(?<=\d),(?:\\!|\\,|\\ )\s*(?=\d{3})", ","),  # 11,\!111
        (r"\{,\}", ","),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\(?:[,;:> ]|quad(?![A-Za-z])|qquad(?![A-Za-z])|thinspace(?![A-Za-z])|enspace(?![A-Za-z]))|~", " "),
        (r"(?<!\\)\\[()\[\]]|(?<!\\)\$", " "),
        (r"\\(?:dfrac|tfrac|cfrac|nicefrac|sfrac)(?![A-Za-z])", r"\\frac"),
        (r"\\(?:l|r)vert(?![A-Za-z])|\\vert(?![A-Za-z])|\\mid(?![A-Za-z])", "|"),
        (r"\\(?:l|r)brace(?![A-Za-z])", lambda m: r"\{" if "l" in m[0][:2] else r"\}"),
        (r"\\(?:leqslant|leq|leqq)(?![A-Za-z])|<=|=<", r"\\le "),
        (r"\\(?:geqslant|geq|geqq)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\neq(?![A-Za-z])|(?<![\d)}\]])!=|\\not\s*=", r"\\ne "),  # but 5!=120
        (r"\{([^{}]{1,40})\\choose(?![A-Za-z])([^{}]{1,40})\}", r"\\binom{\1}{\2}"),
        (r"\{([^{}]{1,40})\\over(?![A-Za-z])([^{}]{1,40})\}", r"\\frac{\1}{\2}"),
        (r"(?<![A-Za-z}_^])C_(?:\{(\d+)\}|(\d))\^(?:\{(\d+)\}|(\d))", r"\\binom{\1\2}{\3\4}"),
        (r"(?:\{\}|(?<![\w}]))_(?:\{(\d+)\}|(\d)) ?C_(?:\{(\d+)\}|(\d))", r"\\binom{\1\2}{\3\4}"),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\(?:varnothing|O)(?![A-Za-z])", r"\\emptyset "),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\(?:mathbb|mathbf|mathbb\s*|mathbf\s*)(?:\{ ?R ?\}|(?<= )R(?![A-Za-z]))|\\(?:R|Reals|reals)(?![A-Za-z])",
         r"\\mathbb{R}"),
        (r"\\(?:backslash|smallsetminus)(?![A-Za-z])", r"\\setminus "),
        (r"(?<=\\mathbb\{R\}) ?- ?(?=\\\{|[(\[])", r"\\setminus "),
        (r"(?<=[)\]]) ?U ?(?=[(\[])", r"\\cup "),
        (r"\\vec ?(?:\{ ?([A-Za-z]) ?\}|([A-Za-z])(?![A-Za-z]))", r" \1\2 "),
        (r"\\hat ?\{?(?:\\([ij])math|([ijk]))\}?|\\([ij])math(?![A-Za-z])", r" \1\2\3 "),
        (r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![A-Za-z]))|\\degrees?(?![A-Za-z])"
         r"|\^(?:o(?![A-Za-z])|\{ ?o ?\})"
         r"|\^ ?\{ ?\\(?:text|mathrm|textrm)\{ ?o ?\} ?\}", r"\\degree "),
        (r"(?<=\d) ?(?:\\text\{ ?deg(?:rees?|\.)? ?\}|deg(?:rees?)?(?![A-Za-z]))", r"\\degree "),
        (r"\\text\{ ?(?:percent|per cent|pct\.?|percentage) ?\}|(?<=\d) ?per cent", "%"),
        (r"\\cdotp(?![A-Za-z])|\\ast(?![A-Za-z])|\\bullet(?![A-Za-z])", r"\\cdot "),
        (r"\*\*", "^"),
        (r"\+ ?/ ?-|\+-", r"\\pm "),
        (r"(?<![\\A-Za-z])a(sin|cos|tan)(?=\()", r"\\arc\1"),
        (r"(?<![\\A-Za-z])abs\(([^()]*)\)", r"|\1|"),
        (r"(?<![\\A-Za-z])cbrt\(([^()]*)\)", r"\\sqrt[3]{\1}"),
        (r"\\bar(?![A-Za-z])", r"\\overline"),
        (r"(?<=\d) ?[xX] ?(?=10 ?\^)", r"\\times "),  # 3 x 10^8
        (r"(?<=\d)(?:\\(?:text|mathrm)\{ ?[eE] ?\}|[eE])\{([+-]?\d+)\}", r"e\1"),
        (r"\\%", "%"),
        (rf"(?<![\\A-Za-z])(pi|infty|infinity|inf|oo|{_FUNCTIONS})(?![A-Za-z])", 
         lambda m: r"\infty " if m[1] in ("inf", "infinity", "oo") else "\\" + m[1] + " "),
        (r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
    )
)  # fmt: skip
_FRAC_ARGUMENT = r"\s*(\{(?:[^{}]|\{[^{}]*\})*\}|\\[A-Za-z]+|[A-Za-z0-9])"
_FRAC = re.compile(rf"\\frac{_FRAC_ARGUMENT}{_FRAC_ARGUMENT}")
_SQRT = re.compile(r"\\sqrt\s*(\\[A-Za-z]+|[A-Za-z0-9])")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d,])")

_SPACED_DECIMALS = re.compile(r"(?<=\d)\.\d{3}(?: \d{3})+(?!\d)")


def normalize(text: str) -> str:
    """One spelling of `text` (see the module). Idempotent up to spacing; single spaces are kept."""
    text = _single_backslashes(_unicode(_CONTROL.sub(" ", text)))
    text = re.sub(r"\\(?:boxed|fbox)\s*(?=\{)", "", text)
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    text = _TEXT_COMMAND.sub(_text, text)
    text = _FRAC.sub(lambda m: rf"\frac{_braced(m[1])}{_braced(m[2])}", text)
    text = _SQRT.sub(lambda m: rf"\sqrt{_braced(m[1])}", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"(\\[A-Za-z]+|[{}^_(]) (?=[\\{}^_()\d,])|(?<=\w) (?=[}^_),])", r"\1", text)
    text = _SPACED_THOUSANDS.sub(lambda m: m[0].replace(" ", ""), text)
    text = _SPACED_DECIMALS.sub(lambda m: m[0].replace(" ", ""), text)
    return _unwrapped(text.rstrip(" .,;:").lstrip(" ,;:"))


def compact(text: str) -> str:
    """`text` without spaces, but for those that keep two digits apart ("4 4/9" is not "44/9")."""
    return re.sub(r"(?<!\d) | (?!\d)", "", text)


def _single_backslashes(text: str) -> str:
    r"""A quarter of the study's ground truths are escaped twice (\\\\frac{1}{2}): then every run is even."""
    doubled = re.search(r"\\\\(?:[A-Za-z]{2}|[{}%$!,;()])", text)  # else a line break, as in 2 \\ 3
    if doubled and all(len(run) % 2 == 0 for run in re.findall(r"\\+", text)):
        return text.replace("\\\\", "\\")
    return text


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    text = _VULGAR.sub(lambda m: " " + unicodedata.normalize("NFKC", m[0]) + " ", text)
    text = _RAISED.sub(lambda m: f"^{{{m[0]}}}", text)  # NFKC makes plain digits of them below
    text = _LOWERED.sub(lambda m: f"_{{{m[0]}}}", text)
    text = _ROOT.sub(lambda m: rf"\sqrt{_ROOT_INDEX[m[1]]}{{{m[2] or m[3]}}}", text).translate(_SYMBOLS)
    text = unicodedata.normalize("NFKC", text).translate(_SYMBOLS)
    return text.replace("\u200b", "").replace("\ufeff", "")


def _text(match: re.Match) -> str:
    """A font change around one letter or a number is only a font; around words, and units, it marks text."""
    inner = match[1].strip()
    before = match.string[: match.start()].rstrip()
    if inner in ("m", "s", "g", "h", "L") and (before[-1:].isdigit() or before.endswith("}")):
        return rf"\text{{{inner}}}"
    if inner in (r"\degree", "%") or re.fullmatch(r"\(?[A-Z]\)?(?:, ?\(?[A-Z]\)?)+", inner):
        return inner
    if number := re.fullmatch(r"(-?(?:\\\$)?\d[\d.,/]*) ([a-z][a-z ]*)", inner):  # \text{5 apples}
        return rf"{number[1]} \text{{{number[2]}}}"
    if inner == "cis" or re.fullmatch(r"\\[a-z]+", inner):  # the name of a function
        return rf"\{inner.lstrip(chr(92))} "
    if match[0].startswith("\\operatorname"):
        return "\\" + inner + " "
    if len(inner) <= 1 or not any(c.isalpha() for c in inner):
        return inner
    return rf"\text{{{match[1]}}}"


def _braced(argument: str) -> str:
    if argument.startswith("{"):
        return "{" + argument[1:-1].strip() + "}"
    return "{" + argument.strip() + "}"


def _unwrapped(text: str) -> str:
    """Without braces around the whole (`{1,3}` in LaTeX shows no braces)."""
    while text.startswith("{") and text.endswith("}"):
        depth = 0
        for place, char in enumerate(text):
            depth += (char == "{") - (char == "}")
            if depth == 0 and place < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text
