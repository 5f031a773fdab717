"""Checks a config whole, before anything slow: every problem found, with the field, the value and what is allowed."""

from collections.abc import Iterator
from typing import Any

from rlscale_jax.experiment.config import Experiment, Study

_POSITIVE = (
    "num_steps",
    "sampling.max_new_tokens",
    "grpo.prompts_per_step",
    "grpo.num_minibatches",
    "grpo.logprob_chunk_tokens",
    "data.max_prompt_tokens",
    "data.reuse_factor",
    "optimizer.learning_rate",
    "optimizer.clip_norm",
    "optimizer.max_nonfinite_steps",
    "evaluation.every_steps",
    "evaluation.num_samples",
    "evaluation.max_new_tokens",
    "checkpoint.every_steps",
    "checkpoint.every_secs",
    "checkpoint.keep_last",
    "reward_workers",
)
_NOT_NEGATIVE = (
    "seed",
    "model.n_nominal",
    "data.num_unique",
    "sampling.temperature",
    "sampling.top_k",
    "sampling.wave_sequences",
    "grpo.micro_batch_prompts",
    "grpo.clip_low",
    "grpo.clip_high",
    "grpo.dual_clip",
    "grpo.kl_coef",
    "grpo.importance_cap",
    "evaluation.temperature",
    "optimizer.weight_decay",
    "optimizer.warmup_steps",
    "checkpoint.keep_every",
    "log_rollouts_every",
    "pretrain.num_steps",
)
_CHOICES = {
    "model.param_dtype": ("float32", "bfloat16"),
    "model.compute_dtype": ("float32", "bfloat16"),
    "data.order": ("easy_to_hard", "shuffled"),
    "data.subset": ("independent", "nested"),
    "grpo.aggregation": ("token_mean", "sequence_mean"),
    "grpo.remat": ("none", "dots", "full"),
}
_FRACTIONS = ("sampling.top_p", "evaluation.top_p")  # in (0, 1]


def validate(config: Experiment | Study) -> None:
    """Raises ValueError that lists every impossible value of an experiment or of all members of a study."""
    if isinstance(config, Study):
        problems = list(_study_problems(config))
    else:
        problems = list(_problems(config))
    if problems:
        raise ValueError("the config cannot run:\n" + "\n".join(f"  {problem}" for problem in problems))


def _study_problems(study: Study) -> Iterator[str]:
    if not study.members:
        yield "members is empty; a study needs at least one experiment"
    if not study.seeds:
        yield "seeds is empty; give at least one, e.g. seeds=(0,)"
    names = [member.name for member in study.members]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"members: the name {name!r} stands {names.count(name)} times; names must differ"
    if study.parallel_runs < 1:
        yield f"parallel_runs = {study.parallel_runs}: must be at least 1"
    for member in study.members:
        yield from (f"{member.name}: {problem}" for problem in _problems(member))


def _problems(experiment: Experiment) -> Iterator[str]:
    yield from _range_problems(experiment)
    yield from _batch_problems(experiment)
    if not experiment.model.path and not experiment.pretrain.num_steps:
        yield "model.path is empty and pretrain.num_steps is 0; name a checkpoint directory or say how to pretrain"
    if experiment.model.path and not experiment.data.train:
        yield "data.train is empty; name a directory made by rlscale_jax.prepare, or a .jsonl or .parquet file"


def _range_problems(experiment: Experiment) -> Iterator[str]:
    for name in _POSITIVE:
        if not get(experiment, name) > 0:  # also catches NaN
            yield f"{name} = {get(experiment, name)}: must be positive"
    for name in _NOT_NEGATIVE:
        if not get(experiment, name) >= 0:
            yield f"{name} = {get(experiment, name)}: must not be negative"
    for name in _FRACTIONS:
        if not 0 < get(experiment, name) <= 1:
            yield f"{name} = {get(experiment, name)}: must be in (0, 1]"
    for name, allowed in _CHOICES.items():
        if get(experiment, name) not in allowed:
            yield f"{name} = {get(experiment, name)!r}: must be one of {', '.join(allowed)}"


def _batch_problems(experiment: Experiment) -> Iterator[str]:
    grpo = experiment.grpo
    if grpo.group_size < 2:
        yield f"grpo.group_size = {grpo.group_size}: must be at least 2, advantages compare samples of one prompt"
    if grpo.num_minibatches > 0 and grpo.prompts_per_step % grpo.num_minibatches:
        yield (
            f"grpo.prompts_per_step = {grpo.prompts_per_step} does not divide into "
            f"grpo.num_minibatches = {grpo.num_minibatches} equal parts"
        )
    elif grpo.micro_batch_prompts > 0 and grpo.num_minibatches > 0:
        mini = grpo.prompts_per_step // grpo.num_minibatches
        if mini % grpo.micro_batch_prompts:
            yield (
                f"grpo.micro_batch_prompts = {grpo.micro_batch_prompts} does not divide "
                f"the mini-batch of {mini} prompts"
            )


def get(config: Any, name: str) -> Any:
    """The value of a dotted field."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def set_field(config: Any, name: str, text: str) -> None:
    """Sets a dotted field from text, converted to the type of its present value.

    Raises:
      ValueError: no such field, or text that is not of its type.
    """
    try:
        present = get(config, name)
        holder = get(config, name.rpartition(".")[0]) if "." in name else config
    except AttributeError:
        raise ValueError(f"{name}: no such field of {type(config).__name__}") from None
    setattr(holder, name.rpartition(".")[2], _convert(name, text, present))


def _convert(name: str, text: str, present: Any) -> Any:
    if isinstance(present, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}={text}: expected true or false")
        return text.lower() == "true"
    if not isinstance(present, int | float | str):
        raise ValueError(f"{name}: only numbers, words and true/false can be swept")
    try:
        return type(present)(text)
    except ValueError:
        raise ValueError(f"{name}={text}: expected {type(present).__name__}, such as {present!r}") from None


def run_name(experiment: Experiment) -> str:
    """The directory name of a run."""
    return f"{experiment.name}_s{experiment.seed}"
