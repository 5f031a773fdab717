"""google-tunix's sampler on a rollout workload: python -m benchmarks.peers.tunix W1

Every sequence of a batch runs until the longest ends; a prompt is repeated for its samples.
"""

# pyright: reportMissingImports=false

import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tunix.generate import sampler
from tunix.models.qwen2 import model as qwen2

from benchmarks import measure, workloads

NEVER = 10**9  # an eos id outside the vocabulary


class Ids:
    """A tokenizer whose text is token ids with spaces."""

    def encode(self, text, **_):
        return [int(word) for word in text.split()]

    def decode(self, ids, **_):
        return " ".join(map(str, ids))

    def bos_id(self):
        return 0

    def eos_id(self):
        return NEVER

    def pad_id(self):
        return 0


def main(name: str) -> None:
    work, seed = workloads.ROLLOUTS[name], iter(range(10**9))
    shape, num_new = work.shape, int(work.limits().max())
    cache = sampler.CacheConfig(
        cache_size=work.prompt_tokens + num_new,
        num_layers=shape.num_layers,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
    )
    engine = sampler.Sampler(build(work.shape, work.dtype), Ids(), cache)
    prompts = [" ".join(map(str, prompt)) for prompt in work.prompts() for _ in range(work.num_samples)]

    def generate():
        out = engine(
            prompts,
            max_generation_steps=num_new,
            max_prompt_length=work.prompt_tokens,
            temperature=1.0,
            top_p=1.0,
            eos_tokens=[NEVER],
            seed=next(seed),
        )
        assert all(len(tokens) == num_new for tokens in out.tokens)

    measure.serve(generate)


def build(shape: workloads.Shape, dtype_name: str, *, remat: bool = False) -> qwen2.Qwen2:
    """Random weights of a shape."""
    dtype = jnp.dtype(dtype_name)
    config = qwen2.ModelConfig(
        num_layers=shape.num_layers,
        vocab_size=shape.vocab_size,
        embed_dim=shape.hidden_size,
        hidden_dim=shape.intermediate_size,
        num_heads=shape.num_heads,
        head_dim=shape.head_dim,
        num_kv_heads=shape.num_kv_heads,
        rope_theta=1_000_000,
        norm_eps=1e-6,
        use_tied_embedding=True,
        dtype=dtype,
        param_dtype=dtype,
        remat_config=qwen2.RematConfig.DECODER if remat else qwen2.RematConfig.NONE,
    )
    model = qwen2.Qwen2(config, rngs=nnx.Rngs(params=0))
    rng = np.random.default_rng(0)

    def normal(array):  # its feed-forward kernels start at zero
        return (
            jnp.asarray(0.02 * rng.standard_normal(array.shape, np.float32), array.dtype) if array.ndim > 1 else array
        )

    nnx.update(model, jax.tree.map(normal, nnx.state(model)))
    return model


if __name__ == "__main__":
    main(sys.argv[1])
