"""What a command's set-up does to the process: memory that is freed is not faulted in again."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import threading
import numpy as np
from rlscale_jax.models import runtime

runtime._keep_freed_memory()
faults = []


def use_and_free():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(8 * 2**20)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


for _ in range(3):  # in threads, as compiled programs run
    thread = threading.Thread(target=use_and_free)
    thread.start()
    thread.join()
print(*faults)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_memory_stays_with_the_process():
    """64 MiB are taken once, in pages of whichever size."""
    env = {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
    out = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True).stdout
    first, *later = map(int, out.split())
    assert max(later) < first / 4
