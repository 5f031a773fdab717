"""Sets up the JAX runtime of a command: the compilation cache, the hosts of a pod."""

import ctypes
import importlib.metadata
import importlib.util
import os
import pathlib
import platform as system
from typing import Any

import jax
from absl import logging

JOINING = tuple(f"RLSCALE_{name}" for name in ("COORDINATOR", "NUM_PROCESSES", "PROCESS_ID", "DISTRIBUTED"))
_HEARTBEAT_SECS = 20  # a host that is silent for so long is dead, and the others end with an error
_SHUTDOWN_SECS = 20  # for the others to end as well
CPU_CACHE_BYTES = 2**25
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # glibc's numbers for mallopt
_has_one_arena = False
_KNOWN_XLA = jax.__version_info__[:2] == (0, 10)  # XLA refuses options that it does not know
# XLA's CPU scheduler starts all that may run side by side, and so keeps more arrays alive: the kernels of all layers
# that a prefill joins from tiles, say. Taking so much memory from the system each time costs a large program more.
IN_ORDER = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"} if _KNOWN_XLA else None
# YNNPACK's sums, apart from its products, which `_cpu_kernels` turns off: XLA's own write down what they add up.
_LARGE_ON_CPU = IN_ORDER and IN_ORDER | {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}

# XLA for TPUs overlaps a product with the exchange of its operand, part by part, where that is large. Parts of an axis
# that is summed over, as of weights split along the embedding, are added to the result in HBM: this traffic took
# 14B's update on v6e:8x8 twice as long as it takes when weights are gathered first (docs/planning.md).
WHOLE_PRODUCTS = {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"} if _KNOWN_XLA else None


def start(*, may_keep_memory: bool = False, is_small: bool = False) -> None:
    """Turns on the compilation cache (RLSCALE_CACHE_DIR, by default ~/.cache/rlscale_jax), joins a pod's hosts.

    Several hosts are joined where a launcher says so: RLSCALE_COORDINATOR (host:port), RLSCALE_NUM_PROCESSES and
    RLSCALE_PROCESS_ID, or RLSCALE_DISTRIBUTED=1 on a Cloud TPU pod, whose own metadata say the rest.
    `may_keep_memory` prepares for `keep_freed_memory`, which small models (`is_small`) on several threads do without.
    """
    logging.set_verbosity(logging.WARNING)  # Orbax tells every save at INFO
    _compilation_cache()
    _cpu_kernels()
    if may_keep_memory and (_has_one_thread() or not is_small):
        _one_arena()
    coordinator = os.environ.get("RLSCALE_COORDINATOR")
    if coordinator:
        if jax.config.values["jax_platforms"] == "cpu":
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        num_processes, index = (int(os.environ[f"RLSCALE_{name}"]) for name in ("NUM_PROCESSES", "PROCESS_ID"))
        jax.distributed.initialize(coordinator, num_processes=num_processes, process_id=index, **_limits())
    elif os.environ.get("RLSCALE_DISTRIBUTED") == "1":
        jax.distributed.initialize(**_limits())


def _limits() -> dict[str, Any]:
    return {"heartbeat_timeout_seconds": _HEARTBEAT_SECS, "shutdown_timeout_seconds": _SHUTDOWN_SECS}


def cache_directory() -> pathlib.Path | None:
    """Where compiled programs are kept, None for nowhere (RLSCALE_CACHE_DIR=off)."""
    place = os.environ.get("RLSCALE_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "rlscale_jax"))
    return None if place == "off" else pathlib.Path(place)


def compiler_options(num_bytes: int, *, platform: str) -> dict[str, str] | None:
    """For `jax.jit`, of training's programs that go through weights of that size; None: XLA's own choices are best."""
    if platform == "tpu":
        return WHOLE_PRODUCTS
    return _LARGE_ON_CPU if platform == "cpu" and num_bytes > CPU_CACHE_BYTES else None


def keep_freed_memory(num_bytes: int) -> None:
    """From here on freed memory stays with the process, if its one device is a CPU that gains by it.

    It does if weights exceed its cache, or if one thread does all. Nothing where `start` was not told of it.

    A program's temporaries are one allocation a call. glibc maps such large ones anew every time, and the system
    clears them page by page: a seventh of the time of an update. Call it once what lives long (weights, moments) is
    in place, which then leaves no holes between temporaries. It costs memory, a quarter with remat.
    """
    if _has_one_arena and jax.local_device_count() == 1 and (num_bytes > CPU_CACHE_BYTES or _has_one_thread()):
        ctypes.CDLL(None).mallopt(_MMAP_MAX, 0)
        ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, -1)


def _has_one_thread() -> bool:
    """Whether XLA computes on one core here, as where hosts are processes of one machine, a core each."""
    return _num_threads() == "1"


def _one_arena() -> None:
    """What `keep_freed_memory` needs: threads with arenas of their own map what is large. Before they have them."""
    global _has_one_arena
    has_accelerator = importlib.util.find_spec("libtpu") or importlib.metadata.entry_points(group="jax_plugins")
    if not has_accelerator and system.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
        _has_one_arena = True


def _compilation_cache() -> None:
    """Compiled programs are kept on disk, so that a second start (or another size's same shape) compiles nothing.

    XLA divides a CPU program among the threads of the process that compiles it, and JAX's key for a program leaves
    their number out: one compiled on one core would never use a second (and two shares on one core are slower).
    """
    place = cache_directory()
    if place is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(place / f"{_num_threads()}-threads"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _num_threads() -> str:
    """Of XLA's pool: NPROC, else the cores that this process may use (which macOS does not say)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return os.environ.get("NPROC") or str(allowed)


def _cpu_kernels() -> None:
    """Leaves XLA's own CPU kernels in place of YNNPACK's, which are slower here: a forward by a fifth to a quarter.

    Read when the backend starts; on a flag that it does not know XLA ends the process.
    """
    flag = "--xla_cpu_experimental_ynn_fusion_type"
    flags = os.environ.get("XLA_FLAGS", "")
    if _KNOWN_XLA and flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}=".strip()
