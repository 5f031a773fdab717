"""The compiled programs of training: a log-probability pass, and the update of one mini-batch.

A group's prompt goes through the model once: a row is the prompt followed by its completions, which attend to that one
copy. Gradients are sums over tokens, added up over micro-batches and divided once. The programs are plain `jax.jit`s of
pytrees: `.lower` takes `jax.ShapeDtypeStruct`s, so that `plan` compiles for a pod what a run executes. On a mesh, call
(or lower) them under `jax.set_mesh(mesh)` with batches from `batch.place`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import Experiment, GrpoConfig, OptimizerConfig
from rlscale_jax.grpo import logprobs as scoring
from rlscale_jax.grpo import loss
from rlscale_jax.models import Architecture, attention, cudnn, decoder, runtime, splash
from rlscale_jax.models import mesh as meshes
from rlscale_jax.models.layers import Attend
from rlscale_jax.models.mesh import constrain_rows, ways
from rlscale_jax.training import optimizer
from rlscale_jax.training.batch import RolloutBatch

State = dict[str, Any]  # {"params", "opt_state", "step": updates applied, "nonfinite": updates skipped in a row}
Accumulated = dict[str, Any]  # {"gradient": of the summed loss, "sums": see grpo.loss}; float32 over micro-batches


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """Jitted functions of one architecture and config; each compiles once for each shape of batch.

    init_state(params) -> state: Adam's moments at zero. Takes the params over, donated.
    logprobs(params, batch) -> [P G Tc] float32: of the completions' tokens; 0 outside of them.
    step(state, batch) -> (state, metrics): one update on a whole mini-batch; the state is donated.
    start(params) -> accumulated: zeros. accumulate(params, accumulated, micro) -> accumulated, donated.
    apply(state, accumulated) -> (state, metrics): one update from accumulated gradients; the state is donated.
    """

    init_state: Callable[..., State]
    logprobs: Callable[..., jax.Array]
    step: Callable[..., tuple[State, dict[str, jax.Array]]]
    start: Callable[..., Accumulated]
    accumulate: Callable[..., Accumulated]
    apply: Callable[..., tuple[State, dict[str, jax.Array]]]
    compiler_options: dict[str, str] | None  # of logprobs, step and accumulate

    def update(self, state: State, micro_batches: Sequence[RolloutBatch]) -> tuple[State, dict[str, jax.Array]]:
        """One update on a mini-batch given in micro-batches; metrics stay on the device."""
        if len(micro_batches) == 1:
            return self.step(state, micro_batches[0])
        accumulated = self.start(state["params"])
        for micro in micro_batches:
            accumulated = self.accumulate(state["params"], accumulated, micro)
        return self.apply(state, accumulated)

    def with_logprobs(
        self, minibatches: Sequence[Sequence[RolloutBatch]], *, old_params: Any = None, ref_params: Any = None
    ) -> list[list[RolloutBatch]]:
        """The micro-batches with old and reference log-probabilities; params that are None leave theirs out."""

        def annotate(micro: RolloutBatch) -> RolloutBatch:
            old = None if old_params is None else self.logprobs(old_params, micro)
            ref = None if ref_params is None else self.logprobs(ref_params, micro)
            return dataclasses.replace(micro, old_logprobs=old, ref_logprobs=ref)

        return [[annotate(micro) for micro in minibatch] for minibatch in minibatches]


def build(
    architecture: Architecture,
    config: GrpoConfig,
    optimizer_config: OptimizerConfig,
    *,
    compute_dtype: Any,
    shared_prefix_attend: Callable[..., Attend] = attention.shared_prefix_attend,
    compiler_options: dict[str, Any] | None = None,
) -> Programs:
    """The programs of a run; nothing is compiled before its first call.
    `shared_prefix_attend` is the attention of a group's row, `compiler_options` go with the programs that pass through
    the model. `choices` has both.
    """
    jit = functools.partial(jax.jit, compiler_options=compiler_options)
    apply = functools.partial(_apply, config, optimizer_config)
    forward = functools.partial(_completion_hidden, architecture, config, shared_prefix_attend)

    def logprobs(params, batch):
        tokens, positions = _rows(batch)
        hidden = forward(params, decoder.embed(params, tokens, compute_dtype), positions, batch)
        head, chunks = _head_and_chunks(config, params)
        return jnp.where(_is_real(batch), scoring.token_logprobs(hidden, head, batch.completion_tokens, **chunks), 0.0)

    def objective(params, embedded, positions, batch):
        hidden = forward(params, embedded, positions, batch)
        head, chunks = _head_and_chunks(config, params)
        inputs = _token_inputs(config, batch)
        token_fn = functools.partial(loss.policy_loss, config)
        total, chunk_sums = scoring.reduce_tokens(token_fn, hidden, head, batch.completion_tokens, inputs, **chunks)
        return total, loss.reduce_sums(chunk_sums)

    def gradients(params, batch):
        tokens, positions = _rows(batch)
        embedded = decoder.embed(params, tokens, compute_dtype)
        differentiate = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
        (_, sums), (gradient, embedded_grad) = differentiate(params, embedded, positions, batch)
        table = decoder.add_embed_grad(gradient["embed"]["embedding"], tokens, embedded_grad)
        return {"gradient": gradient | {"embed": {"embedding": table}}, "sums": sums}

    def accumulate(params, accumulated, batch):
        new = _by_rows(gradients)(params, batch)
        gradient = jax.tree.map(lambda a, part: a + part.astype(a.dtype), accumulated["gradient"], new["gradient"])
        return {"gradient": gradient, "sums": loss.add_sums(accumulated["sums"], new["sums"])}

    def step(state, batch):
        return apply(state, _by_rows(gradients)(state["params"], batch))

    return Programs(
        init_state=jax.jit(functools.partial(_init_state, optimizer.adamw(optimizer_config)), donate_argnums=0),
        logprobs=jit(logprobs),
        step=jit(step, donate_argnums=0),
        start=jax.jit(_zeros),
        accumulate=jit(accumulate, donate_argnums=1),
        apply=jax.jit(apply, donate_argnums=0),
        compiler_options=compiler_options,
    )


def build_for(architecture: Architecture, experiment: Experiment, *, platform: str) -> Programs:
    """`build` as a run has it on a platform ("cpu", "gpu", "tpu")."""
    dtype = jnp.dtype(experiment.model.compute_dtype)
    chosen = choices(architecture, dtype, platform=platform)
    return build(architecture, experiment.grpo, experiment.optimizer, compute_dtype=dtype, **chosen)


def choices(architecture: Architecture, compute_dtype: Any, *, platform: str) -> dict[str, Any]:
    """What `build` takes on a platform: a kernel for attention where there is one, options of the compiler."""
    kernels: dict[str, Any] = {"tpu": splash.shared_prefix_attend}
    heads = (architecture.num_heads, architecture.num_kv_heads, architecture.head_dim)
    if platform == "gpu" and cudnn.works(*heads, compute_dtype):
        kernels["gpu"] = cudnn.shared_prefix_attend
    num_bytes = architecture.num_params * jnp.dtype(compute_dtype).itemsize
    return {
        "shared_prefix_attend": kernels.get(platform, attention.shared_prefix_attend),
        "compiler_options": runtime.compiler_options(num_bytes, platform=platform),
    }


def _head_and_chunks(config: GrpoConfig, params: Any) -> tuple[jax.Array, dict[str, Any]]:
    """The output matrix, and how tokens meet it."""
    head, axes = decoder.lm_head(params)
    if axes == "vd" and meshes.traced_under().size > 1:
        head, axes = head.T, "dv"  # split along D a table lies so on every device
    place = scoring.HeadPlace(
        whole=functools.partial(decoder.whole_head, axes), sum_parts=functools.partial(decoder.sum_head, axes)
    )
    sizes = {"chunk_tokens": config.logprob_chunk_tokens, "num_shards": _num_shards()}
    return head, {**sizes, "head_axes": axes, "place": place}


def _by_rows(gradients: Callable[..., Accumulated]) -> Callable[..., Accumulated]:
    """`gradients` of every device's own rows, summed once, where a mesh splits rows alone; else as they are.

    A device then has the program of a lone one, and no two wait for each other before they have their sums.
    """
    if not meshes.splits_rows_alone():
        return gradients
    rows = meshes.rows()

    def own(params, batch):
        found = gradients(params, batch)
        sums, split = ravel_pytree(found["sums"])
        sums = loss.reduce_sums(jax.vmap(split)(jax.lax.all_gather(sums, rows[0])))
        return {"gradient": meshes.sum_over_rows(found["gradient"], rows[0]), "sums": sums}

    return meshes.by_rows(own, (P(), rows), P())


def _init_state(adamw: optax.GradientTransformation, params: Any) -> State:
    zero = jnp.zeros((), jnp.int32)
    return {"params": params, "opt_state": adamw.init(params), "step": zero, "nonfinite": zero}


def _zeros(params: Any) -> Accumulated:
    """Float32 whatever the parameters are: small parts would vanish in a bfloat16 sum of many micro-batches."""
    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, jnp.float32), params)
    return {"gradient": zeros, "sums": loss.zero_sums()}


def _completion_hidden(architecture, config, shared_prefix_attend, params, embedded, positions, batch) -> jax.Array:
    """The hidden states [P, G, Tc, D] that predict the completions' tokens, each one position before its token."""
    num_prefix, num_samples = batch.prompt_tokens.shape[1], batch.num_samples
    attend = shared_prefix_attend(batch.prompt_lengths, num_prefix, num_samples)
    how = {"remat": config.remat, "unroll": config.unroll_layers}
    hidden, _ = decoder.transform(architecture, params, embedded, positions, attend, **how)
    hidden = constrain_rows(hidden)  # gathered over `tensor` once, not for each chunk of tokens that meets the head
    last = (batch.prompt_lengths - 1)[:, None, None]
    prompt_end = jnp.take_along_axis(hidden[:, :num_prefix], last, axis=1)[:, None]  # [P 1 1 D]
    own = hidden[:, num_prefix:].reshape(*batch.completion_tokens.shape, -1)
    first = jnp.broadcast_to(prompt_end, (*own.shape[:2], 1, own.shape[-1]))
    return jnp.concatenate([first, own[:, :, :-1]], axis=2)


