"""The programs of one iteration of a run, with the arrays they take on a slice and how often they run.

These are the run's own jitted functions; only shapes and shardings are made here. Every array has its full width
(prompts and completions at the config's limits): what fits here fits always.
"""

import contextlib
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rlscale_jax.experiment.config import Experiment, MeshConfig
from rlscale_jax.models import Architecture, splash
from rlscale_jax.models.mesh import make_mesh, ways
from rlscale_jax.planning import shapes
from rlscale_jax.sampler import engine, schedule
from rlscale_jax.sampler import programs as sampler
from rlscale_jax.sampler.choice import method_and_parameters
from rlscale_jax.training import update


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A jitted function to compile, and the bytes on a device that are held beside its arguments while it runs."""

    name: str
    function: Any
    args: tuple
    static: dict[str, Any] = dataclasses.field(default_factory=dict)
    mesh: Mesh
    runs: float  # per iteration
    loop_steps: int = 1  # of a while loop whose length the compiler does not know
    held: dict[str, int] = dataclasses.field(default_factory=dict)  # name -> bytes a device

    def trace(self):
        with jax.set_mesh(self.mesh) if not self.mesh.empty else contextlib.nullcontext():
            return self.function.trace(*self.args, **self.static)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """The choices of a plan: the trainer's mesh, the sampler's, and how many sequences decode at a time."""

    trainer: Mesh
    sampler: Mesh
    wave_sequences: int

    @property
    def name(self) -> str:
        def sizes(mesh: Mesh) -> str:
            return "x".join(str(mesh.shape[axis]) for axis in ("data", "fsdp", "tensor"))

        return f"train {sizes(self.trainer)}, sample {sizes(self.sampler)}, waves of {self.wave_sequences}"


def layout(experiment: Experiment, architecture: Architecture, devices: list, *, sampler_tensor: int = 0) -> Layout:
    """The config's mesh for training; for sampling as few-way tensor parallel as the weights allow, the rest data.

    Raises:
      ValueError: a mesh that does not fit the slice or the model, or groups that do not divide over it.
    """
    trainer = make_mesh(experiment.mesh, devices)
    tensor = sampler_tensor or max(trainer.shape["tensor"], 1)
    own = make_mesh(MeshConfig(data=len(devices) // tensor, fsdp=1, tensor=tensor), devices)
    samples, groups = experiment.grpo.group_size, experiment.grpo.prompts_per_step
    wave = experiment.sampling.wave_sequences or groups * samples
    _check(experiment, trainer, own, wave)
    return Layout(trainer=trainer, sampler=own, wave_sequences=wave)


def _check(experiment: Experiment, trainer: Mesh, own: Mesh, wave: int) -> None:
    micro = micro_prompts(experiment)
    if micro % ways(trainer, "batch"):
        raise ValueError(
            f"a micro-batch of {micro} prompts does not divide over data*fsdp={ways(trainer, 'batch')}; "
            "set --config.mesh.tensor (a group is not split over fsdp) or --config.grpo.micro_batch_prompts"
        )
    units = wave // experiment.grpo.group_size
    if wave % experiment.grpo.group_size or units % own.shape["data"]:
        raise ValueError(
            f"--config.sampling.wave_sequences={wave} is {wave / experiment.grpo.group_size:g} groups, which do not "
            f"divide over the sampler's data={own.shape['data']}"
        )


def micro_prompts(experiment: Experiment) -> int:
    grpo = experiment.grpo
    return grpo.micro_batch_prompts or grpo.prompts_per_step // grpo.num_minibatches


def training(experiment: Experiment, architecture: Architecture, plan: Layout) -> list[Program]:
    """Log-probability passes and updates."""
    grpo, mesh = experiment.grpo, plan.trainer
    compute = jnp.dtype(experiment.model.compute_dtype)
    attend = splash.shared_prefix_attend if _is_tpu(mesh) else None
    built = update.build(
        architecture,
        grpo,
        experiment.optimizer,
        compute_dtype=compute,
        **({"shared_prefix_attend": attend} if attend else {}),
    )
    master = shapes.params(architecture, mesh, jnp.dtype(experiment.model.param_dtype))
    state = shapes.opt_state(built, master, mesh)
    batch = functools.partial(shapes.batch, experiment, mesh, micro_prompts(experiment))
    multiple = grpo.num_minibatches > 1
    full = batch(old=multiple, ref=grpo.kl_coef > 0)
    reference = shapes.device_bytes(shapes.params(architecture, mesh, compute)) if grpo.kl_coef > 0 else 0
    moments = shapes.device_bytes(state["opt_state"])
    weights = {"weights": shapes.device_bytes(master)}
    of = functools.partial(Program, mesh=mesh)
    micros = grpo.prompts_per_step // micro_prompts(experiment)
    held = {"optimiser": moments, "reference": reference}
    passes = [
        of(name="logprobs", function=built.logprobs, args=(master, batch(old=False, ref=False)), runs=0, held=held)
    ]
    passes[0] = dataclasses.replace(passes[0], runs=micros * (multiple + (grpo.kl_coef > 0)))
    if micros == grpo.num_minibatches:
        one = of(name="step", function=built.step, args=(state, full), runs=micros, held={"reference": reference})
        return [*passes, one]
    sums = shapes.replicated(jax.eval_shape(built.start, shapes._bare(master))["sums"], mesh)
    accumulated = {"gradient": master, "sums": sums}
    return [
        *passes,
        of(name="accumulate", function=built.accumulate, args=(master, accumulated, full), runs=micros, held=held),
        of(
            name="apply",
            function=built.apply,
            args=(state, accumulated),
            runs=grpo.num_minibatches,
            held={"reference": reference},
        ),
    ]


def sampling(experiment: Experiment, architecture: Architecture, plan: Layout) -> list[Program]:
    """Weights for decoding, then one wave: prefill of all its prompts, and its longest segment of steps."""
    mesh, compute = plan.sampler, jnp.dtype(experiment.model.compute_dtype)
    samples, slots = experiment.grpo.group_size, experiment.data.max_prompt_tokens
    units = plan.wave_sequences // samples
    waves = experiment.grpo.prompts_per_step / units
    weights = shapes.sampler_params(architecture, mesh, compute)
    steps = engine.SEGMENT_STEPS
    longest = schedule.bucket(experiment.sampling.max_new_tokens - steps, steps)
    method, parameters = method_and_parameters(
        experiment.sampling.temperature, experiment.sampling.top_k, experiment.sampling.top_p
    )
    parameters = shapes.replicated(jax.eval_shape(lambda: parameters), mesh)
    chunk = prefill_prompts(experiment, plan)
    place = shapes.batch_sharding(mesh)
    prompts = shapes.array((chunk, slots), jnp.int32, place)
    lengths = shapes.array((units,), jnp.int32, place)
    keys = shapes.array((chunk, samples, 2), jnp.uint32, place)
    eos = shapes.replicated(jax.ShapeDtypeStruct((2,), jnp.int32), mesh)
    prefix = shapes.cache(architecture, mesh, units, slots, compute)
    history = shapes.cache(architecture, mesh, plan.wave_sequences, longest, compute)
    recent = shapes.cache(architecture, mesh, plan.wave_sequences, steps, compute)
    ages = shapes.array((plan.wave_sequences,), jnp.int32, place)
    held = resident(experiment, architecture, plan)
    num_segments = math.ceil(experiment.sampling.max_new_tokens / steps)
    of = functools.partial(Program, mesh=mesh)
    sizes = {name: shapes.device_bytes(tree) for name, tree in (("prefix", prefix), ("weights", weights))}
    return [
        of(
            name="prefill",
            function=sampler.prefill,
            args=(architecture, method, weights, parameters, prompts, lengths_of(lengths, chunk), keys),
            runs=waves * units / chunk,
            held={**held, "prefix": sizes["prefix"]},
        ),
        of(
            name="segment",
            function=sampler.segment,
            args=(
                architecture,
                method,
                steps,
                weights,
                parameters,
                eos,
                lengths,
                prefix,
                history,
                shapes.rows(mesh, plan.wave_sequences),
            ),
            runs=waves * num_segments,
            loop_steps=steps,
            held=held,
        ),
        of(
            name="fold",
            function=sampler.fold,
            args=(history, recent, ages),
            static={"slots": longest},
            runs=waves * num_segments,
            held={**held, "sampler weights": sizes["weights"], "prefix": sizes["prefix"]},
        ),
    ]


def lengths_of(lengths: jax.ShapeDtypeStruct, num_prompts: int) -> jax.ShapeDtypeStruct:
    return shapes.array((num_prompts,), lengths.dtype, lengths.sharding)


def prefill_prompts(experiment: Experiment, plan: Layout) -> int:
    """Prompts that are prefilled together: at least one on each of the sampler's data shards."""
    units = plan.wave_sequences // experiment.grpo.group_size
    wanted = max(engine.PREFILL_TOKENS // experiment.data.max_prompt_tokens, plan.sampler.shape["data"])
    return math.gcd(units, wanted) if units % wanted else wanted


def resident(experiment: Experiment, architecture: Architecture, plan: Layout) -> dict[str, int]:
    """Bytes on a device that training keeps throughout: master weights, moments, reference."""
    master = shapes.params(architecture, plan.trainer, jnp.dtype(experiment.model.param_dtype))
    size = shapes.device_bytes(master)
    reference = shapes.params(architecture, plan.trainer, jnp.dtype(experiment.model.compute_dtype))
    held = {"weights": size, "optimiser": 2 * size}
    return held | ({"reference": shapes.device_bytes(reference)} if experiment.grpo.kl_coef > 0 else {})


def resharding(experiment: Experiment, architecture: Architecture, plan: Layout) -> Program:
    """The trainer's weights cast and moved to where the sampler wants them, one jitted program."""
    compute = jnp.dtype(experiment.model.compute_dtype)
    target = jax.tree.map(lambda a: a.sharding, shapes.sampler_params(architecture, plan.sampler, compute))
    move = jax.jit(lambda params: sampler.lay_out(params, dtype=compute), out_shardings=target)
    master = shapes.params(architecture, plan.trainer, jnp.dtype(experiment.model.param_dtype))
    held = {k: v for k, v in resident(experiment, architecture, plan).items() if k != "weights"}
    return Program(name="reshard", function=move, args=(master,), mesh=plan.trainer, runs=1, held=held)


def _is_tpu(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == "tpu"
