"""Scores a model on a problem set: one sampled answer (or n) to each problem, graded, with its error.

The same function evaluates during training and in `python -m rlscale_jax.evaluate`.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlscale_jax import sampler
from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation import statistics
from rlscale_jax.experiment.config import EvaluationConfig
from rlscale_jax.models import Model
from rlscale_jax.rewards import RewardPool, Verdict
from rlscale_jax.tokenizers import Tokenizer

_SEED_OFFSET = 1_000_003  # evaluation draws must not repeat the draws of the training rollouts of that step


@dataclass(frozen=True, kw_only=True)
class Score:
    """Outcomes of Q problems with n samples each."""

    source: str
    problem_ids: tuple[str, ...]
    responses: tuple[tuple[str, ...], ...]  # [Q][n]
    verdicts: tuple[tuple[Verdict, ...], ...]  # [Q][n]
    lengths: np.ndarray  # [Q n] tokens, the eos included
    truncated: np.ndarray  # [Q n] True where the answer met the length limit

    @property
    def correct(self) -> np.ndarray:
        """[Q n] bool."""
        return np.array([[verdict.correct for verdict in row] for row in self.verdicts])

    @property
    def test_loss(self) -> float:
        return statistics.test_loss(self.correct)

    @property
    def test_loss_se(self) -> float:
        return statistics.standard_error(self.correct)

    def status_rates(self) -> dict[str, float]:
        """Share of the responses with each status that occurs."""
        counts = Counter(verdict.status for row in self.verdicts for verdict in row)
        return {status: count / self.correct.size for status, count in sorted(counts.items())}


def prompt_id(problem: Problem) -> int:
    """A number that stands for a problem in random draws, the same wherever and in whatever order it is used."""
    return zlib.crc32(problem.problem_id.encode())


def score(
    model: Model,
    problems: Sequence[Problem],
    *,
    source: str,
    tokenizer: Tokenizer,
    pool: RewardPool,
    config: EvaluationConfig,
    seed: int,
    step: int,
) -> Score:
    """Samples and grades `config.num_samples` answers to every problem."""
    rollouts = sampler.generate(
        model,
        [tokenizer.render(problem.messages) for problem in problems],
        num_samples=config.num_samples,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        eos_ids=tokenizer.eos_ids,
        seed=seed + _SEED_OFFSET,
        step=step,
        prompt_ids=[prompt_id(problem) for problem in problems],
    )
    responses = decode(tokenizer, rollouts)
    verdicts = grade(pool, problems, responses)
    return Score(
        source=source,
        problem_ids=tuple(problem.problem_id for problem in problems),
        responses=responses,
        verdicts=verdicts,
        lengths=rollouts.lengths,
        truncated=rollouts.finish == sampler.FINISH_LENGTH,
    )


def decode(tokenizer: Tokenizer, rollouts: sampler.Rollouts) -> tuple[tuple[str, ...], ...]:
    """Texts [P][G] of completions, without special tokens."""
    return tuple(
        tuple(
            tokenizer.decode(row[:length].tolist(), skip_special=True)
            for row, length in zip(group, lengths, strict=True)
        )
        for group, lengths in zip(rollouts.tokens, rollouts.lengths, strict=True)
    )


def grade(
    pool: RewardPool, problems: Sequence[Problem], responses: Sequence[Sequence[str]]
) -> tuple[tuple[Verdict, ...], ...]:
    """Verdicts [P][G] of the responses to each problem."""
    items = [
        (problem.data_source, response, problem.ground_truth)
        for problem, group in zip(problems, responses, strict=True)
        for response in group
    ]
    verdicts = iter(pool.submit(items).result())
    return tuple(tuple(next(verdicts) for _ in group) for group in responses)
