"""Scores a model on a problem set: n sampled answers a problem, graded, with error.

The same `Scorer` evaluates during training and in `python -m rlscale_jax.evaluate`: it samples, hands the answers to
the reward pool, and whoever needs the score waits for it (or samples the next problems meanwhile).
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rlscale_jax import sampler
from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation import statistics
from rlscale_jax.evaluation.grading import Grading, Texts, Verdicts, decode
from rlscale_jax.experiment.config import EvaluationConfig
from rlscale_jax.models import Model
from rlscale_jax.rewards import RewardPool
from rlscale_jax.tokenizers import Tokenizer

_SEED_OFFSET = 1_000_003  # evaluation draws must not repeat the draws of the training rollouts of that step


@dataclass(frozen=True, kw_only=True)
class Score:
    """Outcomes of Q problems with n samples each."""

    source: str
    problems: tuple[Problem, ...]
    responses: tuple[Texts, ...]  # [Q][n]
    verdicts: Verdicts  # [Q][n]
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
    """Answers whose verdicts are still to come."""

    source: str
    problems: tuple[Problem, ...]
    rollouts: sampler.Rollouts
    tokenizer: Tokenizer
    grading: Grading

    def result(self) -> Score:
        """Waits for the verdicts. On several hosts it is called by all, at the same place of the program."""
        return Score(
            source=self.source,
            problems=self.problems,
            responses=tuple(self._texts(prompt) for prompt in range(len(self.problems))),
            verdicts=self.grading.verdicts(),
            lengths=self.rollouts.lengths,
            truncated=self.rollouts.finish == sampler.FINISH_LENGTH,
        )

    def _texts(self, prompt: int) -> Texts:
        """What this host has graded is decoded already."""
        known = self.grading.texts(prompt)
        return known or decode(self.tokenizer, self.rollouts.tokens[prompt], self.rollouts.lengths[prompt])


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
    point: Callable[[], None] = lambda: None  # called between segments; what it raises ends the evaluation

    def start(self, problems: Sequence[Problem], *, source: str) -> PendingScore:
        """Samples `config.num_samples` answers to every problem; returns while the last are graded."""
        grading = Grading(problems, tokenizer=self.tokenizer, pool=self.pool)

        def between_segments(finished: sampler.Finished) -> None:
            self.point()
            grading.add(finished)

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
            between_segments=between_segments,
        )
        return PendingScore(
            source=source, problems=tuple(problems), rollouts=rollouts, tokenizer=self.tokenizer, grading=grading
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
