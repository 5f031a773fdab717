"""The CPU ladder."""

from rlscale_jax.experiment.config import (
    EvaluationConfig,
    Experiment,
    FitConfig,
    GrpoConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    SamplingConfig,
    Study,
    TaskConfig,
)

# name: hidden, layers, heads, KV heads, head size, feed-forward, pretraining steps and learning rate
SIZES = {
    "d24": (24, 2, 2, 1, 12, 48, 5000, 6e-3),
    "d40": (40, 2, 2, 1, 16, 80, 4000, 4e-3),
    "d64": (64, 3, 4, 2, 16, 128, 2500, 4e-3),
    "d96": (96, 4, 6, 2, 16, 192, 1800, 3e-3),
    "d160": (160, 4, 5, 1, 32, 320, 1300, 3e-3),
}
RATING = "d40"
NUM_STEPS = 50


def pretrain(name: str) -> PretrainConfig:
    hidden, layers, heads, kv_heads, head_dim, feed_forward, steps, learning_rate = SIZES[name]
    return PretrainConfig(
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=feed_forward,
        num_steps=steps,
        learning_rate=learning_rate,
    )


def member(name: str) -> Experiment:
    return Experiment(
        name=name,
        num_steps=NUM_STEPS,
        model=ModelConfig(name=name, compute_dtype="float32"),
        pretrain=pretrain(name),
        task=TaskConfig(max_level=3, num_train=NUM_STEPS * 64, rating=pretrain(RATING)),
        sampling=SamplingConfig(max_new_tokens=32),
        grpo=GrpoConfig(prompts_per_step=64, remat="none"),
        optimizer=OptimizerConfig(learning_rate=3e-4),
        evaluation=EvaluationConfig(every_steps=5, max_new_tokens=32),
    )


def get_config(variant: str = ""):
    if variant in SIZES:
        return member(variant)
    return Study(name="ladder", members=tuple(member(name) for name in SIZES), parallel_runs=2, fit=FitConfig())
