"""Qwen2.5, base and instruct: the runs of arXiv 2509.25300 (its sections 3 and 4), seven sizes from 0.5B to 72B.

One run, 105 steps of 512 prompts x 8 samples over the curriculum, evaluated on the 500 held-out problems at every step:

    python -m rlscale_jax.prepare --source=hub --target=data
    python -m rlscale_jax.plan  --config=configs/qwen2_5.py:7b --topology=v5e:8x8
    python -m rlscale_jax.train --config=configs/qwen2_5.py:7b --workdir=runs/qwen2_5

Variants of one run: `:7b` or `:7b-base`, `:7b-instruct`; 0.5b, 1.5b, 3b, 7b, 14b, 32b, 72b. The checkpoint is expected
in models/Qwen2.5-7B (as published: config.json, *.safetensors, tokenizer files); `--config.model.path=` names another
place. On pods see docs/pods.md; each size's slice, mesh, memory and hours are in docs/plans.md, made by `plan`.

The study's experiments, one command each; all may share a working directory, and what is there is reused:

    python -m rlscale_jax.study --config=configs/qwen2_5.py:base --workdir=runs/qwen2_5            7 sizes x 3 seeds
    python -m rlscale_jax.study --config=configs/qwen2_5.py:instruct --workdir=runs/qwen2_5
    python -m rlscale_jax.study --config=configs/qwen2_5.py:7b --sweep=grpo.group_size=4,8,16,32
    python -m rlscale_jax.study --config=configs/qwen2_5.py:7b-reuse --sweep=data.reuse_factor=1,2,4,5,10,20,25,50,100
    python -m rlscale_jax.study --config=configs/qwen2_5.py:base-transfer --workdir=runs/transfer  all eight sets

`instruct-transfer`, `7b-instruct`, `7b-instruct-reuse` are the same from the instruct models. Groups of 32 make rows
four times as long as those that `:7b` is laid out for: ask `plan` with --config.grpo.group_size=32 for a slice. The
reuse study keeps D_total = 51,200 (100 steps) and draws D_total / factor unique problems for each factor. `transfer`
evaluates the benchmarks of the paper's Table 1 every fifth step, HumanEval in the sandbox. docs/experiments.md shows
each of these on the CPU ladder, by the same command with another config.

Expected (the paper's Table 5, mean test loss of three runs at the end; base, instruct):
    0.5B .942 .946   1.5B .913 .899   3B .858 .828   7B .715 .678   14B .605 .559   32B .494 .458   72B .436 .432
"""

import dataclasses

from rlscale_jax.experiment.config import (
    DataConfig,
    Experiment,
    GrpoConfig,
    MeshConfig,
    ModelConfig,
    SamplingConfig,
    Study,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How a size is laid out; `tensor` ways share a group in training, the other devices of a slice are `fsdp`."""

    n_nominal: float
    topology: str  # the slice of docs/plans.md
    tensor: int
    micro_prompts: int  # of the mini-batch's 128, through the update at a time
    wave: int  # of the batch's 4096 sequences, decoded at a time
    sampler: int = 0  # ways that share the weights in sampling; 0: as `tensor`
    remat: str = "full"


SIZES = {
    "0.5b": Size(n_nominal=0.5e9, topology="v5e:4x4", tensor=1, micro_prompts=16, wave=1024),  # runs on one device too
    "1.5b": Size(n_nominal=1.5e9, topology="v5e:4x4", tensor=2, micro_prompts=8, wave=1024),
    "3b": Size(n_nominal=3e9, topology="v5e:4x8", tensor=2, micro_prompts=16, wave=1024),
    "7b": Size(n_nominal=7e9, topology="v5e:8x8", tensor=4, micro_prompts=16, wave=2048),
    "14b": Size(n_nominal=14e9, topology="v6e:8x8", tensor=2, sampler=8, micro_prompts=32, wave=1024),
    "32b": Size(n_nominal=32e9, topology="v6e:8x16", tensor=4, sampler=8, micro_prompts=64, wave=1024),
    "72b": Size(n_nominal=72e9, topology="v5p:8x8x8", tensor=8, micro_prompts=64, wave=4096),
}


SEEDS = (0, 1, 2)
TUNINGS = ("base", "instruct")
BENCHMARKS = ("math500", "aime2024", "amc2023", "gsm8k", "humaneval", "zebra", "supergpqa")
REUSE_TOTAL = 51_200  # prompts of every run of the reuse study


def get_config(variant: str = "7b") -> Experiment | Study:
    """The run `SIZE[-TUNING]`, the start of the reuse study `SIZE[-TUNING]-reuse`, or the study `TUNING[-transfer]`.

    Raises:
      ValueError: another variant; the message lists those that exist.
    """
    first, *rest = variant.split("-")
    if first in TUNINGS and rest in ([], ["transfer"]):
        return study(first, transfer=bool(rest))
    tuning = rest.pop(0) if rest and rest[0] in TUNINGS else "base"
    if first not in SIZES or rest not in ([], ["reuse"]):
        raise ValueError(
            f"variant {variant!r}: use one of {', '.join(SIZES)}, alone or with -base or -instruct, and then "
            "with -reuse; or base, instruct, base-transfer, instruct-transfer for all sizes"
        )
    run = member(first, tuning)
    return _for_reuse(run) if rest else run


def study(tuning: str, *, transfer: bool) -> Study:
    """All sizes of a starting point with three seeds, with `transfer` evaluated on the benchmarks too."""
    members = tuple(member(size, tuning) for size in SIZES)
    for run in members if transfer else ():
        run.evaluation.suites = ",".join(f"{name}=data/{name}" for name in BENCHMARKS)
        run.evaluation.suites_every_steps = 5
    return Study(name=f"qwen2.5-{tuning}" + ("-transfer" if transfer else ""), members=members, seeds=SEEDS)


def _for_reuse(run: Experiment) -> Experiment:
    """Not a run of the main study: its problems are a stratified subset, its end is D_total."""
    run.variant = f"total{REUSE_TOTAL}"
    run.name += f"_{run.variant}"
    run.num_steps = REUSE_TOTAL // run.grpo.prompts_per_step
    run.data.num_unique = REUSE_TOTAL
    return run


def member(size_name: str, tuning: str) -> Experiment:
    """One run of the main study."""
    size = SIZES[size_name]
    checkpoint = f"Qwen2.5-{size_name.upper()}" + ("-Instruct" if tuning == "instruct" else "")
    name = f"qwen2.5-{size_name}-{tuning}"
    return Experiment(
        name=name,
        model=ModelConfig(name=name, path=f"models/{checkpoint}", n_nominal=size.n_nominal),
        data=DataConfig(train="data/train", heldout="data/heldout"),
        sampling=SamplingConfig(wave_sequences=size.wave),
        grpo=GrpoConfig(micro_batch_prompts=size.micro_prompts, remat=size.remat),
        mesh=MeshConfig(tensor=size.tensor, sampler_tensor=size.sampler),
        reward_workers=16,
    )
