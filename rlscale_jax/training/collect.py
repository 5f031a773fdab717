"""One rollout batch: groups sampled from the policy, graded while the device goes on."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rlscale_jax import sampler
from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation import scoring
from rlscale_jax.evaluation.grading import Grading, Texts, Verdicts
from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Model
from rlscale_jax.rewards import RewardPool
from rlscale_jax.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Collected:
    """P prompts with G samples each, whose verdicts may still be under way: reading them waits, on all hosts alike."""

    problems: Sequence[Problem]
    prompts: list[list[int]]
    rollouts: sampler.Rollouts
    grading: Grading
    graded_by_user: bool  # by a verifier of the user's own, whose scores count as they are

    @property
    def verdicts(self) -> Verdicts:
        return self.grading.verdicts()

    @functools.cached_property
    def rewards(self) -> np.ndarray:
        """[P G] float32: 1 or 0, or the score of a user's own verifier."""
        values = [[v.score if self.graded_by_user else v.correct for v in row] for row in self.verdicts]
        return np.array(values, np.float32)

    def first_group(self) -> Texts:
        """The answers to the first prompt, on the first host."""
        texts = self.grading.texts(0)
        assert texts is not None, "the first host grades the first prompt"
        return texts


def collect(
    model: Model,
    problems: Sequence[Problem],
    experiment: Experiment,
    *,
    tokenizer: Tokenizer,
    pool: RewardPool,
    step: int,
    point: Callable[[], None],
) -> Collected:
    """Samples `grpo.group_size` completions of every prompt; each group's grading begins when its last one ends.

    `point` is called between the segments of the rollout; what it raises ends it.
    """
    sampling = experiment.sampling
    prompts = [tokenizer.render(problem.messages) for problem in problems]
    grading = Grading(problems, tokenizer=tokenizer, pool=pool)

    def between_segments(finished: sampler.Finished) -> None:
        point()
        grading.add(finished)

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
        between_segments=between_segments,
    )
    return Collected(
        problems=problems,
        prompts=prompts,
        rollouts=rollouts,
        grading=grading,
        graded_by_user=bool(experiment.data.verifier),
    )
