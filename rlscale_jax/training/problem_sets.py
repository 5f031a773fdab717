"""The problems of a run: its training stream and its evaluation sets, checked and measured."""

import logging

from rlscale_jax import rewards
from rlscale_jax.data.problems import Problem, read_problems
from rlscale_jax.data.stream import ProblemStream
from rlscale_jax.evaluation import suites
from rlscale_jax.experiment.config import Experiment
from rlscale_jax.tokenizers import Tokenizer


def training_stream(experiment: Experiment, tokenizer: Tokenizer) -> ProblemStream:
    """What is trained on, step by step. Prompts that are too long are left out, and counted in a warning.

    Raises:
      ValueError: the problems do not fill the steps asked for, or a data_source that nothing grades.
    """
    problems = read_problems(experiment.data.train)
    if not experiment.data.verifier:
        for source in sorted({problem.data_source for problem in problems}):
            rewards.domain_of(source)
    stream = ProblemStream(
        problems,
        experiment.data,
        prompts_per_step=experiment.grpo.prompts_per_step,
        seed=experiment.seed,
        token_length=lambda problem: len(tokenizer.render(problem.messages)),
    )
    _report(stream.num_overlong, len(problems), experiment.data.train, experiment)
    if stream.num_steps < experiment.num_steps:
        raise ValueError(
            f"num_steps = {experiment.num_steps}, but {stream.num_items} problems, {experiment.grpo.prompts_per_step} "
            f"a step, fill only {stream.num_steps} steps; lower num_steps or raise data.reuse_factor"
        )
    return stream


def evaluation_sets(experiment: Experiment, tokenizer: Tokenizer) -> dict[str, tuple[Problem, ...]]:
    """Problem sets by name: the held-out set first, then `evaluation.suites`; too long prompts as in training.

    Raises:
      ValueError: an entry that is not name=path, or as `evaluation.suites.load`.
    """
    paths = {"heldout": experiment.data.heldout}
    for entry in filter(None, experiment.evaluation.suites.split(",")):
        name, separator, path = entry.partition("=")
        if not separator:
            raise ValueError(f"evaluation.suites: {entry!r} is not name=path")
        paths[name] = path
    limit, verifier = experiment.data.max_prompt_tokens, experiment.data.verifier
    sets = {
        name: suites.load(name, path, tokenizer=tokenizer, max_prompt_tokens=limit, verifier=verifier)
        for name, path in paths.items()
    }
    for name, one in sets.items():
        _report(one.num_overlong, one.num_overlong + len(one.problems), name, experiment)
    return {name: one.problems for name, one in sets.items()}


def _report(num_overlong: int, num_problems: int, where: str, experiment: Experiment) -> None:
    if num_overlong:
        logging.getLogger(__name__).warning(
            "%s: %d of %d prompts are longer than data.max_prompt_tokens = %d and left out",
            where,
            num_overlong,
            num_problems,
            experiment.data.max_prompt_tokens,
        )
