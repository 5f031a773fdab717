"""A workload compiled for a GPU that is not here: python -m benchmarks.ahead --workload=W7 [--gpu=h100]

Needs the packages of requirements-cuda.txt and no GPU. The last line is JSON.
Of an update: GiB on the device, seconds that the compiled program's memory traffic and the model's arithmetic take at
the card's published rates, and the model FLOPs utilisation if nothing of the two overlaps.
Of a rollout: GiB of each program, and what a decode step moves with full caches, beside one read of weights and caches.
Nothing is run or tuned: XLA picks products' kernels by trying them on a GPU, what stays in the card's cache counts as
moved, and the time inside cuDNN's attention is not counted.
"""

import argparse
import collections
import importlib.metadata
import json
import os
import pathlib
import re
import time
from typing import Any

from benchmarks import workloads

# Of an H100 SXM and an H200: NVIDIA's data sheets and the CUDA programming guide's table for compute capability 9.0.
_COMMON = """
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98  l2_cache_size: 52428800
  threads_per_warp: 32  threads_per_block_limit: 1024  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024  thread_dim_limit_y: 1024  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448  shared_memory_per_core: 233472
  device_vendor: "NVIDIA Corporation"  platform_version: "Compute Capability 9.0a"
  device_address_bits: 64  pcie_bandwidth: 34359738368  ecc_enabled: true
  driver_version: "13.0.0"  runtime_version: "12.8.0"  compile_time_toolkit_version: "12.8.0"  dnn_version: "9.10.0"
  device_interconnect_info { active_links: 18 }
"""
_MEMORY = {
    "h100": (84_942_979_072, 3_352_320_000_000),
    "h200": (151_397_597_184, 4_800_000_000_000),
}  # bytes, per second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = workloads.ROLLOUTS | {name: work for name, work in workloads.UPDATES.items() if not work.with_rollout}
    parser.add_argument("--workload", choices=sorted(works), required=True)
    parser.add_argument("--gpu", choices=sorted(_MEMORY), default="h100")
    parser.add_argument("--text", default="", help="file for the text of the compiled update or segment")
    arguments = parser.parse_args()
    if not any("cuda" in plugin.name for plugin in importlib.metadata.entry_points(group="jax_plugins")):
        parser.error("XLA for GPUs is not installed here: pip install -r requirements-cuda.txt (no GPU is needed)")
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}  # before JAX is imported
    os.environ["XLA_FLAGS"] = "--xla_gpu_autotune_level=0"
    begin, work = time.perf_counter(), works[arguments.workload]
    if isinstance(work, workloads.Update):
        found, text = _update(work, arguments.gpu)
    else:
        found, text = _rollout(work, arguments.gpu)
    if arguments.text:
        pathlib.Path(arguments.text).write_text(text)
    secs = round(time.perf_counter() - begin, 1)
    print(json.dumps({"workload": arguments.workload, "gpu": arguments.gpu, "compile_s": secs} | found))


def _update(work: workloads.Update, gpu: str) -> tuple[dict[str, Any], str]:
    compiled = _compile(work, gpu)
    from benchmarks import floor
    from rlscale_jax.planning import hbm

    text, rates = compiled.as_text(), floor.DEVICES[gpu.upper()]
    moved, arithmetic = hbm.moved_bytes(text) / rates.bytes, floor.update_flops(work) / rates.flops
    found = {
        "gib": _gib(compiled),
        "memory_s": round(moved, 3),
        "arithmetic_s": round(arithmetic, 3),
        "mfu_without_overlap": round(arithmetic / (arithmetic + moved), 3),
        "kernels": dict(collections.Counter(re.findall(r'custom_call_target="([^"]+)"', text))),
    }
    return found, text


def _compile(work: workloads.Update, gpu: str) -> Any:
    """The update's program, from shapes alone: no array exists."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks import ours
    from rlscale_jax.experiment.config import OptimizerConfig
    from rlscale_jax.models import cudnn, decoder
    from rlscale_jax.training import update

    place = jax.sharding.SingleDeviceSharding(_device(gpu))
    architecture, dtype = ours.architecture(work.shape), jnp.dtype(work.dtype)
    chosen: dict[str, Any] = {"unroll_layers": True}  # as `update.choices` has it on a lone GPU whose cuDNN works
    if dtype.itemsize == 2:
        chosen["shared_prefix_attend"] = cudnn.shared_prefix_attend
    config = ours.grpo_config(work)
    programs = update.build(architecture, config, OptimizerConfig(), compute_dtype=dtype, **chosen)
    state = jax.eval_shape(lambda: programs.init_state(decoder.init_params(architecture, 0)))
    batch = jax.eval_shape(lambda: ours.given(work, np.random.default_rng(0)))
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), (state, batch))
    return programs.step.lower(*shapes).compile()


def _rollout(work: workloads.Rollout, gpu: str) -> tuple[dict[str, Any], str]:
    device = _device(gpu)
    from benchmarks import ours, planned
    from rlscale_jax.planning import hbm, programs

    experiment = planned.experiment(work)
    layout = programs.layout(experiment, [device])
    found, text = {}, ""
    for program in programs.sampling(experiment, ours.architecture(work.shape), layout):
        compiled = program.trace().lower(lowering_platforms=("cuda",)).compile()
        found[f"{program.name}_gib"] = _gib(compiled)
        if program.name == "segment":
            text = compiled.as_text()
            moved = hbm.moved_bytes(text, loop_steps=2) - hbm.moved_bytes(text, loop_steps=1)
            found |= {
                "step_moves_gb": round(moved / 1e9, 2),
                "one_read_gb": round(sum(program.named.values()) / 1e9, 2),
            }
    return found, text


def _gib(compiled: Any) -> float:
    stats = compiled.memory_analysis()
    total = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
    return round((total - stats.alias_size_in_bytes) / 2**30, 1)


def _device(gpu: str) -> Any:
    """Of a topology of one. JAX and its CUDA plugin ask for GPUs that are here, which is talked out of them."""
    from jax._src import xla_bridge
    from jax._src.cudnn import fused_attention_stablehlo as kernels
    from jax.experimental import topologies

    known = xla_bridge.canonicalize_platform
    xla_bridge.canonicalize_platform = lambda name: "cuda" if name in ("gpu", "cuda") else known(name)
    kernels.check_cudnn_version = lambda: 91000
    kernels.check_compute_capability = lambda least: True
    kernels.is_cuda_compute_capability_equal = lambda exact: exact == "9.0"
    size, bandwidth = _MEMORY[gpu]
    config = f"""
gpu_device_info {{{_COMMON}  name: "{gpu.upper()}" device_memory_size: {size} memory_bandwidth: {bandwidth} }}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{gpu.upper()}" """
    return topologies.get_topology_desc(gpu, platform="cuda", topology="1x1x1", target_config=config).devices[0]


if __name__ == "__main__":
    main()