def _rows(batch: RolloutBatch) -> tuple[jax.Array, jax.Array]:
    """Tokens and positions [P, Tp + G·Tc]: a completion's positions go on where the real prompt ends."""
    num_prompts, num_samples, width = batch.completion_tokens.shape
    tokens = jnp.concatenate([batch.prompt_tokens, batch.completion_tokens.reshape(num_prompts, -1)], axis=1)
    own = batch.prompt_lengths[:, None] + jnp.tile(jnp.arange(width), num_samples)
    prompt = jnp.broadcast_to(jnp.arange(batch.prompt_tokens.shape[1]), batch.prompt_tokens.shape)
    return tokens, jnp.concatenate([prompt, own], axis=1)


def _num_shards() -> int:
    """Parts that the rows of a batch lie in, on the mesh that the program is traced under."""
    return ways(meshes.traced_under(), "batch")


def _is_real(batch: RolloutBatch) -> jax.Array:
    """[P G Tc], True on the completions' tokens."""
    return jnp.arange(batch.completion_tokens.shape[2]) < batch.completion_lengths[..., None]


def _token_inputs(config: GrpoConfig, batch: RolloutBatch) -> loss.TokenInputs:
    mask = (_is_real(batch) & batch.loss_mask[..., None]).astype(jnp.float32)
    return loss.TokenInputs(
        advantages=jnp.broadcast_to(batch.advantages[..., None], mask.shape),
        mask=mask,
        weight=loss.token_weights(config, mask),
        sampler_logprobs=batch.sampler_logprobs,
        old_logprobs=batch.old_logprobs,
        ref_logprobs=batch.ref_logprobs,
    )


