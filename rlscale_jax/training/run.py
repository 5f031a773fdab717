"""What a run holds while it runs: model, tokenizer, problems, reward pool, compiled programs."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rlscale_jax import models, sampler, tokenizers
from rlscale_jax.data.problems import Problem
from rlscale_jax.data.stream import ProblemStream
from rlscale_jax.evaluation import scoring
from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture, Model, decoder, hosts
from rlscale_jax.models import devices as devices_at_hand
from rlscale_jax.models.fingerprint import fingerprint
from rlscale_jax.models.mesh import make_mesh
from rlscale_jax.models.sharding import check_mesh
from rlscale_jax.rewards import RewardPool
from rlscale_jax.tokenizers import Tokenizer
from rlscale_jax.training import batch, problem_sets, update
from rlscale_jax.training.collect import Collected, collect
from rlscale_jax.training.metrics import Row
from rlscale_jax.training.timing import Stopwatch

Scored = list[list[tuple[batch.Array | None, batch.Array | None]]]  # (old, reference) log-probabilities per micro-batch


@dataclass(frozen=True, kw_only=True)
class Run:
    """The parts of one run. `reference` is the initial model's weights, None where no KL is paid."""

    experiment: Experiment
    architecture: Architecture
    load_initial: Callable[[], decoder.Params]
    initial_fingerprint: str
    reference: decoder.Params | None
    tokenizer: Tokenizer
    stream: ProblemStream
    suites: dict[str, tuple[Problem, ...]]
    pool: RewardPool
    programs: update.Programs
    mesh: Mesh | None  # None: one device
    dump_path: pathlib.Path  # where a batch goes that the run stopped at
    peak_flops: float  # of all devices together, per second
    point: Callable[[], None]  # called where the run may be left; raises if it shall be
    watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def num_bytes(self) -> int:
        """Of the weights that are trained, on all devices together."""
        return self.architecture.num_params * jnp.dtype(self.experiment.model.param_dtype).itemsize

    def initial_state(self) -> dict[str, Any]:
        """The initial model with an optimiser's state at zero."""
        return self.programs.init_state(self.load_initial())

    def policy(self, state: dict[str, Any]) -> Model:
        """The state's weights, cast and laid out for the sampler once for all that it generates with them."""
        dtype = jnp.dtype(self.experiment.model.compute_dtype)
        return sampler.lay_out(Model(self.architecture, state["params"]), dtype)

    def collect(self, policy: Model, step: int) -> Collected:
        """The rollouts of a step, counted from 1, their grading begun."""
        problems = self.stream.take(step - 1)
        config = self.experiment
        with self.watch("gen"):
            return collect(
                policy, problems, config, tokenizer=self.tokenizer, pool=self.pool, step=step, point=self.point
            )

    def score(self, state: dict[str, Any], collected: Collected) -> Scored:
        """Old and reference log-probabilities of every micro-batch: device work that needs no rewards.

        Only where groups without signal are dropped does the cut into micro-batches depend on the rewards; there they
        are waited for.
        """
        config = self.experiment.grpo
        rewards = np.zeros(collected.rollouts.lengths.shape, np.float32)
        if config.drop_zero_variance:
            rewards = self._rewards(collected)
        minibatches = self._placed(self._minibatches(collected, rewards))
        programs = self.programs
        old, ref = minibatches, minibatches
        with self.watch("old_log_prob"):
            if config.num_minibatches > 1:
                old = jax.block_until_ready(programs.with_logprobs(minibatches, old_params=state["params"]))
        with self.watch("ref"):
            if self.reference is not None:
                ref = jax.block_until_ready(programs.with_logprobs(minibatches, ref_params=self.reference))
        return [
            [(a.old_logprobs, b.ref_logprobs) for a, b in zip(*pair, strict=True)]
            for pair in zip(old, ref, strict=True)
        ]

    def update(self, state: dict[str, Any], collected: Collected, scored: Scored) -> tuple[dict[str, Any], Row]:
        """All optimiser updates on one rollout batch.

        Raises:
          FloatingPointError: `optimizer.max_nonfinite_steps` updates in a row were not finite.
        """
        rewards = self._rewards(collected)
        with self.watch("adv"):
            host = self._minibatches(collected, rewards)
            minibatches = [
                [
                    dataclasses.replace(micro, old_logprobs=old, ref_logprobs=ref)
                    for micro, (old, ref) in zip(minibatch, logprobs, strict=True)
                ]
                for minibatch, logprobs in zip(self._placed(host), scored, strict=True)
            ]
        with self.watch("update_actor"):
            rows = []
            for minibatch in minibatches:
                state, row = self.programs.update(state, minibatch)
                rows.append(row)
            rows = jax.device_get(rows)
        self._guard([int(row["actor/nonfinite"]) for row in rows], collected, rewards)
        skipped = sum(row["actor/nonfinite"] > 0 for row in rows)
        row = update.mean_metrics(rows) | {"actor/skipped_updates": float(skipped)}
        return state, row | {"perf/useful_tokens": batch.useful_token_fraction(host)}

    def _guard(self, nonfinite: Sequence[int], collected: Collected, rewards: np.ndarray) -> None:
        """Stops a run whose updates are all skipped; `nonfinite` are the skips in a row after each update."""
        limit = self.experiment.optimizer.max_nonfinite_steps
        if max(nonfinite) < limit:
            return
        if hosts.is_first():
            whole = batch.make_batch(collected.rollouts, collected.prompts, rewards, self.experiment.grpo)
            batch.dump(whole, self.dump_path)
        raise FloatingPointError(
            f"{limit} updates in a row had a loss or gradient that is not finite; the batch is in {self.dump_path}"
        )

    def _rewards(self, collected: Collected) -> np.ndarray:
        with self.watch("reward"):
            return collected.rewards

    def _minibatches(self, collected: Collected, rewards: np.ndarray) -> list[list[batch.RolloutBatch]]:
        config = self.experiment.grpo
        return batch.split(batch.make_batch(collected.rollouts, collected.prompts, rewards, config), config)

    def _placed(self, minibatches: list[list[batch.RolloutBatch]]) -> list[list[batch.RolloutBatch]]:
        if self.mesh is None:
            return minibatches
        return [[batch.place(micro, self.mesh) for micro in minibatch] for minibatch in minibatches]

    def evaluate(self, policy: Model, step: int) -> list[scoring.Score]:
        """Scores of the held-out set, and of the further suites when they are due; one is graded as the next begins."""
        config, wave = self.experiment.evaluation, self.experiment.sampling.wave_sequences
        last = step in (0, self.experiment.num_steps)
        every = config.suites_every_steps
        scorer = scoring.Scorer(
            model=policy,
            tokenizer=self.tokenizer,
            pool=self.pool,
            config=config,
            seed=self.experiment.seed,
            step=step,
            wave_sequences=wave and max(wave, config.num_samples),  # groups enter whole
            point=self.point,
        )
        with self.watch("testing"):
            pending = [
                scorer.start(problems, source=source)
                for source, problems in self.suites.items()
                if source == "heldout" or last or (every and step % every == 0)
            ]
            with self.watch("testing_reward"):
                return [one.result() for one in pending]


