"""A workload compiled for a GPU that is not here: python -m benchmarks.ahead --workload=W7 [--gpu=h100]

Needs the packages of requirements-cuda.txt and no GPU. The last line is JSON.
Of an update: GiB on the device; seconds at the card's published rates of the compiled program's memory traffic, of its
products, and of all kernels, each at the slower of the two; the same at the shares of the rates that kernels may reach
(.8 of memory, .65 of products); the model FLOPs utilisation that each would be.
Of a rollout: GiB of each program, and what a decode step moves with full caches, beside one read of weights and caches.
Nothing is run or tuned: XLA picks products' kernels by trying them on a GPU, what stays in the card's cache counts as
moved, and of cuDNN's attention the traffic alone is counted.
"""

import argparse
import collections
import importlib.metadata
import json
import math
import os
import pathlib
import re
import time
from typing import Any

from benchmarks import workloads

# Of an H100 SXM and an H200, as XLA describes them (openxla/xla, xla/backends/gpu/target_config/specs).
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
_MEMORY_BYTES = {"h100": 84_942_979_072, "h200": 151_397_597_184}
_REACHED = {"memory": 0.8, "products": 0.65}  # shares of the published rates that such kernels reach: assumed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = workloads.ROLLOUTS | {name: work for name, work in workloads.UPDATES.items() if not work.with_rollout}
    parser.add_argument("--workload", choices=sorted(works), required=True)
    parser.add_argument("--gpu", choices=sorted(_MEMORY_BYTES), default="h100")
    parser.add_argument("--text", default="", help="file for the text of the compiled update or segment")
    arguments = parser.parse_args()
    if not any("cuda" in plugin.name for plugin in importlib.metadata.entry_points(group="jax_plugins")):
        parser.error("XLA for GPUs is not installed here: pip install -r requirements-cuda.txt (no GPU is needed)")
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}  # before JAX is imported
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip()
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
    counted = _product_flops(text)
    kernels = [
        (moved.num_bytes / rates.bytes, moved.num_runs * counted[moved.instruction.name] / rates.flops)
        for moved in hbm.movements(text)
    ]
    bound = sum(map(max, kernels))
    assumed = sum(max(memory / _REACHED["memory"], products / _REACHED["products"]) for memory, products in kernels)
    arithmetic = floor.update_flops(work) / rates.flops
    found = {
        "gib": _gib(compiled),
        "memory_s": round(sum(memory for memory, _ in kernels), 3),
        "products_s": round(sum(products for _, products in kernels), 3),
        "kernels_s": round(bound, 3),
        "mfu_at_most": round(arithmetic / bound, 3),
        "assumed_s": round(assumed, 3),
        "mfu_assumed": round(arithmetic / assumed, 3),
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
    cudnn.works = lambda *heads_and_dtype: jnp.dtype(heads_and_dtype[-1]).itemsize == 2  # asks a GPU
    chosen = update.choices(architecture, dtype, platform="gpu")
    config = ours.grpo_config(work)
    programs = update.build(architecture, config, OptimizerConfig(), compute_dtype=dtype, **chosen)
    state = jax.eval_shape(lambda: programs.init_state(decoder.init_params(architecture, 0)))
    batch = jax.eval_shape(lambda: ours.given(work, np.random.default_rng(0)))
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), (state, batch))
    return programs.step.lower(*shapes).compile()


def _product_flops(text: str) -> collections.Counter[str]:
    """Of each instruction by name, one run; a fusion's are those within."""
    from rlscale_jax.planning import hlo

    found: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()
    for name, lines in hlo.computations(text).items():  # what is called comes first
        instructions = hlo.instructions(lines)
        results = {one.name: one.result for one in instructions}
        for one in instructions:
            if one.operation == "dot":
                found[one.name] = _dot_flops(one, results)
            elif one.operation == "fusion":
                found[one.name] = sum(within[inner] for inner in hlo.called(one.line))
            within[name] += found[one.name]
    return found


def _dot_flops(one: Any, results: dict[str, str]) -> int:
    from rlscale_jax.planning import hlo

    sizes, first = (
        [int(n) for n in hlo.ARRAY.findall(text)[0][1].split(",")] for text in (one.result, results[one.operands[0]])
    )
    axes = re.search(r"lhs_contracting_dims=\{([\d,]+)\}", one.line)
    return 2 * math.prod(sizes) * math.prod(first[int(axis)] for axis in axes[1].split(",")) if axes else 0


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

    from benchmarks import floor

    known = xla_bridge.canonicalize_platform
    xla_bridge.canonicalize_platform = lambda name: "cuda" if name in ("gpu", "cuda") else known(name)
    kernels.check_cudnn_version = lambda: 91000
    kernels.check_compute_capability = lambda least: True
    kernels.is_cuda_compute_capability_equal = lambda exact: exact == "9.0"
    name, bandwidth = gpu.upper(), int(floor.DEVICES[gpu.upper()].bytes)
    config = f"""
gpu_device_info {{{_COMMON} name: "{name}" device_memory_size: {_MEMORY_BYTES[gpu]} memory_bandwidth: {bandwidth} }}
platform_name: "CUDA"  dnn_version_info {{ major: 9 minor: 10 }}  device_description_str: "{name}" """
    return topologies.get_topology_desc(gpu, platform="cuda", topology="1x1x1", target_config=config).devices[0]


if __name__ == "__main__":
    main()