def _apply(config: GrpoConfig, optimizer_config: OptimizerConfig, state: State, accumulated: Accumulated):
    """Divides once, clips, steps; keeps everything as it was where loss or gradient are not finite.

    A mini-batch without any counted token changes nothing either; that is no fault and is not counted as one.
    """
    sums = accumulated["sums"]
    weight = jnp.maximum(sums["weight"], 1e-30)
    norm = optimizer.global_norm(accumulated["gradient"]) / weight
    metrics = loss.finalize(config, sums)
    finite = jnp.isfinite(norm) & jnp.isfinite(metrics["actor/loss"])
    use = finite & (sums["tokens"] > 0)
    params, opt_state = optimizer.apply_adamw(
        optimizer_config,
        state["params"],
        accumulated["gradient"],
        state["opt_state"],
        scale=optimizer.clip_scale(norm, optimizer_config.clip_norm) / weight,
        use=use,
    )
    new = {
        "params": params,
        "opt_state": opt_state,
        "step": state["step"] + use,
        "nonfinite": jnp.where(finite, 0, state["nonfinite"] + 1),
    }
    metrics |= {"actor/grad_norm": norm, "actor/lr": optimizer.learning_rate(optimizer_config, state["step"])}
    return new, metrics | {"actor/nonfinite": new["nonfinite"]}


def mean_metrics(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Metrics of several updates as one row: means; maxima where named so, and of the updates skipped in a row."""
    rows = jax.device_get(list(metrics))
    return {name: float((np.max if _is_maximum(name) else np.mean)([row[name] for row in rows])) for name in rows[0]}


def _is_maximum(name: str) -> bool:
    return name.endswith("_max") or name == "actor/nonfinite"
