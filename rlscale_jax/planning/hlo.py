"""A compiled program's text taken apart: computations, their instructions, and how often each runs.

Loops are multiplied out: their lengths are read from their conditions. A computation that others call (a fusion's, a
loop's body, a branch) runs as often as its callers together.
"""

import math
import re
from collections import defaultdict
from typing import NamedTuple

ITEM_BYTES = {
    **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64"), 8),
}
ARRAY = re.compile(r"\b(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")  # dtype, sizes, layout
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*?)\)(?:, |$)")
_CALLED = re.compile(r"(?:body|calls|to_apply|condition|branch_computations)=\{?%?([\w.\-]+)")

Computations = dict[str, list[str]]


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    result: str  # its shape as written, layouts and all
    operation: str
    operands: tuple[str, ...]  # names; of a parameter its number
    is_root: bool
    line: str


def computations(text: str) -> Computations:
    """The lines of every computation, by name."""
    found: Computations = {}
    lines: list[str] = []
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            lines = found.setdefault(header[1], [])
        else:
            lines.append(line)
    return found


def instructions(lines: list[str]) -> list[Instruction]:
    return [
        Instruction(
            name=match[2],
            result=match[3],
            operation=match[4],
            operands=_operands(match[4], match[5]),
            is_root=bool(match[1]),
            line=line,
        )
        for line in lines
        if (match := _INSTRUCTION.match(line))
    ]


def _operands(operation: str, written: str) -> tuple[str, ...]:
    """Names alone: a CPU's text has shapes before them."""
    if operation in ("parameter", "constant"):
        return (written,)
    return tuple(re.findall(r"%([\w.\-]+)", written))


def called(line: str) -> list[str]:
    """Computations that an instruction calls."""
    return _CALLED.findall(line)


def trips(parts: Computations, loop_steps: int) -> dict[str, float]:
    """How often each computation runs in one run of the program; `loop_steps` where a loop's condition is no count."""
    calls: dict[str, list[tuple[str, float]]] = defaultdict(list)  # called -> (caller, times)
    for caller, lines in parts.items():
        for line in lines:
            times = _loop_length(line, parts, loop_steps) if " while(" in line else 1.0
            for name in called(line):
                calls[name].append((caller, times))

    def of(name: str) -> float:
        if name not in memory:
            memory[name] = sum(times * of(caller) for caller, times in calls[name]) if calls[name] else 1.0
        return memory[name]

    memory: dict[str, float] = {}
    return {name: of(name) for name in parts}


def _loop_length(line: str, parts: Computations, loop_steps: int) -> float:
    """Trips of a loop: written down (CPU), or from a condition `counter < constant`, as of every scan (TPU).

    A product that the compiler splits over a ring of devices, to overlap it with their exchange, does two steps a trip.
    """
    written = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
    if written:
        return float(written[1])
    condition, body = (
        {one.name: one for one in instructions(parts.get(name, []))}
        for name in re.findall(r"(?:condition|body)=%?([\w.\-]+)", line)
    )
    root = next((one for one in condition.values() if one.is_root), None)
    if root is None or root.operation != "compare" or "direction=LT" not in root.line:
        return float(loop_steps)
    counter, limit = (condition.get(name) for name in root.operands)
    if counter is None or limit is None or limit.operation != "constant":
        return float(loop_steps)
    return float(math.ceil(int(limit.operands[0]) / _step(body, counter)))


def _step(body: dict[str, Instruction], counter: Instruction) -> int:
    """By how much a loop's body advances the counter that its condition reads."""
    index = re.search(r"index=(\d+)", counter.line.partition("get-tuple-element(")[2])
    root = next((one for one in body.values() if one.is_root), None)
    if index is None or root is None or root.operation != "tuple":
        return 1
    advanced = body.get(root.operands[int(index[1])])
    if advanced is None or advanced.operation != "add":
        return 1
    by = [int(body[name].operands[0]) for name in advanced.operands if body[name].operation == "constant"]
    return by[0] if by else 1


def array_bytes(dtype: str, sizes: str, layout: str) -> int:
    """Bytes of an array as it lies: whole tiles, where its layout has tiles."""
    shape = [int(size) for size in sizes.split(",") if size]
    tile = re.search(r"T\((\d+),(\d+)\)", layout)
    minor = [int(axis) for axis in layout.partition(":")[0].split(",") if axis.isdigit()]  # the fastest axis first
    if tile and len(minor) == len(shape) > 1:
        for axis, width in zip(minor, (int(tile[2]), int(tile[1])), strict=False):
            shape[axis] = -(-shape[axis] // width) * width
    return ITEM_BYTES.get(dtype, 0) * math.prod(shape)
