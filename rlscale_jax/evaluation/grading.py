"""Grades groups of answers as they end, behind the sampler; each host its share."""

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from rlscale_jax import sampler
from rlscale_jax.data.problems import Problem
from rlscale_jax.models import hosts
from rlscale_jax.rewards import Handle, RewardPool, Verdict
from rlscale_jax.tokenizers import Tokenizer

Texts = tuple[str, ...]
Verdicts = tuple[tuple[Verdict, ...], ...]  # [P][G]


class Grading:
    """The grading of one rollout: `add` what has ended, go on sampling, and wait for all in `verdicts`.

    Decoding and the quick verdicts run in a thread, the others in the pool's processes, so that the thread that
    feeds the device does neither.
    """

    def __init__(self, problems: Sequence[Problem], *, tokenizer: Tokenizer, pool: RewardPool):
        self._problems, self._tokenizer, self._pool = problems, tokenizer, pool
        self._own = hosts.share(range(len(problems)))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grading")
        self._started: dict[int, Future[tuple[Texts, Handle]]] = {}

    def add(self, finished: sampler.Finished) -> None:
        """Starts on those of the groups that this host grades."""
        for prompt, tokens, lengths in zip(finished.prompts.tolist(), finished.tokens, finished.lengths, strict=True):
            if prompt in self._own:
                self._started[prompt] = self._thread.submit(self._start, prompt, tokens, lengths)

    def verdicts(self) -> Verdicts:
        """Waits for all hosts' verdicts; every group must have been added. Called by all hosts."""
        return self._verdicts

    @functools.cached_property
    def _verdicts(self) -> Verdicts:
        own = [[dataclasses.astuple(v) for v in self._started[prompt].result()[1].result()] for prompt in self._own]
        self._thread.shutdown()
        groups = hosts.deal_back(hosts.gather(own))
        return tuple(tuple(Verdict(*fields) for fields in group) for group in groups)

    def texts(self, prompt: int) -> Texts | None:
        """The answers to a prompt that this host grades; None for the others."""
        return self._started[prompt].result()[0] if prompt in self._started else None

    def _start(self, prompt: int, tokens: np.ndarray, lengths: np.ndarray) -> tuple[Texts, Handle]:
        texts = decode(self._tokenizer, tokens, lengths)
        problem = self._problems[prompt]
        return texts, self._pool.submit((problem.data_source, text, problem.ground_truth) for text in texts)


def decode(tokenizer: Tokenizer, tokens: np.ndarray, lengths: np.ndarray) -> Texts:
    """The texts of a group's completions [G T], without special tokens."""
    return tuple(
        tokenizer.decode(row[:length].tolist(), skip_special=True) for row, length in zip(tokens, lengths, strict=True)
    )
