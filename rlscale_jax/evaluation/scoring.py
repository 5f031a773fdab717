"""Scores a model on a problem set: one sampled answer (or n) to each problem, graded, with its error.

The same `Scorer` evaluates during training and in `python -m rlscale_jax.evaluate`: it samples, hands the answers to
the reward pool, and whoever needs the score waits for it (or samples the next problems meanwhile).
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
from rlscale_jax.rewards import Handle, RewardPool, Verdict
from rlscale_jax.tokenizers import Tokenizer

_SEED_OFFSET = 1_000_003  # evaluation draws must not repeat the draws of the training rollouts of that step

Responses = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Outcomes of Q problems with n samples each."""

    source: str
    problems: tuple[Problem, ...]
    responses: Responses  # [Q][n]
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


@dataclass(frozen=True, kw_only=True)
class PendingScore:
    """Answers whose verdicts are still to come; the fields are those of `Score`."""

    source: str
    problems: tuple[Problem, ...]
    responses: Responses
    lengths: np.ndarray
    truncated: np.ndarray
    handle: Handle

    def result(self) -> Score:
        """Waits for the verdicts."""
        return Score(
            source=self.source,
            problems=self.problems,
            responses=self.responses,
            verdicts=_grouped(self.handle, self.responses),
            lengths=self.lengths,
            truncated=self.truncated,
        )


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model with all that scores it on any problems; `seed` and `step` key the draws, with each problem's id."""

    model: Model
    tokenizer: Tokenizer
    pool: RewardPool
    config: EvaluationConfig
    seed: int
    step: int
    wave_sequences: int = 0  # as in sampler.generate

    def start(self, problems: Sequence[Problem], *, source: str) -> PendingScore:
        """Samples `config.num_samples` answers to every problem; returns while they are graded."""
        rollouts = sampler.generate(
            self.model,
            [self.tokenizer.render(problem.messages) for problem in problems],
            num_samples=self.config.num_samples,
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            eos_ids=self.tokenizer.eos_ids,
            seed=self.seed + _SEED_OFFSET,
            step=self.step,
            prompt_ids=prompt_ids(problems),
            wave_sequences=self.wave_sequences,
        )
        responses = decode(self.tokenizer, rollouts)
        return PendingScore(
            source=source,
            problems=tuple(problems),
            responses=responses,
            lengths=rollouts.lengths,
            truncated=rollouts.finish == sampler.FINISH_LENGTH,
            handle=_submit(self.pool, problems, responses),
        )


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
    scorer = Scorer(model=model, tokenizer=tokenizer, pool=pool, config=config, seed=seed, step=step)
    return scorer.start(problems, source=source).result()


def prompt_ids(problems: Sequence[Problem]) -> list[int]:
    """Numbers that stand for a batch's problems in random draws, the same wherever and in whatever order they occur.

    A problem that occurs again in the batch (a step may end one epoch and begin the next) gets another number each
    time, so that it is sampled anew.
    """
    seen: Counter[str] = Counter()
    ids = []
    for problem in problems:
        occurrence = seen[problem.problem_id]
        seen[problem.problem_id] += 1
        ids.append(zlib.crc32(f"{problem.problem_id}{f'#{occurrence}' if occurrence else ''}".encode()))
    return ids


def decode(tokenizer: Tokenizer, rollouts: sampler.Rollouts) -> Responses:
    """Texts [P][G] of completions, without special tokens."""
    return tuple(
        tuple(
            tokenizer.decode(row[:length].tolist(), skip_special=True)
            for row, length in zip(group, lengths, strict=True)
        )
        for group, lengths in zip(rollouts.tokens, rollouts.lengths, strict=True)
    )


def grade(pool: RewardPool, problems: Sequence[Problem], responses: Responses) -> tuple[tuple[Verdict, ...], ...]:
    """Verdicts [P][G] of the responses to each problem."""
    return _grouped(_submit(pool, problems, responses), responses)


def _submit(pool: RewardPool, problems: Sequence[Problem], responses: Responses) -> Handle:
    return pool.submit(
        (problem.data_source, response, problem.ground_truth)
        for problem, group in zip(problems, responses, strict=True)
        for response in group
    )


def _grouped(handle: Handle, responses: Responses) -> tuple[tuple[Verdict, ...], ...]:
    verdicts = iter(handle.result())
    return tuple(tuple(next(verdicts) for _ in group) for group in responses)
