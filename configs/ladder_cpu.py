"""The CPU ladder: five Qwen2.5-shaped models, from nothing to k(N), on two cores.

    python -m rlscale_jax.study --config=configs/ladder_cpu.py --workdir=runs/ladder          the whole study
    python -m rlscale_jax.study --config=configs/ladder_cpu.py:smoke --workdir=runs/smoke     two small sizes, 90 s
    python -m rlscale_jax.train --config=configs/ladder_cpu.py:d64 --workdir=runs/one         one member

The study's experiments; all may share one --workdir, whose report then shows them together (docs/experiments.md):

    python -m rlscale_jax.study --config=configs/ladder_cpu.py --sweep=seed=0,1,2            three seeds
    python -m rlscale_jax.study --config=configs/ladder_cpu.py:instruct                      from instruct-like starts
    python -m rlscale_jax.study --config=configs/ladder_cpu.py:llama                         Llama-shaped models
    python -m rlscale_jax.study --config=configs/ladder_cpu.py:d40 --sweep=grpo.group_size=4,8,16,32
    python -m rlscale_jax.study --config=configs/ladder_cpu.py:d40 --sweep=data.reuse_factor=1,2,5,10,25,50

Hardware: 2 CPU cores, 8 GiB; 6.5 minutes (12 core-minutes). Expected, one seed: test loss
.34 -> .18, .34 -> .22, .20 -> .03, .21 -> .05, .31 -> .04 from d24 to d160 (standard errors .01 to .02); k(N)
from .1 to .5, K_max about .5, N0 about 35 thousand parameters, not identified by one run a size; with three seeds
K_max .46 (90 %: .36 to .57), N0 24 thousand (8 to 54). Llama-shaped: K_max .68 (.54 to .85), N0 59 thousand (38 to 90).

How the base models are made, and why. Reinforcement learning elicits what a base model can do but does not do
reliably, so the bases must have that: each is pretrained on worked solutions of which **half contain a slip** (a lost
carry, a miscount, a wrong sign, a step left out, a miscopied answer), as real corpora mix careful and careless authors.
Such a base knows how to calculate and yet often imitates a slip. With too little pretraining there is nothing to
elicit: models that cannot add did not learn it from rewards within this budget. Many small batches teach more
per second here than few large ones, and small models need more steps and a higher rate than large ones; warm-up
and a cosine decay keep the quality of the bases from jumping about.

Everything of the RL runs is equal for all sizes, as in the study: 50 steps of 64 prompts x 8 samples, four updates
each, AdamW at 3e-4 (1e-3 destroys a base within ten steps), problems from easy to hard by the pass rate of the d40
base, one epoch. N is the count of non-embedding parameters, C is 6 N T. Domain transfer is measured within the same
runs, every ten steps, on sets of `rlscale_jax.data.arithmetic`: easier, harder and larger questions of the trained
families, and two families that are never rewarded.

`d64-instruct` starts from the d64 base after 20 more batches on solutions without a slip, at the rate of the RL runs:
enough to be ahead of its base, little enough to leave something to learn (60 batches at 1e-3 took d24 from .37 to .23,
where 50 steps of RL end). `llama-d64` has the shape of d64 in the manner of Llama 3 (no QKV bias, llama3 rope scaling,
an LM head of its own), pretrained by the same recipe.
"""

from rlscale_jax.experiment.config import (
    EvaluationConfig,
    Experiment,
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
FINETUNING = {"finetune_steps": 20, "finetune_learning_rate": 3e-4}
OTHER_STARTS = ("d24", "d40", "d64", "d96")  # sizes of the instruct-like and the Llama ladder


def pretrain(name: str, *, family: str = "qwen2", instruct: bool = False) -> PretrainConfig:
    hidden, layers, heads, kv_heads, head_dim, feed_forward, steps, learning_rate = SIZES[name]
    return PretrainConfig(
        family=family,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=feed_forward,
        num_steps=steps,
        learning_rate=learning_rate,
        **(FINETUNING if instruct else {}),
    )


def member(name: str, num_steps: int = NUM_STEPS) -> Experiment:
    """One run: `d64`, `d64-instruct` or `llama-d64`."""
    size = name.removeprefix("llama-").removesuffix("-instruct")
    family = "llama" if name.startswith("llama-") else "qwen2"
    return Experiment(
        name=name,
        num_steps=num_steps,
        model=ModelConfig(name=name, compute_dtype="float32"),
        pretrain=pretrain(size, family=family, instruct=name.endswith("-instruct")),
        task=TaskConfig(max_level=3, num_train=num_steps * 64, rating=pretrain(RATING)),
        sampling=SamplingConfig(max_new_tokens=24),
        grpo=GrpoConfig(prompts_per_step=64, remat="none"),
        optimizer=OptimizerConfig(learning_rate=3e-4),
        evaluation=EvaluationConfig(every_steps=num_steps // 10, suites_every_steps=10, max_new_tokens=24),
    )


def get_config(variant: str = "") -> Experiment | Study:
    """ "": the study; "smoke": two small sizes and fewer steps; "instruct", "llama"; a run's name: that run alone."""
    studies = {
        "": ("ladder", [member(size) for size in SIZES]),
        "smoke": ("ladder_smoke", [member("d24", 10), member("d40", 10)]),
        "instruct": ("ladder_instruct", [member(f"{size}-instruct") for size in OTHER_STARTS]),
        "llama": ("ladder_llama", [member(f"llama-{size}") for size in OTHER_STARTS]),
    }
    if variant in studies:
        name, members = studies[variant]
        return Study(name=name, members=tuple(members), parallel_runs=2)
    if variant.removeprefix("llama-").removesuffix("-instruct") not in SIZES:
        raise ValueError(
            f"variant {variant!r} is unknown; use smoke, instruct, llama, or a run such as d64, d64-instruct, "
            f"llama-d64 (sizes: {', '.join(SIZES)})"
        )
    return member(variant)
