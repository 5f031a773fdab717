"""What a run holds while it runs: model, tokenizer, problems, reward pool, compiled programs."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from rlscale_jax import models, sampler, tokenizers
from rlscale_jax.data.problems import Problem, read_problems
from rlscale_jax.data.stream import ProblemStream
from rlscale_jax.evaluation import scoring
from rlscale_jax.experiment.config import Experiment, to_dict
from rlscale_jax.models import Architecture, Model, decoder
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
            raise FloatingPointError(f"{limit} updates in a row had a loss or gradient that is not finite")
        return state, {**merged, "perf/useful_tokens": batch.useful_token_fraction(minibatches)}

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
def opened(experiment: Experiment) -> Iterator[Run]:
    """Loads everything, checks that it fits together, and closes the reward pool at the end.

    Raises:
      ValueError: the data do not fill the steps asked for, or model and tokenizer do not belong together.
    """
    tokenizer = tokenizers.load(experiment.model.path)
    stream = _stream(experiment, tokenizer)
    suites = _suites(experiment)
    model = models.load_pretrained(experiment.model.path, dtype=jnp.dtype(experiment.model.param_dtype))
    if tokenizer.vocab_size > model.architecture.vocab_size:
        raise ValueError(
            f"{experiment.model.path}: the tokenizer has {tokenizer.vocab_size} tokens, "
            f"the model's embedding only {model.architecture.vocab_size}"
        )
    compute_dtype = jnp.dtype(experiment.model.compute_dtype)
    programs = update.build(model.architecture, experiment.grpo, experiment.optimizer, compute_dtype=compute_dtype)
    reference = jax.tree.map(lambda a: jnp.array(a, compute_dtype), model.params) if experiment.grpo.kl_coef else None
    with RewardPool(
        experiment.reward_workers,
        task_timeout_secs=experiment.reward_timeout_secs,
        verifier=experiment.data.verifier,
        allow_weak_sandbox=experiment.allow_weak_sandbox,
    ) as pool:
        yield Run(
            experiment=experiment,
            architecture=model.architecture,
            initial=model.params,
            reference=reference,
            tokenizer=tokenizer,
            stream=stream,
            suites=suites,
            pool=pool,
            programs=programs,
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
