"""This project's own rollout and update on a workload, as contenders for `measure`."""

import contextlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, workloads
from rlscale_jax.experiment.config import GrpoConfig, MeshConfig, OptimizerConfig
from rlscale_jax.models import Architecture, Model, decoder, runtime, sharding
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.sampler import RolloutStats, generate, lay_out
from rlscale_jax.training import batch, update


class Rollout:
    """Each call samples the whole workload with another seed."""

    def __init__(self, work: workloads.Rollout, config: MeshConfig):
        self.work, self.seed = work, 0
        self.stats: list[RolloutStats] = []  # of every call
        model = random_model(work.shape)
        if config.data * config.tensor > 1:
            placed = sharding.param_shardings(model.architecture, make_mesh(config))
            model = Model(model.architecture, jax.device_put(model.params, placed))
        self.model = lay_out(model, dtype=jnp.dtype(work.dtype), rows=work.num_prompts * work.num_samples)
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
        self.stats.append(rollouts.stats)

    def steps(self, secs: float) -> dict[str, float]:
        """What a rollout of `secs` consists of, what was compiled for it, and what it takes on an accelerator."""
        first, last = self.stats[0], self.stats[-1]
        told = {
            "secs_per_step": round(secs / last.num_steps, 6),
            "num_steps": last.num_steps,
            "num_row_steps": last.num_row_steps,
            "num_buckets": first.num_buckets,
            "num_compilations": first.num_compilations,
            "steady_compilations": sum(stats.num_compilations for stats in self.stats[1:]),
        }
        memory = jax.local_devices()[0].memory_stats() or {}
        peak = memory.get("peak_bytes_in_use")
        return told | ({"peak_device_gb": round(peak / 2**30, 3)} if peak else {})


class Update:
    """Each call does one whole step: rollout and reference where the workload has them, then the update.

    On several devices rows are split over them and every device holds all weights.
    """

    def __init__(self, work: workloads.Update):
        self.work, self.step = work, 0
        model = random_model(work.shape)
        self.config = grpo_config(work)
        self.architecture, dtype = model.architecture, jnp.dtype(work.dtype)
        self.programs = update.build(
            *(self.architecture, self.config, OptimizerConfig()),
            compute_dtype=dtype,
            **update.choices(self.architecture, dtype, platform=jax.default_backend()),
        )
        self.mesh = make_mesh(MeshConfig(data=-1, fsdp=1)) if jax.device_count() > 1 else None
        params = model.params
        if self.mesh is not None:
            params = jax.device_put(params, sharding.param_shardings(self.architecture, self.mesh))
        self.reference = jax.tree.map(jnp.copy, params) if work.with_rollout else None
        with self._on_mesh():
            self.state = self.programs.init_state(params)
        if self.config.remat == "none":
            runtime.keep_freed_memory(self.architecture.num_params * dtype.itemsize)
        self.rng = np.random.default_rng(0)

    def __call__(self) -> None:
        self.step += 1
        with self._on_mesh():
            minibatch = self._sampled() if self.work.with_rollout else [given(self.work, self.rng)]
            self.state, metrics = self.programs.update(self.state, minibatch)
        assert np.isfinite(metrics["actor/grad_norm"])
        jax.block_until_ready(self.state)

    def _on_mesh(self) -> contextlib.AbstractContextManager:
        return jax.set_mesh(self.mesh) if self.mesh is not None else contextlib.nullcontext()

    def _sampled(self) -> list[batch.RolloutBatch]:
        work = self.work
        prompts = _tokens(work, self.rng, work.num_prompts, work.prompt_tokens).tolist()
        rollouts = generate(
            Model(self.architecture, self.state["params"]),
            prompts,
            num_samples=work.num_samples,
            max_new_tokens=work.new_tokens,
            temperature=1.0,
            eos_ids=(),
            seed=self.step,
        )
        rewards = (rollouts.tokens % 2 == 0).mean(axis=-1)
        whole = batch.make_batch(rollouts, prompts, rewards, self.config)
        minibatch = batch.split(whole, self.config)[0]
        if self.mesh is not None:
            minibatch = [batch.place(micro, self.mesh) for micro in minibatch]
        return self.programs.with_logprobs([minibatch], ref_params=self.reference)[0]


def given(work: workloads.Update, rng: np.random.Generator) -> batch.RolloutBatch:
    """Tokens as they come: the prompt is a sequence's first token, the rest one completion of advantage 1."""
    completions = (work.num_prompts, 1)
    return batch.RolloutBatch(
        prompt_tokens=_tokens(work, rng, work.num_prompts, work.prompt_tokens),
        prompt_lengths=np.full(work.num_prompts, work.prompt_tokens, np.int32),
        completion_tokens=_tokens(work, rng, *completions, work.new_tokens),
        completion_lengths=np.full(completions, work.new_tokens, np.int32),
        advantages=np.ones(completions, np.float32),
        sampler_logprobs=np.zeros((*completions, work.new_tokens), np.float32),
        loss_mask=np.ones(completions, bool),
    )


def _tokens(work: workloads.Update, rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(3, work.shape.vocab_size, shape, dtype=np.int32)


def grpo_config(work: workloads.Rollout | workloads.Update) -> GrpoConfig:
    """Of a workload's one step; a rollout's has no update, and no reference."""
    with_rollout = isinstance(work, workloads.Update) and work.with_rollout
    remat = isinstance(work, workloads.Update) and work.remat
    for_gpu = work.dtype == "bfloat16"
    return GrpoConfig(
        prompts_per_step=work.num_prompts,
        group_size=work.num_samples,
        num_minibatches=1,
        kl_coef=0.001 if with_rollout else 0.0,
        remat=("dots" if for_gpu else "full") if remat else "none",
        unroll_layers=for_gpu,
        # logits are 0.6 MB a token; each chunk goes once through the head's gradient, of 0.9 GB in W7
        logprob_chunk_tokens=4096 if for_gpu else 256 if remat else 512,
    )


def random_model(shape: workloads.Shape) -> Model:
    """Random weights: speed does not depend on their values."""
    made = architecture(shape)
    return Model(made, jax.jit(decoder.init_params, static_argnums=(0, 1))(made, 0))


def architecture(shape: workloads.Shape) -> Architecture:
    return Architecture(
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


def started(name: str, config: MeshConfig | None = None) -> Rollout | Update:
    """A workload's contender in a process that has not used JAX yet, on all devices (of all hosts)."""
    if name in workloads.UPDATES:
        work = workloads.UPDATES[name]
        runtime.start(may_keep_memory=not work.remat, is_small=work.is_small)  # as `train` does
        return Update(work)
    runtime.start()
    return Rollout(workloads.ROLLOUTS[name], config or MeshConfig())


if __name__ == "__main__":
    measure.serve(started(sys.argv[1]))
