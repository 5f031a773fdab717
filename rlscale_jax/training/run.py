"""What a run holds while it runs: model, tokenizer, problems, reward pool, compiled programs."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rlscale_jax import models, sampler, tokenizers
from rlscale_jax.data.problems import Problem, read_problems
from rlscale_jax.data.stream import ProblemStream
from rlscale_jax.evaluation import scoring
from rlscale_jax.experiment.config import Experiment, to_dict
from rlscale_jax.models import Architecture, Model, decoder, splash
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.models.sharding import check_mesh
from rlscale_jax.rewards import RewardPool
from rlscale_jax.tokenizers import Tokenizer
from rlscale_jax.training import batch, update
from rlscale_jax.training.collect import Collected
from rlscale_jax.training.metrics import Row
from rlscale_jax.training.timing import Stopwatch


@dataclass(frozen=True, kw_only=True)
class Run:
    """The parts of one run. `reference` is the initial model's weights, None where no KL is paid."""

    experiment: Experiment
    architecture: Architecture
    initial: decoder.Params
    reference: decoder.Params | None
    tokenizer: Tokenizer
    stream: ProblemStream
    suites: dict[str, tuple[Problem, ...]]
    pool: RewardPool
    programs: update.Programs
    mesh: Mesh | None  # None: one device
    dump_path: pathlib.Path  # where a batch goes that the run stopped at
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def config_dict(self) -> dict[str, Any]:
        return to_dict(self.experiment)

    def initial_state(self) -> dict[str, Any]:
        return self.programs.init_state(self.initial)

    def policy(self, state: dict[str, Any]) -> Model:
        """The state's weights, cast and laid out for the sampler once for all that it generates with them."""
        dtype = jnp.dtype(self.experiment.model.compute_dtype)
        return sampler.lay_out(Model(self.architecture, state["params"]), dtype)

    def update(self, state: dict[str, Any], collected: Collected) -> tuple[dict[str, Any], Row]:
        """All optimiser updates on one rollout batch.

        Raises:
          FloatingPointError: `optimizer.max_nonfinite_steps` updates in a row were not finite.
        """
        config = self.experiment.grpo
        whole = batch.make_batch(collected.rollouts, collected.prompts, collected.rewards, config)
        minibatches = batch.split(whole, config)
        useful = batch.useful_token_fraction(minibatches)
        if self.mesh is not None:
            minibatches = [[batch.place(micro, self.mesh) for micro in minibatch] for minibatch in minibatches]
        with self.watch("old_log_prob"):
            old = state["params"] if config.num_minibatches > 1 else None
            minibatches = self.programs.with_logprobs(minibatches, old_params=old, ref_params=self.reference)
            jax.block_until_ready(minibatches)
        with self.watch("update_actor"):
            rows = []
            for minibatch in minibatches:
                state, row = self.programs.update(state, minibatch)
                rows.append(row)
            merged = update.mean_metrics(rows)
        limit = self.experiment.optimizer.max_nonfinite_steps
        if merged["actor/nonfinite"] >= limit:
            batch.dump(whole, self.dump_path)
            raise FloatingPointError(
                f"{limit} updates in a row had a loss or gradient that is not finite; the batch is in {self.dump_path}"
            )
        return state, {**merged, "perf/useful_tokens": useful}

    def evaluate(self, policy: Model, step: int) -> Iterator[scoring.Score]:
        """Scores of the held-out set, and of the further suites when they are due."""
        config = self.experiment.evaluation
        last = step in (0, self.experiment.num_steps)
        every = config.suites_every_steps
        for source, problems in self.suites.items():
            if source == "heldout" or last or (every and step % every == 0):
                yield scoring.score(
                    policy,
                    problems,
                    source=source,
                    tokenizer=self.tokenizer,
                    pool=self.pool,
                    config=config,
                    seed=self.experiment.seed,
                    step=step,
                )


