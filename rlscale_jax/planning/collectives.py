"""Collectives of a compiled program: bytes that each device moves, by kind and mesh axes, loops multiplied out.

Read from the compiler's text: which computation holds a collective, how often the loops around it run (read from
their conditions), which devices take part (replica groups), how large it is. Copies of one collective in fused
computations share its channel and count once; in one computation a channel has several only where `shard_map` gave
them all the same. On TPUs a reduce-scatter is written as a fused computation that is an all-reduce and the slice of
its result.
"""

import dataclasses
import math
import re
from collections import defaultdict

import numpy as np
from jax.sharding import Mesh

from rlscale_jax.planning import hlo

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\((.*)")


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
    computations = hlo.computations(text)
    trips = hlo.trips(computations, loop_steps)
    seen: dict[tuple, str] = {}  # what copies have in common -> the computation that is counted
    found: dict[tuple[str, str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name, lines in computations.items():
        is_scattered = any("ROOT" in line and " dynamic-slice(" in line for line in lines)
        for line in lines:
            match = _OPERATION.search(line)
            channel = re.search(r"channel_id=(\d+)", line)
            if not match:
                continue
            group, axes = _participants(line, mesh)
            sent = _sent(match[2], match[1], bool(match[3]), group)
            if channel and seen.setdefault((match[2], channel[1], axes, sent), name) != name:
                continue
            scatters = is_scattered and match[2] == "all-reduce"
            total = found["reduce-scatter" if scatters else match[2], axes, group]
            total[0] += trips[name]
            total[1] += trips[name] * (sent / 2 if scatters else sent)  # the way back of an all-reduce is saved
    return tuple(
        Traffic(kind=kind, axes=axes, group=group, count=count, bytes_sent=size)
        for (kind, axes, group), (count, size) in found.items()
    )


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
    sizes = [hlo.array_bytes(dtype, dims, "") for dtype, dims, _ in hlo.ARRAY.findall(result)]
    size = max(sizes) if is_start and sizes else sum(sizes)
    share = (group - 1) / group
    return {
        "all-gather": size * share,
        "all-reduce": 2 * size * share,
        "reduce-scatter": size * (group - 1),
        "all-to-all": size * share,
        "collective-permute": size,
    }[kind]
