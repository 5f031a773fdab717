"""Pretrains a ladder's base model on the task's corpus, with the decoder and checkpoints of the real runs."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import optax

from rlscale_jax.experiment.config import CheckpointConfig, PretrainConfig
from rlscale_jax.grpo.logprobs import token_logprobs
from rlscale_jax.models import Architecture, Model, attention, decoder
from rlscale_jax.models.architecture import RopeScaling
from rlscale_jax.training import checkpoints
from rlscale_jax.training.corpus import TokenCorpus
from rlscale_jax.training.progress import Progress

_CLIP_NORM = 1.0
_B2 = 0.95  # shorter memory than in the RL runs: a few hundred steps in all
_FINAL_FRACTION = 0.02  # of the peak learning rate, at the end of the cosine
_LLAMA_SCALING = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=32)


def architecture_of(config: PretrainConfig, vocab_size: int) -> Architecture:
    """A small model of the Qwen2.5 family, or of Llama 3's with its own head and stretched rotary positions."""
    llama = config.family == "llama"
    return Architecture(
        model_type=config.family,
        vocab_size=vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        rms_norm_eps=1e-6,
        rope_theta=config.rope_theta,
        rope_scaling=_LLAMA_SCALING if llama else None,
        qkv_bias=not llama,
        tie_embeddings=not llama,
        max_positions=512,
    )


def pretrain(
    architecture: Architecture,
    config: PretrainConfig,
    corpus: TokenCorpus,
    *,
    workdir: pathlib.Path,
    progress: Progress,
    initial: decoder.Params | None = None,
) -> Model:
    """Trains for `config.num_steps`, from the last checkpoint under `workdir` if there is one.

    `initial`: the parameters to start from; None: fresh ones of `config.seed`.
    """
    optimizer = _optimizer(config)
    step_fn = _build_step(architecture, optimizer)
    params = initial_params(architecture, config.seed) if initial is None else initial
    state = {"params": params, "opt_state": optimizer.init(params)}
    saves = checkpoints.RunCheckpoints(workdir / "checkpoints", CheckpointConfig(every_steps=1 << 30, keep_last=1))
    restored = saves.restore(checkpoints.abstract(state))
    state, start = (restored[0], restored[1]["step"]) if restored else (state, 0)
    for step in range(start, config.num_steps):
        tokens, mask = corpus.batch(step, config.batch_sequences, config.seed)
        state, loss = step_fn(state, tokens, mask)
        if saves.due(step + 1):
            saves.save(step + 1, state, {})
        if (step + 1) % 20 == 0 or step + 1 == config.num_steps:
            progress.update(step + 1, loss=float(loss))
    saves.close()
    return Model(architecture, state["params"])


def initial_params(architecture: Architecture, seed: int) -> decoder.Params:
    """Fresh parameters for small widths: kernels with variance 1/fan_in, outputs into the residual stream scaled
    down by sqrt(2 L). The published 0.02 is 1/sqrt(2500): right for wide models, far too small for these.
    """
    params = decoder.init_params(architecture, seed)
    residual = (2 * architecture.num_layers) ** -0.5

    def rescale(path, leaf):
        if path[-1].key != "kernel":
            return leaf
        unit = leaf / jnp.std(leaf, axis=(-2, -1), keepdims=True)
        return unit * leaf.shape[-2] ** -0.5 * (residual if path[-2].key in ("o", "down") else 1.0)

    return jax.tree_util.tree_map_with_path(rescale, params)


def _optimizer(config: PretrainConfig) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        config.warmup_steps,
        max(config.num_steps, config.warmup_steps + 1),
        config.learning_rate * _FINAL_FRACTION,
    )
    return optax.chain(
        optax.clip_by_global_norm(_CLIP_NORM), optax.adamw(schedule, b2=_B2, weight_decay=config.weight_decay)
    )


def _build_step(architecture: Architecture, optimizer: optax.GradientTransformation):
    def loss_fn(params, tokens, mask):
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        positions = jnp.broadcast_to(jnp.arange(inputs.shape[1]), inputs.shape)
        hidden, _ = decoder.hidden_states(
            architecture, params, inputs, positions, attention.causal_attend(), compute_dtype=jnp.float32
        )
        head, axes = decoder.lm_head(params)
        head = decoder.whole_head(axes, head)
        logprobs = token_logprobs(hidden, head, targets, chunk_tokens=targets.size, head_axes=axes)
        return -jnp.sum(logprobs * mask[:, 1:]) / jnp.sum(mask[:, 1:])

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, tokens, mask):
        loss, gradient = jax.value_and_grad(loss_fn)(state["params"], tokens, mask)
        updates, opt_state = optimizer.update(gradient, state["opt_state"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}, loss

    return step
