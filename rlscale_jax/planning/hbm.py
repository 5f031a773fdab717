"""Bytes that a compiled program moves between a chip and its memory, counted in the compiler's own text.

Every instruction reads its operands from memory and writes its result there, unless they lie on the chip (a TPU
layout's memory space S) or are only renamed. What an instruction does not touch is left out: a slice or a look-up reads
its rows, an update in place writes its part, also within a fusion. Loops are multiplied out. A kernel's operands and
result count once, though it may read some of them again.
"""

import dataclasses
import functools
import re
from typing import NamedTuple

from rlscale_jax.planning import hlo
from rlscale_jax.planning.hlo import Instruction

_RENAMES = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "opt-barrier", "after-all", "iota"}
_CALLERS = {"while", "conditional", "call"}  # what they call is counted by itself
_SLICES = {"dynamic-slice", "slice", "gather"}
_UPDATES = {"dynamic-update-slice", "scatter"}


class Movement(NamedTuple):
    """What an instruction moves, over all of its runs."""

    instruction: Instruction
    num_bytes: float
    num_runs: float


def moved_bytes(text: str, *, loop_steps: int = 1) -> float:
    """Of one run on one device; `loop_steps` are the trips of a loop whose condition is no count."""
    return sum(movement.num_bytes for movement in movements(text, loop_steps=loop_steps))


def movements(text: str, *, loop_steps: int = 1) -> list[Movement]:
    """`moved_bytes` by instruction, without those inside a fusion."""
    parts = hlo.computations(text)
    program = _Program(parts={name: hlo.instructions(lines) for name, lines in parts.items()})
    trips = hlo.trips(parts, loop_steps)
    inside = {name for lines in program.parts.values() for one in lines for name in _fused(one)}
    return [
        Movement(one, trips[name] * num_bytes, trips[name])
        for name in parts
        if name not in inside
        for one, num_bytes in program.computation(name)
    ]


def _fused(one: Instruction) -> list[str]:
    """Computations whose values stay on the chip: a fusion's, and what a reduction or a collective applies."""
    return [] if one.operation in _CALLERS else hlo.called(one.line)


@dataclasses.dataclass(frozen=True, eq=False)
class _Program:
    parts: dict[str, list[Instruction]]

    def computation(self, name: str) -> list[tuple[Instruction, float]]:
        results = {one.name: one.result for one in self.parts[name]}
        return [(one, self._instruction(one, results)) for one in self.parts[name]]

    def _instruction(self, one: Instruction, results: dict[str, str]) -> float:
        if one.operation in _RENAMES | _CALLERS or one.operation.endswith("-done") or "AllocateBuffer" in one.line:
            return 0.0
        if one.operation in ("copy-start", "slice-start"):  # from where to where, in either order; the smaller is moved
            ends = hlo.ARRAY.findall(one.result)[:2]
            return min(hlo.array_bytes(*end) for end in ends) * sum(_is_in_memory(end[2]) for end in ends)
        if one.operation == "fusion":
            return self._fusion(one, results)
        read, written = _touched(one, results)
        total = sum(_whole(results.get(name, ""), part) for name, part in zip(one.operands, read, strict=True))
        return total + _whole(_result(one), written)

    def _fusion(self, one: Instruction, results: dict[str, str]) -> float:
        """What is handed through while a collective is under way counts where it is new."""
        (inner,) = hlo.called(one.line)
        aliases = re.findall(r"\{(\d*)\}: \((\d+), \{\}", one.line) if self._awaits(inner) else []
        kept, through = {int(result or 0) for result, _ in aliases}, {int(operand) for _, operand in aliases}
        total = sum(
            _whole(results.get(name, ""), self.read(inner, index))
            for index, name in enumerate(one.operands)
            if index not in through
        )
        arrays = [match[0] for match in hlo.ARRAY.finditer(one.result)]
        parts = self.written(inner)
        parts = parts if len(parts) == len(arrays) else [None] * len(arrays)
        new = [index for index in range(len(arrays)) if index not in kept]
        return total + sum(_whole(arrays[index], parts[index]) for index in new)

    def _awaits(self, inner: str) -> bool:
        return inner.startswith("async_collective") or any("AsyncCollective" in one.line for one in self.parts[inner])

    @functools.cache  # noqa: B019 - lives as long as one reading
    def read(self, name: str, index: int) -> float | None:
        """What a fusion reads of an operand; None for all."""
        lines = self.parts[name]
        names = {one.name for one in lines if one.operation == "parameter" and one.operands == (str(index),)}
        total = 0.0
        for one in lines:
            places = [place for place, operand in enumerate(one.operands) if operand in names]
            if not places:
                continue
            if one.operation == "bitcast" and not one.is_root:
                names.add(one.name)
            elif one.operation in _SLICES and places == [0]:
                total += _whole(one.result, None)
            elif one.operation == "fusion":
                parts = [self.read(hlo.called(one.line)[0], place) for place in places]
                if None in parts:
                    return None
                total += sum(part for part in parts if part is not None)
            elif not (one.operation in _UPDATES and places == [0]):
                return None
        return total

    @functools.cache  # noqa: B019
    def written(self, name: str) -> list[float | None]:
        """What a fusion writes of each array of its result; None for all of one."""
        by_name = {one.name: one for one in self.parts[name]}
        root = next(one for one in self.parts[name] if one.is_root)
        if root.operation != "tuple":
            return [self._written(root, by_name)]
        return [self._written(by_name[name], by_name) for name in root.operands]

    def _written(self, one: Instruction, by_name: dict[str, Instruction]) -> float | None:
        if one.operation == "bitcast" and one.operands[0] in by_name:
            return self._written(by_name[one.operands[0]], by_name)
        if one.operation in _UPDATES:
            return _whole(by_name[one.operands[_update(one)]].result, None)
        if one.operation == "fusion":
            parts = self.written(hlo.called(one.line)[0])
            return parts[0] if len(parts) == 1 else None
        return None


def _update(one: Instruction) -> int:
    """Which operand of an update in place holds the new values."""
    return 1 if one.operation == "dynamic-update-slice" else len(one.operands) - 1


def _in_memory(shape: str) -> list[tuple[str, str, str] | None]:
    """A shape's arrays in order, None for those on the chip."""
    return [array if _is_in_memory(array[2]) else None for array in hlo.ARRAY.findall(shape)]


def _touched(one: Instruction, results: dict[str, str]) -> tuple[list[float | None], float | None]:
    """What an instruction by itself reads of each operand and writes; None for all."""
    read: list[float | None] = [None] * len(one.operands)
    if one.operation in _SLICES:
        read[0] = _whole(one.result, None)
    if one.operation not in _UPDATES:
        return read, None
    read[0] = 0.0
    return read, _whole(results.get(one.operands[_update(one)], ""), None)


def _result(one: Instruction) -> str:
    """A start of something asynchronous hands on its operand before its result."""
    if not one.operation.endswith("-start"):
        return one.result
    arrays = list(hlo.ARRAY.finditer(one.result))
    return arrays[-1][0] if arrays else ""


def _whole(shape: str, part: float | None) -> float:
    """Bytes in memory of a shape's arrays, or of the part of them; arrays on the chip have none."""
    sizes = [hlo.array_bytes(*array) for array in _in_memory(shape) if array]
    return sum(sizes) if part is None else min(part, sum(sizes))


def _is_in_memory(layout: str) -> bool:
    return "S(" not in layout
