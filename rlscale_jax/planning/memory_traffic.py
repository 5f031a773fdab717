"""Bytes that each program moves between a chip and its memory, by formula: a check on what is compiled (`hbm`).

Formulas count what must move: weights, optimiser state, caches, and a block's activations (written once, read once,
bfloat16). They stand alone where nothing is compiled: for GPUs, in a search's first estimates.
"""

import numpy as np

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture
from rlscale_jax.models.mesh import ways
from rlscale_jax.planning import shapes
from rlscale_jax.planning.programs import Layout, micro_prompts, prefill_prompts
from rlscale_jax.sampler.engine import SEGMENT_STEPS

MEAN_FILL = 0.5  # of the caches of completions, over a rollout


def of_programs(
    experiment: Experiment, architecture: Architecture, plan: Layout, *, filled: float = MEAN_FILL
) -> dict[str, float]:
    """Program name -> bytes on one device in one run, caches filled to this share of their final length."""
    compute = np.dtype(experiment.model.compute_dtype)
    master = shapes.params(architecture, plan.mesh, np.dtype(experiment.model.param_dtype))
    state = shapes.device_bytes(master)
    gathered = architecture.num_params * compute.itemsize / plan.mesh.shape["tensor"]
    forward = gathered + _activations(experiment, architecture, plan)
    decoding = shapes.device_bytes(shapes.sampler_params(architecture, plan.sampler_mesh, compute))
    wave, groups = plan.wave_sequences, plan.wave_sequences // experiment.grpo.group_size
    history = cache_bytes(experiment, architecture, plan, wave, round(experiment.sampling.max_new_tokens * filled))
    step = decode_bytes(experiment, architecture, plan, num_rows=wave, num_prompts=groups, filled=filled)
    apply = 7 * state  # weights, two moments: read and written; the gradient read
    update = 4 * forward + 2 * state
    layers = architecture.num_nonembedding_params / architecture.num_params  # share of the weights
    return {
        "logprobs": forward,
        "accumulate": update,
        "apply": apply,
        "step": update + apply,
        "reshard": (state + decoding) * layers / architecture.num_layers,
        "reshard ends": (state + decoding) * (1 - layers),
        "prefill": decoding + _prefill_activations(experiment, architecture, plan),
        "segment": SEGMENT_STEPS * step,
        "fold": 2 * history / architecture.num_layers,
    }


def decode_bytes(
    experiment: Experiment,
    architecture: Architecture,
    plan: Layout,
    *,
    num_rows: float,
    num_prompts: float,
    filled: float = MEAN_FILL,
) -> float:
    """Of one decode step on one device: weights, each row's own cache so far, each prompt's cache once."""
    compute = np.dtype(experiment.model.compute_dtype)
    weights = shapes.device_bytes(shapes.sampler_params(architecture, plan.sampler_mesh, compute))
    wave = plan.wave_sequences
    own = cache_bytes(experiment, architecture, plan, wave, round(experiment.sampling.max_new_tokens * filled))
    prompts = cache_bytes(experiment, architecture, plan, wave, experiment.data.max_prompt_tokens)
    return weights + own * num_rows / wave + prompts * num_prompts / wave


def cache_bytes(experiment: Experiment, architecture: Architecture, plan: Layout, num_rows: int, slots: int) -> float:
    """Keys and values of `slots` tokens of every row, on one device."""
    compute = np.dtype(experiment.model.compute_dtype)
    return shapes.device_bytes(shapes.cache(architecture, plan.sampler_mesh, num_rows, slots, compute))


def micro_batch_tokens(experiment: Experiment, plan: Layout) -> float:
    """Slots of a micro-batch's rows on one batch shard."""
    rows, samples = shapes.group_rows(experiment, plan.mesh, micro_prompts(experiment))
    width = experiment.data.max_prompt_tokens + samples * experiment.sampling.max_new_tokens
    return rows * width / ways(plan.mesh, "batch")


def _activations(experiment: Experiment, architecture: Architecture, plan: Layout) -> float:
    """Of one forward over a micro-batch on one device."""
    tokens = micro_batch_tokens(experiment, plan)
    return _block_bytes(architecture, plan.mesh.shape["tensor"]) * tokens * architecture.num_layers


def _prefill_activations(experiment: Experiment, architecture: Architecture, plan: Layout) -> float:
    mesh = plan.sampler_mesh
    tokens = prefill_prompts(experiment, plan) * experiment.data.max_prompt_tokens / ways(mesh, "batch")
    return _block_bytes(architecture, mesh.shape["tensor"]) * tokens * architecture.num_layers


def _block_bytes(architecture: Architecture, tensor: int) -> float:
    """Per token: residual stream and norms, queries to attention output, gate, up and their product."""
    a = architecture
    heads = (2 * a.num_heads + 2 * a.num_kv_heads) * a.head_dim
    return 2 * 2 * (4 * a.hidden_size + (heads + 3 * a.intermediate_size) / tensor)
