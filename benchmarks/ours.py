"""This project's own rollout on a workload, as a contender for `measure`."""

import jax
import jax.numpy as jnp

from benchmarks import workloads
from rlscale_jax.models import Architecture, Model, decoder
from rlscale_jax.sampler import generate, lay_out


class Rollout:
    """Each call samples the whole workload with another seed."""

    def __init__(self, work: workloads.Rollout):
        self.work, self.seed, self.stats = work, 0, None
        self.model = lay_out(random_model(work.shape), dtype=jnp.dtype(work.dtype))
        self.prompts, self.limits = work.prompts().tolist(), work.limits()

    def __call__(self) -> None:
        self.seed += 1
        rollouts = generate(
            self.model,
            self.prompts,
            num_samples=self.work.num_samples,
            max_new_tokens=self.limits,
            temperature=1.0,
            eos_ids=(),
            seed=self.seed,
        )
        assert (rollouts.lengths == self.limits).all()
        self.stats = rollouts.stats


def random_model(shape: workloads.Shape) -> Model:
    """Random weights: speed does not depend on their values."""
    architecture = Architecture(
        model_type="qwen2",
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        qkv_bias=True,
        tie_embeddings=True,
    )
    return Model(architecture, jax.jit(decoder.init_params, static_argnums=(0, 1))(architecture, 0))
