"""TPU slices that can be bought: chips and their limits, shapes, hosts, names at Google Cloud.

A slice is written `v5p:8x8x8`. Google Cloud's accelerator types count chips for v5e and v6e (`v6e-256`) and
TensorCores, two a chip, for v4 and v5p (`v5p-1024` is 512 chips). One shape is sold per size.
Sources: the pages "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e", "TPU software versions" and "Plan TPUs in GKE" of
cloud.google.com; memory limits are the compiler's own (its out-of-memory message), a little below the nominal size.
"""

import dataclasses
import functools
import itertools
import math
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One TPU chip and how it is sold. Bandwidths are bytes per second; `ici_link` is one link in one direction."""

    name: str
    accelerator: str  # prefix of the accelerator type
    cores_counted: int  # what the accelerator type counts per chip
    peak_flops: float  # bfloat16
    hbm_bytes: int  # that a program may use
    hbm_bandwidth: float
    ici_link: float
    torus_dims: int
    dcn: float  # data-centre network, per chip
    max_chips: int
    runtime_version: str
    gke_accelerator: str
    gke_machine: str


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4",
            accelerator="v4",
            cores_counted=2,
            peak_flops=275e12,
            hbm_bytes=int(30.5 * GIB),
            hbm_bandwidth=1.2e12,
            ici_link=50e9,
            torus_dims=3,
            dcn=25e9 / 8,
            max_chips=4096,
            runtime_version="tpu-ubuntu2204-base",
            gke_accelerator="tpu-v4-podslice",
            gke_machine="ct4p-hightpu-4t",
        ),
        Chip(
            name="v5e",
            accelerator="v5litepod",
            cores_counted=1,
            peak_flops=197e12,
            hbm_bytes=int(15.75 * GIB),
            hbm_bandwidth=819e9,
            ici_link=50e9,
            torus_dims=2,
            dcn=25e9 / 8,
            max_chips=256,
            runtime_version="v2-alpha-tpuv5-lite",
            gke_accelerator="tpu-v5-lite-podslice",
            gke_machine="ct5lp-hightpu-4t",
        ),
        Chip(
            name="v5p",
            accelerator="v5p",
            cores_counted=2,
            peak_flops=459e12,
            hbm_bytes=int(95.73 * GIB),
            hbm_bandwidth=2765e9,
            ici_link=100e9,
            torus_dims=3,
            dcn=50e9 / 8,
            max_chips=6144,
            runtime_version="v2-alpha-tpuv5",
            gke_accelerator="tpu-v5p-slice",
            gke_machine="ct5p-hightpu-4t",
        ),
        Chip(
            name="v6e",
            accelerator="v6e",
            cores_counted=1,
            peak_flops=918e12,
            hbm_bytes=int(31.24 * GIB),
            hbm_bandwidth=1638e9,
            ici_link=100e9,
            torus_dims=2,
            dcn=100e9 / 8,
            max_chips=256,
            runtime_version="v2-alpha-tpuv6e",
            gke_accelerator="tpu-v6e-slice",
            gke_machine="ct6e-standard-4t",
        ),
    )
}

_FLAT_SHAPES = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_SMALL_SHAPES = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))
_CUBE = 4  # larger three-dimensional slices are made of 4x4x4 cubes: of any number of them, a prime one as a long row


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice that can be bought: `chip` and how its chips stand (`shape`)."""

    chip: Chip
    shape: tuple[int, ...]

    @property
    def topology(self) -> str:
        return "x".join(map(str, self.shape))

    @property
    def name(self) -> str:
        return f"{self.chip.name}:{self.topology}"

    @property
    def num_chips(self) -> int:
        return math.prod(self.shape)

    @property
    def chips_per_host(self) -> int:
        """Flat slices of up to 8 chips are one host; all others have 4 chips a host."""
        return self.num_chips if self.chip.torus_dims == 2 and self.num_chips <= 8 else 4

    @property
    def num_hosts(self) -> int:
        return self.num_chips // self.chips_per_host

    @property
    def accelerator_type(self) -> str:
        return f"{self.chip.accelerator}-{self.num_chips * self.chip.cores_counted}"

    def wraps(self, side: int) -> bool:
        """Whether an axis of this length is a ring: whole cubes in 3-D, the full 16 chips in 2-D."""
        return side % _CUBE == 0 and self.num_chips >= _CUBE**3 if self.chip.torus_dims == 3 else side == 16


def shapes(chip: Chip) -> list[tuple[int, ...]]:
    """Every shape sold of a chip, by size; of several with the same number of chips the most compact."""
    if chip.torus_dims == 2:
        return list(_FLAT_SHAPES)
    return [*_SMALL_SHAPES, *(_of_cubes(number) for number in range(1, chip.max_chips // _CUBE**3 + 1))]


@functools.cache
def _of_cubes(number: int) -> tuple[int, ...]:
    """The most compact shape of a number of cubes."""
    sides = [side for side in range(1, number + 1) if number % side == 0]
    triples = ((a, b, number // (a * b)) for a in sides for b in sides if number % (a * b) == 0)
    return tuple(_CUBE * side for side in min((sorted(triple) for triple in triples), key=sum))


def parse(name: str) -> Slice:
    """The slice that `v5p:8x8x8` names.

    Raises:
      ValueError: not a slice that can be bought; the message names the nearest one.
    """
    chip_name, _, topology = name.partition(":")
    if chip_name not in CHIPS:
        raise ValueError(f"--topology={name}: unknown chip {chip_name!r}; use one of {', '.join(CHIPS)}{_hint(name)}")
    chip = CHIPS[chip_name]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", topology):
        raise ValueError(f"--topology={name}: write CHIP:AxB or CHIP:AxBxC, such as {_example(chip)}")
    shape = tuple(map(int, topology.split("x")))
    if shape not in shapes(chip):
        nearest = Slice(chip, _nearest(chip, shape))
        raise ValueError(
            f"--topology={name} ({math.prod(shape)} chips) cannot be bought; the nearest that can is "
            f"{nearest.name} ({nearest.num_chips} chips, accelerator type {nearest.accelerator_type})"
        )
    return Slice(chip, shape)


def _nearest(chip: Chip, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape closest in number of chips (by ratio), then in form."""
    wanted = math.prod(shape)

    def distance(candidate: tuple[int, ...]) -> tuple[float, int]:
        form = sum(abs(a - b) for a, b in itertools.zip_longest(sorted(candidate), sorted(shape), fillvalue=1))
        return abs(math.log(math.prod(candidate) / wanted)), form

    return min(shapes(chip), key=distance)


def _example(chip: Chip) -> str:
    return f"{chip.name}:8x8" if chip.torus_dims == 2 else f"{chip.name}:4x4x4"


def _hint(name: str) -> str:
    """What an accelerator type, given instead of a topology, is called here."""
    for chip in CHIPS.values():
        for shape in shapes(chip):
            if Slice(chip, shape).accelerator_type == name:
                return f"; the accelerator type {name} is --topology={Slice(chip, shape).name}"
    if name.startswith(("tpu7x", "v7x")):
        return "; v7x is sold through GKE only and is not planned for"
    return ", such as v5e:8x8 or v5p:4x4x4"
