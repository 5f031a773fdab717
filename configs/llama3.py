"""Llama 3 instruct: the second family of arXiv 2509.25300 (its Figure 6), four sizes from 1B to 70B.

The protocol is that of configs/qwen2_5.py:

    python -m rlscale_jax.plan  --config=configs/llama3.py:8b --topology=v5e:8x8
    python -m rlscale_jax.train --config=configs/llama3.py:8b --workdir=runs/llama3
    python -m rlscale_jax.study --config=configs/llama3.py:instruct --workdir=runs/llama3    four sizes x 3 seeds

Variants: `:8b` or `:8b-instruct` (the study's), `:8b-base`; 1b and 3b are Llama 3.2, 8b and 70b are Llama 3.1. The
checkpoint is expected in models/Llama-3.1-8B-Instruct; `--config.model.path=` names another place. Slices, memory and
hours: docs/plans.md.

Expected (the paper's Table 5, test loss at the end): 1B .945   3B .884   8B .750   70B .550
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

    release: str
    n_nominal: float
    topology: str  # the slice of docs/plans.md
    tensor: int
    micro_prompts: int  # of the mini-batch's 128, through the update at a time
    wave: int  # of the batch's 4096 sequences, decoded at a time
    sampler: int = 0  # ways that share the weights in sampling; 0: as `tensor`
    remat: str = "full"


SIZES = {
    "1b": Size(
        release="3.2", n_nominal=1e9, topology="v5e:4x4", tensor=2, sampler=8, micro_prompts=4, wave=1024, remat="dots"
    ),
    "3b": Size(release="3.2", n_nominal=3e9, topology="v5e:4x8", tensor=2, sampler=8, micro_prompts=32, wave=512),
    "8b": Size(release="3.1", n_nominal=8e9, topology="v5e:8x8", tensor=2, sampler=8, micro_prompts=32, wave=1024),
    "70b": Size(release="3.1", n_nominal=70e9, topology="v5p:8x8x8", tensor=8, micro_prompts=64, wave=4096),
}


def get_config(variant: str = "8b") -> Experiment | Study:
    """The experiment of `SIZE`, `SIZE-instruct` or `SIZE-base`; `instruct` or `base`: all sizes with three seeds.

    Raises:
      ValueError: another variant; the message lists those that exist.
    """
    if variant in ("instruct", "base"):
        members = tuple(member(f"{size}-{variant}") for size in SIZES)
        return Study(name=f"llama3-{variant}", members=members, seeds=(0, 1, 2))
    return member(variant)


def member(variant: str) -> Experiment:
    """One run."""
    size_name, _, tuning = variant.partition("-")
    if size_name not in SIZES or tuning not in ("", "base", "instruct"):
        raise ValueError(
            f"variant {variant!r}: use one of {', '.join(SIZES)}, alone or with -instruct or -base; "
            "or instruct, base for all sizes"
        )
    size = SIZES[size_name]
    checkpoint = f"Llama-{size.release}-{size_name.upper()}" + ("" if tuning == "base" else "-Instruct")
    name = f"llama{size.release}-{size_name}-{tuning or 'instruct'}"
    return Experiment(
        name=name,
        model=ModelConfig(name=name, path=f"models/{checkpoint}", n_nominal=size.n_nominal),
        data=DataConfig(train="data/train", heldout="data/heldout"),
        sampling=SamplingConfig(wave_sequences=size.wave),
        grpo=GrpoConfig(micro_batch_prompts=size.micro_prompts, remat=size.remat),
        mesh=MeshConfig(tensor=size.tensor, sampler_tensor=size.sampler),
        reward_workers=16,
    )
