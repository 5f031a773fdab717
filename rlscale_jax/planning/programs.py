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

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture
from rlscale_jax.models.mesh import for_sampling, make_mesh, ways
from rlscale_jax.planning import shapes
from rlscale_jax.sampler import engine, schedule
from rlscale_jax.sampler import programs as sampler
from rlscale_jax.sampler.choice import method_and_parameters
from rlscale_jax.training import update


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A jitted function to compile; bytes on a device of its arguments by name, and of what is held beside them."""

    name: str
    function: Any
    args: tuple
    static: dict[str, Any] = dataclasses.field(default_factory=dict)
    mesh: Mesh
    runs: float  # per iteration
    loop_steps: int = 1  # of a while loop whose length the compiler does not know
    options: dict[str, str] | None = None  # the compiler's, that `function` has with it
    named: dict[str, int] = dataclasses.field(default_factory=dict)  # arguments
    held: dict[str, int] = dataclasses.field(default_factory=dict)

    def trace(self):
        with jax.set_mesh(self.mesh) if not self.mesh.empty else contextlib.nullcontext():
            return self.function.trace(*self.args, **self.static)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """The choices of a plan: the trainer's mesh, and how many sequences decode at a time.

    The sampler has other shardings, weights whole along `embed` and split over `tensor`, sequences over the rest, on
    the same mesh or on one that splits `tensor` further. `resharding` moves them.
    """

    mesh: Mesh
    wave_sequences: int

    @functools.cached_property
    def sampler_mesh(self) -> Mesh:
        return for_sampling(self.mesh)

    @property
    def name(self) -> str:
        sampler = f", sampler {_sizes(self.sampler_mesh)}" if self.sampler_mesh != self.mesh else ""
        return f"mesh {_sizes(self.mesh)}{sampler}, waves of {self.wave_sequences}"


def _sizes(mesh: Mesh) -> str:
    """Data x fsdp x tensor."""
    tensor, batch = mesh.shape["tensor"], ways(mesh, "batch")
    return f"{mesh.shape['data']}x{batch // mesh.shape['data']}x{tensor}"


def layout(experiment: Experiment, devices: list) -> Layout:
    """The config's mesh over these devices, and its waves.

    Raises:
      ValueError: a mesh that does not fit the slice, or groups that do not divide over it.
    """
    mesh = make_mesh(experiment.mesh, devices)
    samples = experiment.grpo.group_size
    wave = experiment.sampling.wave_sequences or experiment.grpo.prompts_per_step * samples
    shards = ways(for_sampling(mesh), "batch")
    shapes.group_rows(experiment, mesh, micro_prompts(experiment))
    if wave % samples or (wave // samples) % shards:
        raise ValueError(
            f"--config.sampling.wave_sequences={wave} is {wave / samples:g} groups of {samples}, which do not divide "
            f"over the sampler's data*fsdp={shards}"
        )
    return Layout(mesh=mesh, wave_sequences=wave)


def micro_prompts(experiment: Experiment) -> int:
    grpo = experiment.grpo
    return grpo.micro_batch_prompts or grpo.prompts_per_step // grpo.num_minibatches


def training(experiment: Experiment, architecture: Architecture, plan: Layout) -> list[Program]:
    """Log-probability passes (old and reference) and updates, at full width."""
    grpo, mesh = experiment.grpo, plan.mesh
    built = update.build_for(architecture, experiment, platform=mesh.devices.flat[0].platform)
    master = shapes.params(architecture, mesh, jnp.dtype(experiment.model.param_dtype))
    state = shapes.opt_state(built, master, mesh)
    has_old, has_ref = grpo.num_minibatches > 1, grpo.kl_coef > 0
    batch = functools.partial(shapes.batch, experiment, mesh, micro_prompts(experiment))
    full = batch(old=has_old, ref=has_ref)
    micros = grpo.prompts_per_step // micro_prompts(experiment)
    resident_bytes = resident(experiment, architecture, plan)
    beside = {name: size for name, size in resident_bytes.items() if name != "weights"}
    reference = {name: size for name, size in beside.items() if name == "reference"}
    weights = {"weights": resident_bytes["weights"]}
    all_state = weights | {"optimiser": resident_bytes["optimiser"]}
    gradients = {"gradient": resident_bytes["weights"]}
    of = functools.partial(Program, mesh=mesh)
    model = functools.partial(of, options=built.compiler_options)
    scored = model(
        name="logprobs",
        function=built.logprobs,
        args=(master, batch(old=False, ref=False)),
        runs=micros * (has_old + has_ref),
        named=weights,
        held=beside,
    )
    if micros == grpo.num_minibatches:
        step = model(name="step", function=built.step, args=(state, full), runs=micros, named=all_state, held=reference)
        return [scored, step]
    sums = shapes.replicated(jax.eval_shape(built.start, shapes.bare(master))["sums"], mesh)
    gradient = {"gradient": master, "sums": sums}
    accumulate = model(
        name="accumulate",
        function=built.accumulate,
        args=(master, gradient, full),
        runs=micros,
        named=weights | gradients,
        held=beside,
    )
    apply = of(
        name="apply",
        function=built.apply,
        args=(state, gradient),
        runs=grpo.num_minibatches,
        named=all_state | gradients,
        held=reference,
    )
    return [scored, accumulate, apply]


def sampling(experiment: Experiment, architecture: Architecture, plan: Layout) -> list[Program]:
    """One wave: prefill of its prompts, its longest segment of steps, and the fold of that segment into the history."""
    mesh, steps, slots = plan.sampler_mesh, engine.SEGMENT_STEPS, experiment.data.max_prompt_tokens
    samples, rows = experiment.grpo.group_size, plan.wave_sequences
    waves = experiment.grpo.prompts_per_step * samples / rows
    longest = schedule.bucket(experiment.sampling.max_new_tokens - steps, steps)
    num_segments = math.ceil(experiment.sampling.max_new_tokens / steps)
    compute = jnp.dtype(experiment.model.compute_dtype)
    caches = functools.partial(shapes.cache, architecture, mesh, dtype=compute)
    prefix, history = caches(num_rows=rows // samples, slots=slots), caches(num_rows=rows, slots=longest)
    weights = shapes.sampler_params(architecture, mesh, compute)
    method, parameters = _sampling_method(experiment, mesh)
    ints = functools.partial(shapes.array, dtype=jnp.int32, place=shapes.batch_sharding(mesh))
    chunk = prefill_prompts(experiment, plan)
    keys = shapes.array((chunk, samples, 2), jnp.uint32, shapes.batch_sharding(mesh))
    eos = shapes.replicated(jax.ShapeDtypeStruct((2,), jnp.int32), mesh)
    held = resident(experiment, architecture, plan)
    prompt_cache = {"prompt cache": shapes.device_bytes(prefix)}
    own_cache = {"cache": shapes.device_bytes(history)}
    own_weights = {"sampler weights": shapes.device_bytes(weights)}
    of = functools.partial(Program, mesh=mesh)
    fixed = (architecture, method)
    return [
        of(
            name="prefill",
            function=sampler.prefill,
            args=(*fixed, weights, parameters, ints((chunk, slots)), ints((chunk,)), keys),
            runs=waves * (rows // samples) / chunk,
            named=own_weights,
            held=held | prompt_cache,
        ),
        of(
            name="segment",
            function=sampler.segment,
            args=(
                *(*fixed, steps, weights, parameters, eos, ints((rows // samples,))),
                *(prefix, history, shapes.rows(mesh, rows)),
            ),
            runs=waves * num_segments,
            loop_steps=steps,
            named=own_weights | prompt_cache | own_cache,
            held=held,
        ),
        of(
            name="fold",
            function=sampler.fold,
            args=(history[0], caches(num_rows=rows, slots=steps)[0], ints((rows,))),
            static={"slots": longest},
            runs=waves * num_segments * architecture.num_layers,
            held=held | prompt_cache | own_weights | own_cache,
        ),
    ]


def _sampling_method(experiment: Experiment, mesh: Mesh):
    config = experiment.sampling
    method, parameters = method_and_parameters(config.temperature, config.top_k, config.top_p)
    return method, shapes.replicated(jax.eval_shape(lambda: parameters), mesh)


def prefill_prompts(experiment: Experiment, plan: Layout) -> int:
    """Prompts that are prefilled together: at least one on each of the sampler's data shards."""
    units = plan.wave_sequences // experiment.grpo.group_size
    wanted = max(engine.PREFILL_TOKENS // experiment.data.max_prompt_tokens, ways(plan.sampler_mesh, "batch"))
    return math.gcd(units, wanted) if units % wanted else wanted


def resident(experiment: Experiment, architecture: Architecture, plan: Layout) -> dict[str, int]:
    """Bytes on a device that training keeps throughout: master weights, moments, reference."""
    master = shapes.params(architecture, plan.mesh, jnp.dtype(experiment.model.param_dtype))
    size = shapes.device_bytes(master)
    reference = shapes.params(architecture, plan.mesh, jnp.dtype(experiment.model.compute_dtype))
    held = {"weights": size, "optimiser": 2 * size}
    return held | ({"reference": shapes.device_bytes(reference)} if experiment.grpo.kl_coef > 0 else {})


def resharding(experiment: Experiment, architecture: Architecture, plan: Layout) -> list[Program]:
    """The trainer's weights cast and moved to where the sampler wants them: layer by layer, then what is no layer."""
    compute = jnp.dtype(experiment.model.compute_dtype)
    master = shapes.params(architecture, plan.mesh, jnp.dtype(experiment.model.param_dtype))
    target = shapes.sampler_params(architecture, plan.sampler_mesh, compute)
    held = resident(experiment, architecture, plan)
    weights = {"weights": held.pop("weights")}
    ends = {name: part for name, part in master.items() if name != "layers"}
    index = shapes.replicated(jax.ShapeDtypeStruct((), jnp.int32), plan.sampler_mesh)
    trained_on = plan.mesh if plan.mesh != plan.sampler_mesh else None
    static = {"dtype": compute, "trained_on": trained_on}
    of = functools.partial(Program, mesh=plan.sampler_mesh, static=static, named=weights)
    return [
        of(
            name="reshard",
            function=sampler.lay_out_layer,
            args=(master["layers"], index),
            runs=architecture.num_layers,
            held=held | {"sampler weights": shapes.device_bytes(target["layers"][1:])},
        ),
        of(
            name="reshard ends",
            function=sampler.lay_out_arrays,
            args=(ends,),
            runs=1,
            held=held | {"sampler weights": shapes.device_bytes(target["layers"])},
        ),
    ]
