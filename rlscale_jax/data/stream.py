"""The training prompts of every step, as a pure function of seed and step.

Epochs follow one another without a gap: a step may end one and begin the next. What is left over after the last
full step is dropped. Nothing is remembered between steps, so the cursor of a checkpoint is the step itself.
"""

import functools
from collections.abc import Callable, Sequence

from rlscale_jax.data import curriculum
from rlscale_jax.data.record import Problem
from rlscale_jax.experiment.config import DataConfig

TokenLength = Callable[[Problem], int]


class ProblemStream:
    """D_total = reuse_factor x D_unique problems in training order.

    Args:
      problems: the training set.
      config: order, subset, reuse and the longest prompt.
      prompts_per_step: problems that one step takes.
      seed: of subset and shuffling.
      token_length: tokens of a problem's rendered prompt.

    Attributes:
      problems: the D_unique problems in use, in the order of the set.
      num_overlong: problems dropped for their length, before the subset was drawn.
      num_items: D_total.
      num_steps: full steps; `num_items % prompts_per_step` problems at the end are not used.

    Raises:
      ValueError: a field out of range, or no full step.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        config: DataConfig,
        *,
        prompts_per_step: int,
        seed: int,
        token_length: TokenLength,
    ):
        _check(config, prompts_per_step)
        short = drop_overlong(problems, config.max_prompt_tokens, token_length=token_length)
        self.num_overlong = len(problems) - len(short)
        if not short:
            raise ValueError(
                f"no problem is left: all {len(problems)} prompts are longer than {config.max_prompt_tokens} tokens"
            )
        self.problems = _subset(short, config, seed)
        self.num_items = config.reuse_factor * len(self.problems)
        self.num_steps = self.num_items // prompts_per_step
        self._prompts_per_step = prompts_per_step
        self._order = _epoch_order(self.problems, config.order, seed)
        if not self.num_steps:
            raise ValueError(
                f"{len(self.problems)} problems x {config.reuse_factor} epochs do not fill one step of "
                f"{prompts_per_step} prompts"
            )

    def take(self, step: int, host_index: int = 0, num_hosts: int = 1) -> list[Problem]:
        """One host's problems of a step, counted from 0; the hosts' lists in order make up the step.

        Raises:
          ValueError: a step that the stream does not have, or hosts that do not divide it.
        """
        if not 0 <= step < self.num_steps:
            raise ValueError(
                f"step {step} is not in the stream: {self.num_items} problems in steps of {self._prompts_per_step} "
                f"give {self.num_steps}; lower num_steps or raise data.reuse_factor"
            )
        share, rest = divmod(self._prompts_per_step, num_hosts)
        if rest or not 0 <= host_index < num_hosts:
            raise ValueError(
                f"host {host_index} of {num_hosts}, {self._prompts_per_step} prompts per step; "
                "the number of hosts must divide the prompts"
            )
        first = step * self._prompts_per_step + host_index * share
        return [self.item(position) for position in range(first, first + share)]

    def item(self, position: int) -> Problem:
        """The problem at a position in 0 ... num_items - 1."""
        epoch, place = divmod(position, len(self.problems))
        return self.problems[self._order(epoch)[place]]


def drop_overlong(problems: Sequence[Problem], max_tokens: int, *, token_length: TokenLength) -> tuple[Problem, ...]:
    """The problems whose rendered prompt has at most `max_tokens` tokens."""
    return tuple(problem for problem in problems if token_length(problem) <= max_tokens)


def _check(config: DataConfig, prompts_per_step: int) -> None:
    allowed = {"order": ("easy_to_hard", "shuffled"), "subset": ("independent", "nested")}
    for field, values in allowed.items():
        if getattr(config, field) not in values:
            raise ValueError(f"data.{field} is {getattr(config, field)!r}; expected one of {', '.join(values)}")
    positive = {"data.reuse_factor": config.reuse_factor, "prompts_per_step": prompts_per_step}
    for field, value in positive.items():
        if value < 1:
            raise ValueError(f"{field} is {value}; expected 1 or more")


def _subset(problems: Sequence[Problem], config: DataConfig, seed: int) -> tuple[Problem, ...]:
    if config.num_unique == 0:
        return tuple(problems)
    nested = config.subset == "nested"
    chosen = curriculum.stratified_subset(problems, config.num_unique, seed=seed, nested=nested)
    return tuple(problems[i] for i in chosen)


def _epoch_order(problems: Sequence[Problem], order: str, seed: int) -> Callable[[int], curriculum.Indices]:
    if order == "easy_to_hard":
        fixed = curriculum.easy_to_hard(problems)
        return lambda epoch: fixed
    # A step meets at most a few epochs, so two orders at a time are enough to keep.
    return functools.lru_cache(maxsize=2)(lambda epoch: curriculum.shuffled(len(problems), seed=seed, epoch=epoch))
