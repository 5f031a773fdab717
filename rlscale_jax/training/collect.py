"""One rollout batch: groups sampled from the policy, decoded, graded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlscale_jax import sampler
from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation import scoring
from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Model
from rlscale_jax.rewards import RewardPool, Verdict
from rlscale_jax.tokenizers import Tokenizer
from rlscale_jax.training.timing import Stopwatch


@dataclass(frozen=True, kw_only=True)
class Collected:
    """P prompts with G graded samples each."""

    problems: Sequence[Problem]
    prompts: list[list[int]]
    rollouts: sampler.Rollouts
    responses: tuple[tuple[str, ...], ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    graded_by_user: bool  # by a verifier of the user's own, whose scores count as they are

    @property
    def rewards(self) -> np.ndarray:
        """[P G] float32: 1 or 0, or the score of a user's own verifier."""
        values = [[v.score if self.graded_by_user else v.correct for v in row] for row in self.verdicts]
        return np.array(values, np.float32)


def collect(
    model: Model,
    problems: Sequence[Problem],
    experiment: Experiment,
    *,
    tokenizer: Tokenizer,
    pool: RewardPool,
    step: int,
    watch: Stopwatch,
) -> Collected:
    """Samples `grpo.group_size` completions of every prompt and grades them."""
    sampling = experiment.sampling
    prompts = [tokenizer.render(problem.messages) for problem in problems]
    with watch("gen"):
        rollouts = sampler.generate(
            model,
            prompts,
            num_samples=experiment.grpo.group_size,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            wave_sequences=sampling.wave_sequences,
            eos_ids=tokenizer.eos_ids,
            seed=experiment.seed,
            step=step,
            prompt_ids=scoring.prompt_ids(problems),
        )
    with watch("reward"):
        responses = scoring.decode(tokenizer, rollouts)
        verdicts = scoring.grade(pool, problems, responses)
    return Collected(
        problems=problems,
        prompts=prompts,
        rollouts=rollouts,
        responses=responses,
        verdicts=verdicts,
        graded_by_user=bool(experiment.data.verifier),
    )
