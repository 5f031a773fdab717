"""Collectives of a compiled program: bytes that each device moves, by kind and mesh axes, loops multiplied out.

Read from the compiler's text: which computation holds a collective, how often the loops around it run (read from
their conditions), which devices take part (replica groups), how large it is. Asynchronous pairs and copies of
one collective in fused computations share a channel and count once.
"""

import dataclasses
import math
import re
from collections import defaultdict

import numpy as np
from jax.sharding import Mesh

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_ITEM = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\((.*)")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_SHAPE = re.compile(r"\b(\w+)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """All collectives of one kind over one set of mesh axes: how many run, and bytes a device sends in one run."""

    kind: str
    axes: str
    group: int  # devices that take part together
    count: float
    bytes_sent: float


def read(text: str, mesh: Mesh, *, loop_steps: int = 1) -> tuple[Traffic, ...]:
    """The collectives of a compiled program's text; `loop_steps` stands in where a loop's condition is not a count."""
    computations = _computations(text)
    trips = _trips(computations, loop_steps)
    seen: set[tuple[str, str]] = set()
    found: dict[tuple[str, str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name, lines in computations.items():
        for line in lines:
            match = _OPERATION.search(line)
            channel = re.search(r"channel_id=(\d+)", line)
            if not match or (channel and (match[2], channel[1]) in seen):
                continue
            if channel:
                seen.add((match[2], channel[1]))
            group, axes = _participants(line, mesh)
            total = found[match[2], axes, group]
            total[0] += trips[name]
            total[1] += trips[name] * _sent(match[2], match[1], bool(match[3]), group)
    return tuple(
        Traffic(kind=kind, axes=axes, group=group, count=count, bytes_sent=size)
        for (kind, axes, group), (count, size) in found.items()
    )


def _computations(text: str) -> dict[str, list[str]]:
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            lines = computations.setdefault(header[1], [])
        else:
            lines.append(line)
    return computations


def _trips(computations: dict[str, list[str]], loop_steps: int) -> dict[str, float]:
    """How often each computation runs in one run of the program."""
    calls: dict[str, list[tuple[str, float]]] = defaultdict(list)  # called -> (caller, times)
    for caller, lines in computations.items():
        for line in lines:
            times = _loop_length(line, computations, loop_steps) if " while(" in line else 1.0
            for called in re.findall(r"(?:body|calls|to_apply|condition|branch_computations)=\{?%?([\w.\-]+)", line):
                calls[called].append((caller, times))

    def trips(name: str) -> float:
        if name not in memory:
            memory[name] = sum(times * trips(caller) for caller, times in calls[name]) if calls[name] else 1.0
        return memory[name]

    memory: dict[str, float] = {}
    return {name: trips(name) for name in computations}


def _loop_length(line: str, computations: dict[str, list[str]], loop_steps: int) -> float:
    """Trips of a loop whose condition is `counter < constant`, as of every scan; `loop_steps` for any other."""
    condition = re.search(r"condition=%?([\w.\-]+)", line)
    lines = computations.get(condition[1], []) if condition else []
    root = next((line for line in lines if "ROOT" in line), "")
    limit = re.search(r"compare\(%?[\w.\-]+, %?([\w.\-]+)\), direction=LT", root)
    constants = dict(re.findall(r"%?([\w.\-]+) = s32\[\]\S* constant\((\d+)\)", "\n".join(lines)))
    return float(constants[limit[1]]) if limit and limit[1] in constants else float(loop_steps)


def _participants(line: str, mesh: Mesh) -> tuple[int, str]:
    """Size of a collective's groups, and the mesh axes that they span."""
    pairs = re.search(r"source_target_pairs=\{\{(\d+),(\d+)", line)
    groups = _replica_groups(line)
    if groups is None:
        members = [int(pairs[1]), int(pairs[2])] if pairs else list(range(mesh.size))
    else:
        members = groups
    places = np.array([np.unravel_index(member, mesh.devices.shape) for member in members])
    axes = [name for index, name in enumerate(mesh.axis_names) if len(set(places[:, index])) > 1]
    return len(members), "+".join(axes) or "none"


def _replica_groups(line: str) -> list[int] | None:
    """The first group: written out, or as an iota of a shape, permuted."""
    plain = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    if plain:
        return [int(index) for index in plain[1].split(",")]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line)
    if not iota:
        return None
    rows, shape = ([int(n) for n in part.split(",")] for part in iota.group(1, 2))
    table = np.arange(math.prod(shape)).reshape(shape)
    if iota[3]:
        table = table.transpose([int(n) for n in iota[3].split(",")])
    return table.reshape(rows)[0].tolist() if len(rows) == 2 else table.reshape(-1).tolist()


def _sent(kind: str, result: str, is_start: bool, group: int) -> float:
    """Bytes a device sends in one collective of this result; rings, as the compiler's cost model assumes."""
    arrays = _SHAPE.findall(result)
    sizes = [_ITEM.get(dtype, 4) * math.prod(int(n) for n in dims.split(",") if n) for dtype, dims in arrays]
    size = max(sizes) if is_start and sizes else sum(sizes)
    share = (group - 1) / group
    return {
        "all-gather": size * share,
        "all-reduce": 2 * size * share,
        "reduce-scatter": size * (group - 1),
        "all-to-all": size * share,
        "collective-permute": size,
    }[kind]