@contextlib.contextmanager
def opened(experiment: Experiment, directory: pathlib.Path, devices: Sequence[Any] | None = None) -> Iterator[Run]:
    """Loads everything, checks that it fits together, and closes the reward pool at the end.

    `devices` (all, by default) are laid out as `experiment.mesh` says; the mesh is set while the run is open.

    Raises:
      ValueError: the data do not fill the steps asked for, or model and tokenizer do not belong together.
    """
    mesh = make_mesh(experiment.mesh, devices)
    mesh = mesh if mesh.size > 1 else None
    if mesh is not None:
        check_mesh(models.load_architecture(experiment.model.path), mesh)
    tokenizer = tokenizers.load(experiment.model.path)
    stream, suites = _stream(experiment, tokenizer), _suites(experiment)
    model = models.load_pretrained(experiment.model.path, dtype=jnp.dtype(experiment.model.param_dtype), mesh=mesh)
    _check_vocabulary(experiment.model.path, tokenizer, model.architecture)
    with jax.set_mesh(mesh) if mesh else contextlib.nullcontext(), _reward_pool(experiment) as pool:
        yield Run(
            experiment=experiment,
            architecture=model.architecture,
            initial=model.params,
            reference=_reference(model, experiment),
            tokenizer=tokenizer,
            stream=stream,
            suites=suites,
            pool=pool,
            programs=_programs(model.architecture, experiment),
            mesh=mesh,
            dump_path=directory / "nonfinite_batch.npz",
        )


def _programs(architecture: Architecture, experiment: Experiment) -> update.Programs:
    kernel = {"shared_prefix_attend": splash.shared_prefix_attend} if jax.default_backend() == "tpu" else {}
    dtype = jnp.dtype(experiment.model.compute_dtype)
    return update.build(architecture, experiment.grpo, experiment.optimizer, compute_dtype=dtype, **kernel)


def _reference(model: Model, experiment: Experiment) -> decoder.Params | None:
    """The initial weights once more in the compute dtype, as the trained ones are donated; None where no KL is paid."""
    if not experiment.grpo.kl_coef:
        return None
    dtype = jnp.dtype(experiment.model.compute_dtype)
    return jax.tree.map(lambda a: jnp.array(a, dtype, copy=True), model.params)


def _check_vocabulary(path: str, tokenizer: Tokenizer, architecture: Architecture) -> None:
    if tokenizer.vocab_size > architecture.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, "
            f"the model's embedding only {architecture.vocab_size}"
        )


def _reward_pool(experiment: Experiment) -> RewardPool:
    return RewardPool(
        experiment.reward_workers,
        task_timeout_secs=experiment.reward_timeout_secs,
        verifier=experiment.data.verifier,
        allow_weak_sandbox=experiment.allow_weak_sandbox,
    )


def _stream(experiment: Experiment, tokenizer: Tokenizer) -> ProblemStream:
    stream = ProblemStream(
        read_problems(experiment.data.train),
        experiment.data,
        prompts_per_step=experiment.grpo.prompts_per_step,
        seed=experiment.seed,
        token_length=lambda problem: len(tokenizer.render(problem.messages)),
    )
    if stream.num_steps < experiment.num_steps:
        raise ValueError(
            f"num_steps = {experiment.num_steps}, but {stream.num_items} problems, {experiment.grpo.prompts_per_step} "
            f"a step, fill only {stream.num_steps} steps; lower num_steps or raise data.reuse_factor"
        )
    return stream


def _suites(experiment: Experiment) -> dict[str, tuple[Problem, ...]]:
    """Problem sets by name: the held-out set first, then `evaluation.suites`."""
    paths = {"heldout": experiment.data.heldout}
    for entry in filter(None, experiment.evaluation.suites.split(",")):
        name, separator, path = entry.partition("=")
        if not separator:
            raise ValueError(f"evaluation.suites: {entry!r} is not name=path")
        paths[name] = path
    return {name: read_problems(path) for name, path in paths.items()}
