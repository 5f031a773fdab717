"""A run small enough for tests: a one-layer model, a handful of problems, a few steps."""

from rlscale_jax.experiment.config import (
    CheckpointConfig,
    EvaluationConfig,
    Experiment,
    GrpoConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    SamplingConfig,
    TaskConfig,
)

BASE = PretrainConfig(
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    intermediate_size=32,
    num_steps=4,
    warmup_steps=1,
    batch_sequences=16,
)
NUM_NEW = 12


def experiment(**changes) -> Experiment:
    """Five steps of 8 prompts x 4 samples, evaluated on 20 problems every second step."""
    return Experiment(
        **{
            "name": "tiny",
            "num_steps": 5,
            "model": ModelConfig(name="tiny", compute_dtype="float32"),
            "pretrain": BASE,
            "task": TaskConfig(num_corpus=200, num_train=64, num_heldout=20, rating=BASE, rating_samples=2),
            "sampling": SamplingConfig(max_new_tokens=NUM_NEW),
            "grpo": GrpoConfig(prompts_per_step=8, group_size=4, num_minibatches=2, remat="none"),
            "optimizer": OptimizerConfig(learning_rate=1e-3),
            "evaluation": EvaluationConfig(every_steps=2, max_new_tokens=NUM_NEW),
            "checkpoint": CheckpointConfig(every_steps=2),
            "log_rollouts_every": 2,
            "reward_workers": 1,
            **changes,
        }
    )


def get_config() -> Experiment:
    """For commands: --config=tests/training/tiny.py"""
    return experiment()


def without_times(rows: list[dict]) -> list[dict]:
    """Metrics that must not depend on when or how fast a run ran."""
    return [{k: v for k, v in row.items() if not k.startswith(("timing_s/", "perf/"))} for row in rows]
