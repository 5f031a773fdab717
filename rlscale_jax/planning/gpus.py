"""GPU nodes for an analytic plan: memory and roofline by formula, nothing compiled.

Written `h100:8`. Sources: the vendor's data sheets (dense bfloat16, memory, NVLink in one direction).
"""

from rlscale_jax.planning.topologies import GIB, Chip, Slice

_SHEETS = {  # bfloat16 FLOP/s, usable GiB, memory bytes/s, NVLink bytes/s in one direction
    "a100": (312e12, 76.0, 2.04e12, 300e9),
    "h100": (989e12, 76.0, 3.35e12, 450e9),
    "h200": (989e12, 136.0, 4.8e12, 450e9),
    "l4": (121e12, 22.0, 0.3e12, 32e9),
}


def is_gpu(name: str) -> bool:
    return name.partition(":")[0] in _SHEETS


def parse(name: str) -> Slice:
    """A node of 1 to 8 GPUs, as a slice.

    Raises:
      ValueError: another number of them.
    """
    kind, _, count = name.partition(":")
    if count not in ("1", "2", "4", "8"):
        raise ValueError(f"--topology={name}: write {kind}:1, {kind}:2, {kind}:4 or {kind}:8 (one node)")
    flops, memory, bandwidth, link = _SHEETS[kind]
    chip = Chip(
        name=kind,
        accelerator=kind,
        cores_counted=1,
        peak_flops=flops,
        hbm_bytes=int(memory * GIB),
        hbm_bandwidth=bandwidth,
        ici_link=link,
        torus_dims=2,
        dcn=25e9,
        max_chips=8,
        runtime_version="",
        gke_accelerator="",
        gke_machine="",
    )
    return Slice(chip, (int(count),))
