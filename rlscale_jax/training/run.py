"""What a run holds while it runs: model, tokenizer, problems, reward pool, compiled programs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rlscale_jax.data.problems import Problem
from rlscale_jax.data.stream import ProblemStream
from rlscale_jax.evaluation import scoring
from rlscale_jax.experiment.config import Experiment, to_dict
from rlscale_jax.models import Architecture, Model, decoder
from rlscale_jax.rewards import RewardPool
from rlscale_jax.tokenizers import Tokenizer
from rlscale_jax.training import update
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
        """The state's weights as the sampler takes them."""
        return Model(self.architecture, state["params"])

    def update(self, state: dict[str, Any], collected: Collected) -> tuple[dict[str, Any], Row]:
        """All optimiser updates on one rollout batch."""
        raise NotImplementedError

    def evaluate(self, state: dict[str, Any], step: int) -> Iterator[scoring.Score]:
        """Scores of the held-out set, and of the further suites when they are due."""
        config = self.experiment.evaluation
        last = step in (0, self.experiment.num_steps)
        every = config.suites_every_steps
        for source, problems in self.suites.items():
            if source == "heldout" or last or (every and step % every == 0):
                yield scoring.score(
                    self.policy(state),
                    problems,
                    source=source,
                    tokenizer=self.tokenizer,
                    pool=self.pool,
                    config=config,
                    seed=self.experiment.seed,
                    step=step,
                )
