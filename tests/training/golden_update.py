"""One GRPO update of a tiny Qwen2 as PyTorch made it (tests/golden/make_update_golden.py), in this package's terms."""

import dataclasses
import pathlib
import types

import jax.numpy as jnp
import numpy as np

from rlscale_jax.experiment.config import GrpoConfig, OptimizerConfig
from rlscale_jax.models import Architecture, hf_names
from rlscale_jax.training import batch

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "update.npz"

ARCHITECTURE = Architecture(
    model_type="qwen2",
    vocab_size=29,
    hidden_size=16,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    intermediate_size=24,
    rms_norm_eps=1e-6,
    rope_theta=10_000.0,
    qkv_bias=True,
    tie_embeddings=True,
)


def arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


def params_of(golden, prefix: str):
    """Published names and [out, in] kernels to stacked params."""
    params: dict = {}
    for leaf in hf_names.leaves(ARCHITECTURE):
        tensors = [golden[f"{prefix}/{name}"].astype(np.float32) for name in leaf.names]
        tensors = [tensor.T if leaf.transposed else tensor for tensor in tensors]
        place = params
        for key in leaf.path[:-1]:
            place = place.setdefault(key, {})
        place[leaf.path[-1]] = jnp.array(np.stack(tensors) if leaf.stacked else tensors[0])
    return params


def case(golden) -> types.SimpleNamespace:
    """Architecture, configs, the batch with its old and reference log-probabilities, and `params()`, a fresh copy."""
    grpo = GrpoConfig(
        prompts_per_step=4, group_size=3, num_minibatches=1, kl_coef=0.05, logprob_chunk_tokens=7, remat="none"
    )
    rollouts = types.SimpleNamespace(
        tokens=golden["completion_tokens"],
        lengths=golden["completion_lengths"],
        logprobs=golden["logprobs"],
        finish=np.zeros(golden["rewards"].shape, np.int8),
    )
    pairs = zip(golden["prompt_tokens"], golden["prompt_lengths"], strict=True)
    prompts = [list(row[:length]) for row, length in pairs]
    old, ref = (np.float32(golden["logprobs"] + golden[f"{name}_noise"]) for name in ("old", "ref"))
    whole = batch.make_batch(rollouts, prompts, golden["rewards"], grpo)
    return types.SimpleNamespace(
        architecture=ARCHITECTURE,
        grpo=grpo,
        optimizer=OptimizerConfig(learning_rate=1e-2, weight_decay=0.1, clip_norm=1.0),
        batch=dataclasses.replace(whole, old_logprobs=old, ref_logprobs=ref),
        params=lambda: params_of(golden, "before"),
        params_after=lambda: params_of(golden, "after"),
    )
