"""The least time a rollout or an update can take: FLOPs and bytes of the algorithm over what the machine can do."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workloads import Rollout, Update


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Rates per second of the cores or the device in use."""

    flops: float
    bytes: float


# Published peaks: dense bf16 FLOP/s and memory bandwidth.
DEVICES = {"H200": Machine(flops=989e12, bytes=4.8e12), "H100": Machine(flops=989e12, bytes=3.35e12)}


def this_machine(threads: int) -> Machine:
    """A known accelerator's published rates, or what this CPU reaches: a large float32 product, a long sum."""
    device = jax.devices()[0]
    for name, machine in DEVICES.items():
        if name in device.device_kind:
            return machine
    square = jnp.ones((2048, 2048), jnp.float32)
    long = jnp.ones((2**26,), jnp.float32)
    product = _best(jax.jit(lambda a: a @ a), square)
    total = _best(jax.jit(jnp.sum), long)
    return Machine(flops=2 * 2048**3 / product * threads, bytes=long.nbytes / total)


def _best(function, argument, tries=7) -> float:
    """Least CPU seconds a call takes per core in use; a wall clock would count other processes."""
    function(argument).block_until_ready()
    times = []
    for _ in range(tries):
        begin = time.process_time()
        function(argument).block_until_ready()
        times.append(time.process_time() - begin)
    return min(times)


def rollout_secs(work: Rollout, machine: Machine) -> float:
    """Prefill and each decode step at the slower of arithmetic and memory.

    Every live sequence costs its matrix products and its attention; every step reads the weights once, a group's
    prompt once and each sequence's own cache once. Finished sequences cost nothing.
    """
    shape, limits = work.shape, work.limits()
    size = np.dtype(jnp.dtype(work.dtype)).itemsize
    weights = shape.layer_weights + shape.head_weights
    slot_flops = 4 * shape.num_layers * shape.num_heads * shape.head_dim
    slot_bytes = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * size
    tokens = work.num_prompts * work.prompt_tokens
    prefill = 2 * shape.layer_weights * tokens + slot_flops * tokens * work.prompt_tokens / 2
    prefill += 2 * shape.head_weights * work.num_prompts
    secs = max(prefill / machine.flops, weights * size / machine.bytes)
    for step in range(1, int(limits.max())):
        live = limits > step
        rows, groups = live.sum(), live.any(axis=1).sum()
        flops = rows * (2 * weights + slot_flops * (work.prompt_tokens + step))
        moved = weights * size + slot_bytes * (groups * work.prompt_tokens + rows * step)
        secs += max(flops / machine.flops, moved / machine.bytes)
    return secs


def update_secs(work: Update, machine: Machine) -> float:
    """The step of a workload with every sequence's own prompt: forward, backward (twice that), AdamW's traffic.

    With a rollout: its own floor and one more forward, by the reference. Recomputation and the sharing of prompts are
    choices of a contender; the floor leaves both out.
    """
    shape, length = work.shape, work.prompt_tokens + work.new_tokens
    weights = shape.layer_weights + shape.head_weights
    sequences = work.num_prompts * work.num_samples
    attention = 2 * shape.num_layers * shape.num_heads * shape.head_dim * length**2
    forward = (2 * weights * work.num_tokens + attention * sequences) / machine.flops
    adamw = 8 * 4 * weights / machine.bytes  # parameters, gradient and two moments, each read and written in float32
    if not work.with_rollout:
        return 3 * forward + adamw
    rollout = Rollout(
        shape=shape,
        num_prompts=work.num_prompts,
        num_samples=work.num_samples,
        prompt_tokens=work.prompt_tokens,
        new_tokens=work.new_tokens,
        dtype=work.dtype,
    )
    return 4 * forward + adamw + rollout_secs(rollout, machine)


def update_flops(work: Update) -> float:
    """Forward and backward of the model, without recomputation: what a model FLOPs utilisation counts."""
    return update_secs(dataclasses.replace(work, with_rollout=False), Machine(flops=1.0, bytes=float("inf")))
