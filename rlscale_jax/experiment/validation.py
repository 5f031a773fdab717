"""Checks a config whole, before anything slow: every problem found, with the field, the value and what is allowed."""

import math
import re
from collections.abc import Iterator
from typing import Any

from rlscale_jax.experiment.config import Experiment, FitConfig, PretrainConfig, Study, TaskConfig

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
    "reward_timeout_secs",
    "optimizer.eps",
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
    "checkpoint.keep_best",
    "log_rollouts_every",
    "pretrain.num_steps",
    "grpo.kl_clamp",
    "grpo.advantage_eps",
    "evaluation.suites_every_steps",
    "pretrain.finetune_steps",
)
_CHOICES = {
    "model.param_dtype": ("float32", "bfloat16"),
    "model.compute_dtype": ("float32", "bfloat16"),
    "data.order": ("easy_to_hard", "shuffled"),
    "data.subset": ("independent", "nested"),
    "grpo.aggregation": ("token_mean", "sequence_mean"),
    "grpo.remat": ("none", "dots", "full"),
    "pretrain.family": ("qwen2", "llama"),
}
_FRACTIONS = ("sampling.top_p", "evaluation.top_p")  # in (0, 1]
_DECAYS = ("optimizer.b1", "optimizer.b2", "optimizer.weight_decay")  # in [0, 1)
_FIT_CHOICES = {
    "law": ("saturating", "power", "log", "linear", "constant", "loglinear"),
    "objective": ("robust", "published"),
}


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
    if len(set(study.seeds)) < len(study.seeds) or any(seed < 0 for seed in study.seeds):
        yield f"seeds = {study.seeds}: must be different and not negative"
    for name in ("parallel_runs", "max_attempts"):
        if getattr(study, name) < 1:
            yield f"{name} = {getattr(study, name)}: must be at least 1"
    yield from _fit_problems(study.fit)
    for member in study.members:
        yield from (f"{member.name}: {problem}" for problem in _problems(member))


def _problems(experiment: Experiment) -> Iterator[str]:
    if not re.fullmatch(r"[\w.+=-]+", experiment.name):
        yield f"name = {experiment.name!r}: names a directory; use letters, digits and . _ + = -"
    yield from _range_problems(experiment)
    yield from _batch_problems(experiment)
    yield from _mesh_problems(experiment)
    if experiment.pretrain.num_steps and not experiment.model.path:
        yield from _pretrain_problems("pretrain", experiment.pretrain)
        yield from _pretrain_problems("task.rating", experiment.task.rating)
        yield from _task_problems(experiment.task)
    for entry in filter(None, experiment.evaluation.suites.split(",")):
        if not all(entry.partition("=")):
            yield f"evaluation.suites: {entry!r} is not name=path; write name=path,name=path"
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
    for name in (*_POSITIVE, *_NOT_NEGATIVE):
        if math.isinf(get(experiment, name)):
            yield f"{name} = {get(experiment, name)}: must be finite"
    for name in _DECAYS:
        if not 0 <= get(experiment, name) < 1:
            yield f"{name} = {get(experiment, name)}: must be in [0, 1)"
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


def _mesh_problems(experiment: Experiment) -> Iterator[str]:
    sizes = {axis: getattr(experiment.mesh, axis) for axis in ("data", "fsdp", "tensor")}
    for axis, size in sizes.items():
        if size < 1 and size != -1:
            yield f"mesh.{axis} = {size}: must be at least 1, or -1 (what is left)"
    if list(sizes.values()).count(-1) > 1:
        yield f"mesh {sizes}: only one axis may be -1 (what is left)"
    sampler, tensor = experiment.mesh.sampler_tensor, sizes["tensor"]
    if sampler < 0 or (tensor > 0 and sampler % tensor):
        yield f"mesh.sampler_tensor = {sampler}: must be 0 (as tensor) or a multiple of mesh.tensor = {tensor}"


def _pretrain_problems(where: str, config: PretrainConfig) -> Iterator[str]:
    """Of a base model that is yet to be made."""
    shape = ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "intermediate_size")
    for name in (*shape, "num_steps", "batch_sequences", "learning_rate", "rope_theta"):
        if not getattr(config, name) > 0:
            yield f"{where}.{name} = {getattr(config, name)}: must be positive"
    if config.num_kv_heads > 0 and config.num_heads % config.num_kv_heads:
        yield f"{where}.num_heads = {config.num_heads} does not divide over num_kv_heads = {config.num_kv_heads}"
    if config.head_dim % 2:
        yield f"{where}.head_dim = {config.head_dim}: must be even, rotary positions turn pairs"


def _task_problems(task: TaskConfig) -> Iterator[str]:
    for name in ("num_corpus", "num_train", "num_heldout", "vocab_size", "max_level", "rating_samples"):
        if getattr(task, name) < 1:
            yield f"task.{name} = {getattr(task, name)}: must be positive"
    if not 0 <= task.slip_rate <= 1:
        yield f"task.slip_rate = {task.slip_rate}: a share, in [0, 1]"


def _fit_problems(fit: FitConfig) -> Iterator[str]:
    for name, allowed in _FIT_CHOICES.items():
        if getattr(fit, name) not in allowed:
            yield f"fit.{name} = {getattr(fit, name)!r}: must be one of {', '.join(allowed)}"
    for resource in fit.resources:
        if resource not in ("compute", "data"):
            yield f"fit.resources: {resource!r} must be compute or data"
    if not 0 < fit.confidence < 1:
        yield f"fit.confidence = {fit.confidence}: must be between 0 and 1, e.g. 0.9"
    if fit.drop_first < 0 or fit.num_bootstrap < 0:
        yield f"fit.drop_first = {fit.drop_first}, fit.num_bootstrap = {fit.num_bootstrap}: must not be negative"


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
