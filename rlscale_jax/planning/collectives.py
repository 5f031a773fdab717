"""Collectives of a compiled program: bytes that each device moves, by kind and mesh axes, loops multiplied out.

Read from the compiler's text: which computation holds a collective, how often the loops around it run (read from
their conditions), which devices take part (replica groups), how large it is. Asynchronous pairs and copies of
one collective in fused computations share a channel and count once. On TPUs a reduce-scatter is written as a fused
computation that is an all-reduce and the slice of its result.
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
        is_scattered = any("ROOT" in line and " dynamic-slice(" in line for line in lines)
        for line in lines:
            match = _OPERATION.search(line)
            channel = re.search(r"channel_id=(\d+)", line)
            if not match or (channel and (match[2], channel[1]) in seen):
                continue
            if channel:
                seen.add((match[2], channel[1]))
            group, axes = _participants(line, mesh)
            sent = _sent(match[2], match[1], bool(match[3]), group)
            scatters = is_scattered and match[2] == "all-reduce"
            total = found["reduce-scatter" if scatters else match[2], axes, group]
            total[0] += trips[name]
            total[1] += trips[name] * (sent / 2 if scatters else sent)  # the way back of an all-reduce is saved
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
    """Trips of a loop: written down (CPU), or from a condition `counter < constant`, as of every scan (TPU)."""
    written = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
    if written:
        return float(written[1])
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


_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"  # a shape, its axes permuted


def _replica_groups(line: str) -> list[int] | None:
    """The first group: written out, as rows of an iota, or as axes of a mesh over an iota."""
    plain = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    if plain:
        return [int(index) for index in plain[1].split(",")]
    rows = re.search(rf"replica_groups=\[([\d,]+)\]<={_IOTA}", line)
    if rows:
        shape = [int(n) for n in rows[1].split(",")]
        return _iota(rows[2], rows[3]).reshape(shape if len(shape) == 2 else [1, -1])[0].tolist()
    named = re.search(rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({_IOTA}\))?\s*\{{([^}}]*)\}}", line)
    if named:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        table = _iota(named[2] or str(math.prod(sizes.values())), named[3]).reshape(tuple(sizes.values()))
        return table[tuple(slice(None) if f"'{name}'" in named[4] else 0 for name in sizes)].reshape(-1).tolist()
    return None


def _iota(shape: str, permutation: str | None) -> np.ndarray:
    sizes = [int(n) for n in shape.split(",")]
    table = np.arange(math.prod(sizes)).reshape(sizes)
    return table.transpose([int(n) for n in permutation.split(",")]) if permutation else table


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
