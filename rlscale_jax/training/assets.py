"""What a ladder run needs before its first step, made once and shared by all runs of a working directory.

    assets/task-HASH/     tokenizer/, problem sets heldout/, suite_*/, and the unrated training set
    assets/base-HASH/     a base model, as a Hugging Face directory (config.json, model.safetensors, tokenizer)
    assets/rated-HASH/    the training set with the pass rate of the rating model as difficulty

A hash stands for the whole config that made the thing. Runs on published checkpoints skip all this: their
`model.path` and `data.train` are given.
"""

import copy
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp

from rlscale_jax import models, tokenizers
from rlscale_jax.data import arithmetic
from rlscale_jax.data.problems import Problem, read_problems, write_problems
from rlscale_jax.evaluation import scoring
from rlscale_jax.experiment.config import Experiment, PretrainConfig, TaskConfig, to_dict
from rlscale_jax.rewards import RewardPool
from rlscale_jax.tokenizers.training import train_sentencepiece
from rlscale_jax.training import corpus, locks, pretrain
from rlscale_jax.training.progress import Progress

_RATING_BATCH = 512  # problems rated at a time


def ensure(experiment: Experiment, assets: pathlib.Path, *, log_path: pathlib.Path) -> Experiment:
    """The experiment with its model and problem sets in place; what is missing is made."""
    if experiment.model.path:
        return experiment
    task_dir = _ensure_task(experiment.task, assets)
    base = _ensure_base(experiment.pretrain, experiment.task, task_dir, assets, log_path)
    rated = _ensure_rated(experiment, task_dir, assets, log_path)
    experiment = copy.deepcopy(experiment)
    experiment.model.path = str(base)
    experiment.data.train = str(rated)
    experiment.data.heldout = str(task_dir / "heldout")
    suites = [f"{path.name.removeprefix('suite_')}={path}" for path in sorted(task_dir.glob("suite_*"))]
    experiment.evaluation.suites = experiment.evaluation.suites or ",".join(suites)
    return experiment


def _key(*configs) -> str:
    text = json.dumps([to_dict(config) for config in configs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _task_key(task: TaskConfig) -> str:
    return _key(dataclasses.replace(task, rating=PretrainConfig()))


def _ensure_task(config: TaskConfig, assets: pathlib.Path) -> pathlib.Path:
    target = assets / f"task-{_task_key(config)}"
    with locks.make_once(target) as working:
        if working:
            task = arithmetic.make_task(config)
            texts = [f"{question}\n{solution}" for question, solution in task.corpus]
            train_sentencepiece(texts, config.vocab_size, working / "tokenizer")
            sets = {"train": task.train, "heldout": task.heldout}
            sets |= {f"suite_{name}": questions for name, questions in task.suites.items()}
            for name, questions in sets.items():
                write_problems(_problems(name, questions), working, name=name)
    return target


def _problems(name: str, questions: Sequence[arithmetic.Question]) -> list[Problem]:
    return [
        Problem(
            problem_id=f"{name}-{index}",
            data_source=f"arithmetic__{question.family}",
            messages=({"role": "user", "content": question.text},),
            ground_truth=question.answer,
            provenance=f"level {question.level}",
        )
        for index, question in enumerate(questions)
    ]


def _ensure_base(
    config: PretrainConfig, task: TaskConfig, task_dir: pathlib.Path, assets: pathlib.Path, log_path: pathlib.Path
) -> pathlib.Path:
    """The pretrained model of a config; with `finetune_steps` the model that those make of the pretrained one."""
    target = assets / f"base-{_key(config, dataclasses.replace(task, rating=PretrainConfig()))}"
    with locks.make_once(target) as working:
        if not working:
            return target
        initial, verb = None, "pretrain"
        if config.finetune_steps:
            start = _ensure_base(_before_finetuning(config), task, task_dir, assets, log_path)
            initial, verb = models.load_pretrained(start, dtype=jnp.float32).params, "finetune"
            task, config = dataclasses.replace(task, slip_rate=0.0), _finetuning(config)
        tokenizer = tokenizers.load(task_dir / "tokenizer")
        tokens = corpus.tokenize(arithmetic.make_task(task).corpus, tokenizer)
        architecture = pretrain.architecture_of(config, tokenizer.vocab_size)
        name = f"{verb} d{config.hidden_size} ({architecture.num_nonembedding_params:,} parameters)"
        progress = Progress(name, config.num_steps, log_path=log_path)
        model = pretrain.pretrain(architecture, config, tokens, workdir=working, progress=progress, initial=initial)
        models.save_pretrained(model, working, tokenizer_files=tokenizer.files)
    return target


def _before_finetuning(config: PretrainConfig) -> PretrainConfig:
    """Its finetuning fields as those of a base model have them, so that both name the same directory."""
    neutral = PretrainConfig()
    return dataclasses.replace(
        config,
        finetune_steps=neutral.finetune_steps,
        finetune_learning_rate=neutral.finetune_learning_rate,
    )


def _finetuning(config: PretrainConfig) -> PretrainConfig:
    """The second training as a config of its own: its steps and rate, without warm-up."""
    return dataclasses.replace(
        config, num_steps=config.finetune_steps, learning_rate=config.finetune_learning_rate, warmup_steps=0
    )


def _ensure_rated(
    experiment: Experiment, task_dir: pathlib.Path, assets: pathlib.Path, log_path: pathlib.Path
) -> pathlib.Path:
    """The training set with difficulty = 1 - pass rate of the rating model's base."""
    task = experiment.task
    target = assets / f"rated-{_key(task)}"
    if target.exists():
        return target
    base = _ensure_base(task.rating, task, task_dir, assets, log_path)
    with locks.make_once(target) as working:
        if working:
            rated = _rate(experiment, base, read_problems(task_dir / "train"), log_path)
            write_problems(rated, working, name="train")
    return target


def _rate(
    experiment: Experiment, base: pathlib.Path, problems: Sequence[Problem], log_path: pathlib.Path
) -> list[Problem]:
    model = models.load_pretrained(base, dtype=jnp.float32)
    tokenizer = tokenizers.load(base)
    config = dataclasses.replace(
        experiment.evaluation,
        temperature=experiment.sampling.temperature,
        num_samples=experiment.task.rating_samples,
        max_new_tokens=experiment.sampling.max_new_tokens,
    )
    progress = Progress("rate the training problems", len(problems), log_path=log_path)
    rated: list[Problem] = []
    with RewardPool(experiment.reward_workers) as pool:
        for first in range(0, len(problems), _RATING_BATCH):
            part = problems[first : first + _RATING_BATCH]
            scored = scoring.score(
                model, part, source="rating", tokenizer=tokenizer, pool=pool, config=config, seed=0, step=0
            )
            rates = scored.correct.mean(axis=1)
            rated += [dataclasses.replace(p, difficulty=float(1 - r)) for p, r in zip(part, rates, strict=True)]
            progress.update(len(rated), pass_rate=float(rates.mean()))
    return rated
