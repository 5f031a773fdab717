"""Whether a rollout's caches fit the device, judged before anything compiles."""

import os

import jax

from rlscale_jax.models import mesh
from rlscale_jax.models.architecture import Architecture

GIB = 2**30


def check_fits(architecture: Architecture, *, prompts: int, sequences: int, prompt_slots: int, slots: int, size: int):
    """Raises ValueError where the caches of a wave exceed a device's memory (weights not counted).

    `prompts` groups and `sequences` decode at a time, with `prompt_slots` and `slots` tokens each of `size` bytes.
    """
    here = jax.sharding.get_abstract_mesh()
    token = 2 * architecture.num_layers * architecture.num_kv_heads * architecture.head_dim * size
    split = mesh.ways(here, "batch")
    if architecture.num_kv_heads % mesh.ways(here, "kv_heads") == 0:
        split *= mesh.ways(here, "kv_heads")
    needed = token * (prompts * prompt_slots + sequences * slots) / split
    limit = device_bytes()
    if needed > limit:
        raise ValueError(
            f"the caches of {sequences} sequences ({prompt_slots} prompt and {slots} new tokens) need "
            f"{needed / GIB:.1f} GiB on each device, which has {limit / GIB:.1f}; "
            f"set wave_sequences to at most {int(sequences * limit / needed)}, or use more devices"
        )


def device_bytes() -> int:
    """Memory of one device; of this machine where the device does not say (CPU)."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
