"""Plain data as JSON and back: what may cross the pipe between a candidate program and its tests.

Only values are carried, never classes or code: a list subclass with a lying __eq__ arrives as a list.
Imports nothing of this package: the sandbox loads this file by its path.
"""

import itertools
import json
from decimal import Decimal
from fractions import Fraction

MAX_ITEMS = 100_000
_ITERATORS = tuple(map(type, (iter([]), map(int, ""), filter(None, ""), zip(), reversed([]), iter({}), iter(range(1)))))
_GENERATOR = type(x for x in ())
_VIEWS = tuple(map(type, ({}.keys(), {}.values(), {}.items())))
_SMALL = 1 << 53


class NotPlain(TypeError):
    """A value that is not plain data, or too much of it."""


def dumps(value: object) -> bytes:
    """One line of JSON. Raises: NotPlain for objects other than numbers, text, bytes and containers of them."""
    try:
        return json.dumps(_pack(value)).encode() + b"\n"
    except RecursionError as error:
        raise NotPlain("nested too deeply") from error


def loads(line: bytes) -> object:
    """Raises: ValueError for anything that `dumps` does not write."""
    try:
        return _unpack(json.loads(line))
    except (RecursionError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        raise ValueError(f"no plain data: {error}") from error


def _pack(value: object) -> object:
    if value is None or value is True or value is False:
        return value
    for kind, pack in _PACKERS:
        if isinstance(value, kind):
            return pack(value)
    raise NotPlain(f"a value of type {type(value).__name__} is no plain data")


def _pack_items(tag: str):
    def pack(value) -> list:
        items = list(itertools.islice(iter(value), MAX_ITEMS + 1))
        if len(items) > MAX_ITEMS:
            raise NotPlain(f"more than {MAX_ITEMS} items")
        return [tag, *map(_pack, items)]

    return pack


_PACKERS = (
    (str, lambda value: str.__str__(value)),
    (int, lambda value: int.__index__(value) if -_SMALL < value < _SMALL else ["i", hex(value)]),
    (float, lambda value: float.__float__(value)),
    (complex, lambda value: ["c", value.real, value.imag]),
    (bytes | bytearray, lambda value: ["b", bytes(value).hex()]),
    (list, _pack_items("l")),
    (tuple, _pack_items("t")),
    (frozenset, _pack_items("z")),
    (set, _pack_items("s")),
    (dict, lambda value: _pack_items("d")(dict.items(value))),
    (range, lambda value: ["r", value.start, value.stop, value.step]),
    (Fraction, lambda value: ["q", hex(value.numerator), hex(value.denominator)]),
    (Decimal, lambda value: ["m", str(value)]),
    ((*_ITERATORS, _GENERATOR, *_VIEWS), _pack_items("n")),
)
_UNPACKERS = {
    "i": lambda parts: int(parts[0], 16),
    "c": lambda parts: complex(*parts),
    "b": lambda parts: bytes.fromhex(parts[0]),
    "l": lambda parts: [_unpack(part) for part in parts],
    "t": lambda parts: tuple(_unpack(part) for part in parts),
    "z": lambda parts: frozenset(_unpack(part) for part in parts),
    "s": lambda parts: {_unpack(part) for part in parts},
    "d": lambda parts: dict(map(_unpack, parts)),  # type: ignore[arg-type]
    "r": lambda parts: range(*parts),
    "q": lambda parts: Fraction(int(parts[0], 16), int(parts[1], 16)),
    "m": lambda parts: Decimal(parts[0]),
    "n": lambda parts: iter([_unpack(part) for part in parts]),
}


def _unpack(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list) and value:
        return _UNPACKERS[value[0]](value[1:])
    raise ValueError("no plain data")
