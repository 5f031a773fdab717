"""How fast the devices at hand multiply: published peaks, or a measurement."""

import functools
import time

import jax
import numpy as np

# Dense bfloat16 FLOP/s of one device by a part of JAX's `device_kind` (the vendors' data sheets); the first hit counts.
_PEAKS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L4": 121e12,
}
_SIZE, _TRIALS = 768, 3  # of the measured product: tens of milliseconds on one core


def peak_flops() -> float:
    """FLOP/s of all devices of all hosts together."""
    kind = jax.devices()[0].device_kind
    published = next((peak for part, peak in _PEAKS.items() if part in kind), None)
    return published * jax.device_count() if published else _measured() * jax.process_count()


@functools.cache
def _measured() -> float:
    """What float32 products reach here: the machine's peak for programs like ours. Virtual devices share it."""
    ones = np.ones((_SIZE, _SIZE), np.float32)
    product = jax.jit(lambda a: a @ a)
    on_device = jax.device_put(ones, jax.local_devices()[0])
    product(on_device).block_until_ready()
    secs = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        product(on_device).block_until_ready()
        secs.append(time.perf_counter() - start)
    return 2 * _SIZE**3 / min(secs)
