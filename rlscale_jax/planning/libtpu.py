"""The TPU compiler without a TPU: libtpu's environment, and a slice's devices to compile for.

`prepare` must run before JAX is imported. Nothing here touches a chip; libtpu compiles for a topology and enforces its
memory. Versions matter: jax 0.10.2 pins libtpu 0.0.42 (`requirements-tpu.txt`).
"""

import importlib.metadata
import importlib.util
import os

from rlscale_jax.planning.topologies import Slice

INSTALL = "pip install -r requirements-tpu.txt -c constraints.txt"
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",  # ask no metadata server
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # any: it does not restrict what can be compiled for
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_MIN_LOG_LEVEL": "3",
}


def prepare(*, num_cpu_devices: int = 1) -> None:
    """Sets the environment in which libtpu loads anywhere, quietly; CPU devices stand for GPUs in analytic plans."""
    os.environ.update(_ENVIRONMENT)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={num_cpu_devices}"


def version() -> str:
    """libtpu's version.

    Raises:
      ValueError: libtpu is not installed; the message is the one line that installs it.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(f"planning for a TPU needs its compiler, libtpu (no TPU): {INSTALL}")
    return importlib.metadata.version("libtpu")


def devices(pod: Slice) -> list:
    """The devices of a slice, one a chip, to build a mesh of and compile for."""
    from jax.experimental import topologies

    options = {"chip_config_name": "megacore"} if pod.chip.name == "v4" else {}
    return list(topologies.get_topology_desc(platform="tpu", topology_name=pod.name, **options).devices)
