"""The compilation cache of a command, in processes of their own; options of the compiler."""

import importlib.util
import os
import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from rlscale_jax.models import runtime

PROGRAM = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[1])])
import jax
from rlscale_jax.models import runtime
runtime.start()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((64, 64)))
"""


def test_programs_divided_among_other_numbers_of_threads_are_kept_apart(tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NPROC", "JAX_COMPILATION_CACHE_DIR")
    }

    def kept_after(num_cores: int) -> set[str]:
        command = [sys.executable, "-c", PROGRAM, str(num_cores)]
        subprocess.run(command, env=environment | {"RLSCALE_CACHE_DIR": str(tmp_path)}, check=True)
        return {str(path) for path in tmp_path.rglob("jit__lambda*-cache")}

    alone = kept_after(1)
    assert len(alone) == 1
    num_cores = min(2, len(os.sched_getaffinity(0)))
    assert len(kept_after(num_cores) - alone) == num_cores - 1


FAULTS = """
import resource, sys
import jax
from rlscale_jax.models import runtime
runtime.start(may_keep_memory=True, is_small=int(sys.argv[1]) < 2**25)
runtime.keep_freed_memory(int(sys.argv[1]))
of = jax.jit(lambda x: sum(jax.numpy.tanh(x.T @ (x * i)).sum() for i in (1, 2)))  # of 64 MB each, freed
x = jax.numpy.ones((16, 4096))
of(x).block_until_ready()
taken = []
for _ in range(20):
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    of(x).block_until_ready()
    taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
print(min(taken))  # threads that come late at times make a heap that is kept grow once more
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's malloc")
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="a process that may have a TPU keeps none")
def test_one_cpu_with_a_large_model_takes_no_pages_anew():
    def faults(num_bytes: int, num_devices: int, num_threads: int = 2) -> int:
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}", "RLSCALE_CACHE_DIR": "off"}
        flags["NPROC"] = str(num_threads)
        command = [sys.executable, "-c", FAULTS, str(num_bytes)]
        return int(subprocess.run(command, env=os.environ | flags, check=True, stdout=subprocess.PIPE).stdout)

    anew = faults(2**20, 1)
    assert anew > 64_000_000 / 2**21  # pages, were they huge ones
    assert faults(2**30, 1) < anew / 4
    assert faults(2**20, 1, num_threads=1) < anew / 4  # so does a small one on one thread
    assert faults(2**30, 2) > anew / 2  # several devices' temporaries would leave holes


def test_compiler_options_are_those_of_the_platform():
    """XLA refuses the options of another; for GPUs there are none."""
    small, large = runtime.CPU_CACHE_BYTES, runtime.CPU_CACHE_BYTES + 1
    on_cpu = runtime.compiler_options(large, platform="cpu") or {}
    assert (runtime.IN_ORDER or {}).items() <= on_cpu.items()
    by_ynnpack = lambda f: "ynn_fusion" in jax.jit(f, compiler_options=on_cpu).lower(x).compile().as_text()  # noqa: E731
    x = jnp.ones((4096, 512))
    assert by_ynnpack(lambda x: jnp.exp(x).sum(axis=0))  # the exponentials are not written down before they are summed
    assert not by_ynnpack(lambda x: x @ x.T)
    assert runtime.compiler_options(small, platform="cpu") is None
    assert runtime.compiler_options(small, platform="tpu") == runtime.WHOLE_PRODUCTS
    assert runtime.compiler_options(large, platform="gpu") is None
