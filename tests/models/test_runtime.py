"""The compilation cache of a command, in processes of their own; options of the compiler."""

import os
import subprocess
import sys

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


def test_compiler_options_are_those_of_the_platform():
    """XLA refuses the options of another; for GPUs there are none."""
    small, large = runtime.CPU_CACHE_BYTES, runtime.CPU_CACHE_BYTES + 1
    assert runtime.compiler_options(large, platform="cpu") == runtime.IN_ORDER
    assert runtime.compiler_options(small, platform="cpu") is None
    assert runtime.compiler_options(small, platform="tpu") == runtime.WHOLE_PRODUCTS
    assert runtime.compiler_options(large, platform="gpu") is None
