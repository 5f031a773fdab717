"""How long a program takes at least, and is expected to: arithmetic, memory traffic, links, each on its own.

FLOPs are counted from the trace (`flops`), link bytes and memory traffic are read from the compiled program
(`collectives`, `hbm`). The longest of the three bounds the time; what is expected divides each by
the share of its peak that kernels reach (`Efficiency`).
"""

import dataclasses

from rlscale_jax.planning.collectives import Traffic
from rlscale_jax.planning.topologies import Slice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Efficiency:
    """Shares of peak that programs reach. The defaults are assumptions about TPUs, none measured here, within what is
    published: MaxText trains Llama 2 70B at 65 % MFU on v5p and Llama 3.1 8B at 45 % on v6e; streaming kernels reach
    about 80 % of memory bandwidth, attention to a cache by plain matrix products a quarter to a half of a decode
    step's bound. `benchmarks.prediction` measures a CPU's."""

    arithmetic: float = 0.6  # of passes over many tokens
    decode: float = 0.5  # of a decode step, by arithmetic or memory
    memory: float = 0.8
    links: float = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of one run of a program at peak."""

    arithmetic: float
    memory: float
    links: float

    @property
    def bound_by(self) -> str:
        return max(("arithmetic", "memory", "links"), key=lambda name: getattr(self, name))

    @property
    def roofline(self) -> float:
        return max(self.arithmetic, self.memory, self.links)

    def expected(self, efficiency: Efficiency, *, decodes: bool = False) -> float:
        """Arithmetic and memory traffic overlap; of links, what is longer than them stays visible."""
        shares = (efficiency.decode,) * 2 if decodes else (efficiency.arithmetic, efficiency.memory)
        return max(self.arithmetic / shares[0], self.memory / shares[1], self.links / efficiency.links)


def cost(pod: Slice, *, flops: float, memory_bytes: float, traffic: tuple[Traffic, ...]) -> Cost:
    """`flops` of all chips, `memory_bytes` and `traffic` of one."""
    return Cost(
        arithmetic=flops / pod.num_chips / pod.chip.peak_flops,
        memory=memory_bytes / pod.chip.hbm_bandwidth,
        links=sum(one.bytes_sent / link_bandwidth(pod, one.group) for one in traffic),
    )


def link_bandwidth(pod: Slice, group: int) -> float:
    """Bytes per second that a device sends in a collective of `group` devices: both ways around each ring it spans.

    A group spans as few of the slice's dimensions as hold it; without wrap-around links a ring is half as fast.
    """
    spanned, reached = 0, 1
    bandwidth = 0.0
    for side in sorted(pod.shape, reverse=True):
        if reached >= group and spanned:
            break
        bandwidth += pod.chip.ici_link * (2 if pod.wraps(side) else 1)
        spanned, reached = spanned + 1, reached * side
    return bandwidth
