r"""Units of measure and other words behind a number: "15\text{ cm}^2", "$10", "45 degrees", "5 million"."""

import re
from fractions import Fraction

# name -> (dimension, size); a word that is not here is only a label ("apples", "ways")
_UNITS = {
    name: (dimension, Fraction(size))
    for dimension, sizes in {
        "length": {"mm": "1/1000", "cm": "1/100", "dm": "1/10", "m": "1", "km": "1000", "inch": "254/10000",
                   "ft": "3048/10000", "yd": "9144/10000", "mile": "1609344/1000"},
        "time": {"ms": "1/1000", "s": "1", "min": "60", "h": "3600", "day": "86400", "week": "604800"},
        "mass": {"mg": "1/1000", "g": "1", "kg": "1000", "ton": "1000000"},
        "volume": {"ml": "1/1000", "l": "1"},
        "money": {"cent": "1/100", "$": "1"},
    }.items()
    for name, size in sizes.items()
}  # fmt: skip
_SPELLINGS = {
    spelling: name
    for name, spellings in {
        "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
        "inch": "in inches", "ft": "foot feet", "yd": "yard", "mile": "mi", "s": "sec second", "min": "minute",
        "h": "hr hour", "g": "gram", "kg": "kilogram", "mg": "milligram", "l": "liter litre", "ml": "milliliter",
        "cent": "¢", "$": "dollar usd buck", "ton": "tonne", "day": "day", "week": "wk",
    }.items()
    for spelling in spellings.split()
}  # fmt: skip
_SCALES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_RATES = {"mph": "mile/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "fps": "ft/s"}
# Words that make another answer of a number: "5 or more", "5 if n is odd"
_HEDGES = frozenset(
    {"or", "more", "less", "least", "most", "not", "no", "wrong", "incorrect", "false", "if", "unless", "except"}
    | {"than", "about", "over", "under", "above", "below"}
)
_MIXED_UNITS = re.compile(
    r"(\d+(?:\.\d+)?) ?(?:\\text\{ ?(?:and )?([A-Za-z]+)(?: and)? ?\}|([A-Za-z]{2,}))[ ,]*(?:\\text\{ ?and ?\} ?)?"
)
_BARE_WORDS = re.compile(
    r"(?P<number>.*[\d})] ?)(?P<unit>(?:(?i:square|cubic) )?"
    r"[A-Za-z]+(?:\^\{?[23]\}?|(?:/[a-z]+| per [a-z]+| [a-z]+){0,3}))"
)
_TEXT_UNIT = re.compile(
    r"(?P<number>.*\S) ?\\text\{(?P<unit>[^{}]*)\}(?P<power>\^\{?[23]\}?)?(?P<more>(?:[ /]*\\text\{[^{}]*\})*)"
)


def split(text: str) -> tuple[str, str, Fraction]:
    """(number's text, canonical unit or "", factor to multiply with) of a normalised scalar answer."""
    text = text.strip()
    if (mixed := _mixed(text)) is not None:
        return mixed
    if match := re.fullmatch(r"(-?) ?\\\$ ?(.+)", text):
        number, unit, factor = split(_without_money(match[2]))  # $18 per day, $5 million
        return (match[1] + match[2], "", Fraction(1)) if is_measure(unit) else (match[1] + number, "$", factor)
    if text.endswith(r"\$"):
        return text[:-2].strip(), "$", Fraction(1)
    match = _TEXT_UNIT.fullmatch(text)
    if match:
        words = match["unit"] + (match["power"] or "") + re.sub(r"\\text|[{}]", "", match["more"] or "")
    else:
        match = _BARE_WORDS.fullmatch(text)
        words = match["unit"] if match else ""
        if match and not _is_label(words, spaced=match["number"].endswith(" ")):
            return text, "", Fraction(1)
    if not match or _HEDGES & set(re.findall("[a-z]+", words.lower())):
        return text, "", Fraction(1)
    number = match["number"].strip()
    return (number, *_canonical(words))


def _mixed(text: str) -> tuple[str, str, Fraction] | None:
    """2 hours 30 minutes: two or three parts of one dimension, added up in the unit of the first."""
    parts = list(_MIXED_UNITS.finditer(text))
    if not 2 <= len(parts) <= 4 or "".join(part[0] for part in parts) != text:
        return None
    names = [_canonical(part[2] or part[3])[0] for part in parts]
    ratios = [ratio(names[0], name) if name in _UNITS else None for name in names]
    if None in ratios or names[0] not in _UNITS or len(set(names)) < len(names):
        return None
    total = sum(Fraction(part[1]) * by for part, by in zip(parts, ratios, strict=True) if by is not None)
    return str(total), names[0], Fraction(1)


def _is_label(words: str, *, spaced: bool) -> bool:
    """3 inches, 12cm and 5 apples carry a label; in 3ab, 4x^2 and 5 m the letters are factors."""
    base = re.sub(r"\^.*", "", words)
    if len(base) >= 2 and _canonical(words)[0].partition("^")[0] in _UNITS:
        return True
    first = re.split(r"/| per ", words)[0]
    if first != words and spaced:  # km/h, m/s
        return first in _SPELLINGS or _singular(first) in _UNITS
    if "^" in words:
        return spaced and base in _UNITS
    return spaced and re.match(r"[A-Za-z]{3,}", words) is not None


def _without_money(text: str) -> str:
    return re.sub(r"(?i) ?(?:\\text\{)? ?(?:dollars?|usd)\}?$", "", text).strip()


def _canonical(words: str) -> tuple[str, Fraction]:
    """One spelling of a unit, and the factor of number words in it ("million dollars")."""
    words = re.sub(r"[{}.]", "", words.lower()).strip()
    factor = Fraction(1)
    first, _, rest = words.partition(" ")
    if first in _SCALES:
        factor, words = Fraction(_SCALES[first]), rest.strip()
    power = ""
    if match := re.fullmatch(r"(square|cubic|sq\.?|cu\.?) (.+)", words):
        power, words = ("^2" if match[1].startswith("sq") else "^3"), match[2]
    if match := re.fullmatch(r"(.+?)\^([23])", words):
        power, words = f"^{match[2]}", match[1].strip()
    rate = _RATES.get(words) or re.sub(r" ?/ ?| per ", "/", words)
    return "/".join(map(_singular, rate.split("/", 1))) + power, factor


def _singular(word: str) -> str:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _UNITS:
            return form
        if form in _SPELLINGS:
            return _SPELLINGS[form]
    return word.removesuffix("s")


def is_measure(unit: str) -> bool:
    """Is it a known unit (or money), and not just a label?"""
    return unit.partition("^")[0].partition("/")[0] in _UNITS


def ratio(gold: str, answer: str) -> Fraction | None:
    """What one `answer` unit is in `gold` units; None where the two cannot mean the same quantity.

    A missing unit is the question's own; words that are no units of measure never contradict.
    """
    if "/" in gold and "/" in answer:  # km/h and m/s: both parts in turn
        (top, bottom), (gold_top, gold_bottom) = answer.split("/", 1), gold.split("/", 1)
        ratios = ratio(gold_top, top), ratio(gold_bottom, bottom)
        return None if ratios[0] is None or ratios[1] is None else ratios[0] / ratios[1]
    (gold_base, _, gold_power), (base, _, power) = gold.partition("^"), answer.partition("^")
    if not gold_base or not base or gold == answer:
        return Fraction(1)
    known = gold_base in _UNITS, base in _UNITS
    if not all(known):
        return Fraction(1) if not any(known) else None
    (gold_dimension, gold_size), (dimension, size) = _UNITS[gold_base], _UNITS[base]
    if gold_dimension != dimension or gold_power != power:
        return None
    return (size / gold_size) ** int(power or "1")
