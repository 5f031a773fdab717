"""What a program will take, by formula and without compiling it: orders a search, and stands for a plan on GPUs.

Arguments are exact (shapes and shardings); temporaries are the saved activations and one block's working set; FLOPs
are the closed form; transfers are those of fsdp (weights gathered once a pass) and tensor parallelism (a row's
residual stream gathered and scattered twice a block).
"""

from collections.abc import Callable

import numpy as np

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.experiment.flops import ForwardCost
from rlscale_jax.models import Architecture
from rlscale_jax.models.mesh import ways
from rlscale_jax.planning import flops, memory_traffic, programs, shapes
from rlscale_jax.planning.collectives import Traffic
from rlscale_jax.planning.compilation import Compiled, Memory
from rlscale_jax.planning.programs import Layout, Program
from rlscale_jax.sampler.engine import SEGMENT_STEPS

_PASSES = {"logprobs": 1, "accumulate": 3, "step": 3}  # over the tokens: forward; forward, recomputed, backward
_GATHERS = {"logprobs": 1, "accumulate": 4, "step": 4}  # of the weights; their gradient's sum is float32 and counts two


def compiler(experiment: Experiment, architecture: Architecture, layout: Layout) -> Callable[[Program], Compiled]:
    """A stand-in for `compilation.compile_program`."""
    rows, samples = shapes.group_rows(experiment, layout.mesh, programs.micro_prompts(experiment))
    counts = flops.closed_form(experiment, architecture, num_rows=rows, num_samples=samples)
    counts |= _sampling_flops(experiment, architecture, layout)

    def guess(program: Program) -> Compiled:
        memory = Memory(
            arguments=shapes.device_bytes(program.args),
            new_outputs=_new_outputs(program, experiment, architecture, layout),
            temporaries=int(_temporaries(program.name, experiment, architecture, layout)),
            code=0,
        )
        return Compiled(
            name=program.name,
            memory=memory,
            over="",
            compile_secs=0.0,
            flops=counts.get(program.name, 0.0),
            moved_bytes=0.0,
            traffic=_traffic(program.name, experiment, architecture, layout),
        )

    return guess


def _sampling_flops(experiment: Experiment, architecture: Architecture, layout: Layout) -> dict[str, float]:
    """Of one prefill, and of one segment with caches half full."""
    cost = ForwardCost.of(architecture)
    slots, own = experiment.data.max_prompt_tokens, experiment.sampling.max_new_tokens
    chunk = programs.prefill_prompts(experiment, layout)
    prefill = chunk * (slots * cost.per_token + slots * slots / 2 * cost.per_pair + cost.per_logits)
    token = cost.per_token + cost.per_logits + (slots + own / 2) * cost.per_pair
    return {"prefill": prefill, "segment": SEGMENT_STEPS * layout.wave_sequences * token}


def _tokens(experiment: Experiment, layout: Layout) -> float:
    """Of a micro-batch on one batch shard."""
    return memory_traffic.micro_batch_tokens(experiment, layout)


def _temporaries(name: str, experiment: Experiment, architecture: Architecture, layout: Layout) -> float:
    a, tensor = architecture, layout.mesh.shape["tensor"]
    compute = np.dtype(experiment.model.compute_dtype).itemsize
    block = _tokens(experiment, layout) * compute * (6 * a.hidden_size + 4 * a.intermediate_size) / tensor
    weights = 2 * compute * a.num_nonembedding_params / a.num_layers / tensor
    # gathered (float32, then in the compute dtype), and its gradient summed by every batch shard in float32
    head = (4 + compute + 4 + compute) * a.vocab_size * a.hidden_size / tensor
    logits = 4 * 4 * experiment.grpo.logprob_chunk_tokens * a.vocab_size / tensor
    if name == "logprobs":
        return max(block + weights, head / 2 + logits)
    if name in ("accumulate", "step"):
        saved = a.num_layers * _tokens(experiment, layout) * compute * a.hidden_size / tensor
        if experiment.grpo.remat == "dots":
            saved *= (
                2
                + (a.num_heads + 2 * a.num_kv_heads) * a.head_dim / a.hidden_size
                + 2 * a.intermediate_size / (a.hidden_size)
            )
        return saved + max(2 * block + weights, head + logits)
    return 0.0


def _new_outputs(program: Program, experiment: Experiment, architecture: Architecture, layout: Layout) -> int:
    """Of programs whose result is new and large."""
    if program.name == "fold":
        return shapes.device_bytes(program.args[0])
    if program.name not in ("reshard", "reshard ends"):
        return 0
    target = shapes.sampler_params(architecture, layout.sampler_mesh, np.dtype(experiment.model.compute_dtype))
    layers = shapes.device_bytes(target["layers"])
    return layers // architecture.num_layers if program.name == "reshard" else shapes.device_bytes(target) - layers


def _traffic(name: str, experiment: Experiment, architecture: Architecture, layout: Layout) -> tuple[Traffic, ...]:
    a = architecture
    mesh = layout.sampler_mesh if name == "segment" else layout.mesh
    tensor, fsdp = mesh.shape["tensor"], ways(mesh, "embed")
    compute = np.dtype(experiment.model.compute_dtype).itemsize
    if name in _PASSES:
        # two gathers of a layer's tokens and two sums, which the compiler makes whole
        exchanged = 6 * a.num_layers * _tokens(experiment, layout) * a.hidden_size * compute * (1 - 1 / tensor)
        weights = _GATHERS[name] * a.num_params * compute / tensor * (1 - 1 / fsdp)
    elif name == "segment":
        rows = layout.wave_sequences / ways(mesh, "batch")
        exchanged = SEGMENT_STEPS * 4 * a.num_layers * rows * a.hidden_size * compute * (1 - 1 / tensor)
        weights = 0.0
    else:
        return ()
    passes = _PASSES.get(name, 1)
    return (
        Traffic(kind="all-gather", axes="fsdp", group=fsdp, count=passes, bytes_sent=weights),
        Traffic(kind="all-gather", axes="tensor", group=tensor, count=passes, bytes_sent=passes * exchanged),
    )
