"""Qwen2.5, base and instruct: the runs of arXiv 2509.25300 (its sections 3 and 4), seven sizes from 0.5B to 72B.

One run, 105 steps of 512 prompts x 8 samples over the curriculum, evaluated on the 500 held-out problems at every step:

    python -m rlscale_jax.prepare --source=hub --target=data
    python -m rlscale_jax.plan  --config=configs/qwen2_5.py:7b --topology=v5e:8x8
    python -m rlscale_jax.train --config=configs/qwen2_5.py:7b --workdir=runs/qwen2_5

Variants: `:7b` or `:7b-base`, `:7b-instruct`; 0.5b, 1.5b, 3b, 7b, 14b, 32b, 72b. The checkpoint is expected in
models/Qwen2.5-7B (as published: config.json, *.safetensors, tokenizer files); `--config.model.path=` names another
place. On pods see docs/pods.md; each size's slice, mesh, memory and hours are in docs/plans.md, made by `plan`.

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
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How a size is laid out; `tensor` ways share a group, the other devices of a slice are `fsdp`."""

    n_nominal: float
    topology: str  # the slice of docs/plans.md
    tensor: int
    micro_prompts: int  # 0: the whole mini-batch of 128
    wave: int  # sequences decoded at a time; 0: all 4096


SIZES = {
    "0.5b": Size(n_nominal=0.5e9, topology="v5e:4x4", tensor=1, micro_prompts=16, wave=1024),
    "1.5b": Size(n_nominal=1.5e9, topology="v5e:4x4", tensor=2, micro_prompts=8, wave=1024),
    "3b": Size(n_nominal=3e9, topology="v5e:4x8", tensor=2, micro_prompts=16, wave=1024),
    "7b": Size(n_nominal=7e9, topology="v5e:8x8", tensor=4, micro_prompts=16, wave=1024),
    "14b": Size(n_nominal=14e9, topology="v6e:8x8", tensor=4, micro_prompts=16, wave=1024),
    "32b": Size(n_nominal=32e9, topology="v6e:8x16", tensor=4, micro_prompts=32, wave=1024),
    "72b": Size(n_nominal=72e9, topology="v5p:8x8x8", tensor=4, micro_prompts=0, wave=0),
}


def get_config(variant: str = "7b") -> Experiment:
    """The experiment of `SIZE`, `SIZE-base` or `SIZE-instruct`.

    Raises:
      ValueError: another variant; the message lists those that exist.
    """
    size_name, _, tuning = variant.partition("-")
    if size_name not in SIZES or tuning not in ("", "base", "instruct"):
        raise ValueError(f"variant {variant!r}: use one of {', '.join(SIZES)}, alone or with -base or -instruct")
    size = SIZES[size_name]
    checkpoint = f"Qwen2.5-{size_name.upper()}" + ("-Instruct" if tuning == "instruct" else "")
    name = f"qwen2.5-{size_name}-{tuning or 'base'}"
    return Experiment(
        name=name,
        model=ModelConfig(name=name, path=f"models/{checkpoint}", n_nominal=size.n_nominal),
        data=DataConfig(train="data/train", heldout="data/heldout"),
        sampling=SamplingConfig(wave_sequences=size.wave),
        grpo=GrpoConfig(micro_batch_prompts=size.micro_prompts),
        mesh=MeshConfig(tensor=size.tensor),
        reward_workers=16,
    )