@contextlib.contextmanager
def opened(
    experiment: Experiment,
    directory: pathlib.Path,
    devices: Sequence[Any] | None = None,
    *,
    point: Callable[[], None] = lambda: None,
) -> Iterator[Run]:
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
    stream = problem_sets.training_stream(experiment, tokenizer)
    suites = problem_sets.evaluation_sets(experiment, tokenizer)
    load = functools.partial(
        models.load_pretrained, experiment.model.path, dtype=jnp.dtype(experiment.model.param_dtype), mesh=mesh
    )
    model = load()
    _check_vocabulary(experiment.model.path, tokenizer, model.architecture)
    peak = devices_at_hand.peak_flops()
    with jax.set_mesh(mesh) if mesh else contextlib.nullcontext(), _reward_pool(experiment) as pool:
        yield Run(
            experiment=experiment,
            architecture=model.architecture,
            load_initial=_once_then(model.params, lambda: load().params),
            initial_fingerprint=fingerprint(model.params),
            reference=_reference(model, experiment),
            tokenizer=tokenizer,
            stream=stream,
            suites=suites,
            pool=pool,
            programs=update.build_for(model.architecture, experiment, platform=jax.default_backend()),
            mesh=mesh,
            dump_path=directory / "nonfinite_batch.npz",
            peak_flops=peak,
            point=point,
        )


def _once_then(first: decoder.Params, load: Callable[[], decoder.Params]) -> Callable[[], decoder.Params]:
    """Hands out what is loaded already, to be donated, and after that loads anew."""
    waiting = [first]
    return lambda: waiting.pop() if waiting else load()


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
