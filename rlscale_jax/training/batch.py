"""Rollouts to batches: groups with their advantages, right-padded, cut into mini- and micro-batches of like length."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from rlscale_jax.experiment.config import GrpoConfig
from rlscale_jax.grpo import advantages
from rlscale_jax.models.mesh import batch_sharding, ways

_SMALLEST_BUCKET = 16

Array = jax.Array | np.ndarray  # on the host until a program takes it


class RolloutsLike(Protocol):
    """The fields of `sampler.Rollouts` that an update needs."""

    @property
    def tokens(self) -> np.ndarray: ...  # [P G T] int32

    @property
    def lengths(self) -> np.ndarray: ...  # [P G] int32

    @property
    def logprobs(self) -> np.ndarray: ...  # [P G T] float32, at temperature 1

    @property
    def finish(self) -> np.ndarray: ...  # [P G], 0: ended by an eos token


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutBatch:
    """P prompts with G completions each; everything is right-padded, lengths say what is real.

    `loss_mask` is True where a completion counts in the loss. `old_logprobs` and `ref_logprobs` are None where the
    update does without: exactly on-policy, or no KL penalty.
    """

    prompt_tokens: Int[Array, "P Tp"]
    prompt_lengths: Int[Array, " P"]
    completion_tokens: Int[Array, "P G Tc"]
    completion_lengths: Int[Array, "P G"]
    advantages: Float[Array, "P G"]
    sampler_logprobs: Float[Array, "P G Tc"]
    loss_mask: Bool[Array, "P G"]
    old_logprobs: Float[Array, "P G Tc"] | None = None
    ref_logprobs: Float[Array, "P G Tc"] | None = None

    @property
    def num_prompts(self) -> int:
        return self.completion_tokens.shape[0]

    @property
    def num_samples(self) -> int:
        return self.completion_tokens.shape[1]


def make_batch(rollouts: RolloutsLike, prompts: Sequence[Sequence[int]], rewards, config: GrpoConfig) -> RolloutBatch:
    """The batch (NumPy) of P prompts, their rollouts and their rewards [P G].

    Filters of the config only clear `loss_mask`: the tokens of a masked completion leave numerator and denominator.
    Advantages are taken over the whole group before any of it is masked.

    Raises:
      ValueError: counts that do not agree, an empty prompt, lengths out of range, rewards that are not finite.
    """
    rewards = np.asarray(rewards, np.float32)
    _check(rollouts, prompts, rewards)
    width = max(1, int(np.max(rollouts.lengths)))
    prompt_lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    prompt_tokens = np.zeros((len(prompts), prompt_lengths.max()), np.int32)
    for row, prompt in zip(prompt_tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    return RolloutBatch(
        prompt_tokens=prompt_tokens,
        prompt_lengths=prompt_lengths,
        completion_tokens=np.asarray(rollouts.tokens[..., :width], np.int32),
        completion_lengths=np.asarray(rollouts.lengths, np.int32),
        advantages=np.asarray(
            advantages.group_advantages(rewards, eps=config.advantage_eps, normalize_std=config.normalize_std)
        ),
        sampler_logprobs=np.asarray(rollouts.logprobs[..., :width], np.float32),
        loss_mask=_loss_mask(np.asarray(rollouts.finish), rewards, config),
    )


def _loss_mask(finish: np.ndarray, rewards: np.ndarray, config: GrpoConfig) -> np.ndarray:
    """Overlong filtering and the dropping of groups without signal: DAPO, Yu et al. 2025 (arXiv 2503.14476)."""
    mask = np.ones(rewards.shape, bool)
    if config.mask_overlong:
        mask &= finish == 0
    if config.drop_zero_variance:
        mask &= advantages.has_signal(rewards)[:, None]
    return mask


def _check(rollouts: RolloutsLike, prompts: Sequence[Sequence[int]], rewards: np.ndarray) -> None:
    tokens, lengths = np.shape(rollouts.tokens), np.asarray(rollouts.lengths)
    if len(tokens) != 3 or rewards.shape != tokens[:2] or lengths.shape != tokens[:2] or len(prompts) != tokens[0]:
        raise ValueError(
            f"{len(prompts)} prompts, rewards {rewards.shape}, lengths {lengths.shape} and tokens {tokens} do not "
            "agree; they need P prompts, [P G], [P G] and [P G T]"
        )
    if lengths.min() < 0 or lengths.max() > tokens[2]:
        raise ValueError(f"completion lengths from {lengths.min()} to {lengths.max()} in {tokens[2]} slots")
    if not np.isfinite(rewards).all():
        raise ValueError(f"{(~np.isfinite(rewards)).sum()} of {rewards.size} rewards are not finite")
    if not all(prompts[i] for i in range(len(prompts))):
        raise ValueError(f"prompt {[bool(prompt) for prompt in prompts].index(False)} has no tokens")


def split(batch: RolloutBatch, config: GrpoConfig) -> list[list[RolloutBatch]]:
    """Mini-batches in the order of the prompts, each cut into micro-batches of prompts with like lengths.

    Order within a mini-batch does not change its update, so groups are sorted by their longest counted completion and
    each micro-batch is padded only to its own bucket. Micro-batches without any counted completion are left out,
    all but the first.

    Raises:
      ValueError: prompts that do not divide into mini-batches, or these into micro-batches.
    """
    num_prompts = batch.num_prompts
    if num_prompts % config.num_minibatches:
        raise ValueError(f"{num_prompts} prompts do not divide into {config.num_minibatches} mini-batches")
    size = num_prompts // config.num_minibatches
    micro_size = config.micro_batch_prompts or size
    if size % micro_size:
        raise ValueError(f"a mini-batch of {size} prompts does not divide into micro-batches of {micro_size}")
    parts = [take(batch, range(start, start + size)) for start in range(0, num_prompts, size)]
    return [_micro_batches(part, micro_size) for part in parts]


def _micro_batches(batch: RolloutBatch, size: int) -> list[RolloutBatch]:
    needed = np.where(batch.loss_mask, batch.completion_lengths, 0).max(axis=1)
    order = np.argsort(-needed, kind="stable")
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [fit_to_buckets(take(batch, part)) for part in parts if needed[part].any() or part is parts[0]]


def take(batch: RolloutBatch, prompts: Sequence[int] | np.ndarray) -> RolloutBatch:
    """Some of a batch's prompts, with all their completions."""
    index = np.asarray(prompts)
    return jax.tree.map(lambda a: a[index], batch)


def fit_to_buckets(batch: RolloutBatch) -> RolloutBatch:
    """The batch cut or padded to the buckets of its longest prompt and longest counted completion.

    Completions outside the loss are cut to the bucket with their lengths; nothing else depends on them.
    """
    needed = int(np.where(batch.loss_mask, batch.completion_lengths, 0).max())
    prompt_width, width = bucket(int(batch.prompt_lengths.max())), bucket(needed)
    resized = {
        name: _resize(getattr(batch, name), width)
        for name in ("completion_tokens", "sampler_logprobs", "old_logprobs", "ref_logprobs")
        if getattr(batch, name) is not None
    }
    return dataclasses.replace(
        batch,
        prompt_tokens=_resize(batch.prompt_tokens, prompt_width),
        completion_lengths=np.minimum(batch.completion_lengths, width),
        **resized,
    )


def bucket(length: int) -> int:
    """The smallest padded width that holds `length`: 16, 24, 32, 48, 64, 96, …: powers of two and 3/2 of them.

    At most a third of a width is padding, and few shapes are compiled.
    """
    width = _SMALLEST_BUCKET
    while width < length:
        width *= 2
    return width * 3 // 4 if width > _SMALLEST_BUCKET and length <= width * 3 // 4 else width


def _resize(array: Array, width: int) -> np.ndarray:
    extra = max(0, width - array.shape[-1])
    return np.pad(np.asarray(array)[..., :width], [(0, 0)] * (array.ndim - 1) + [(0, extra)])


def place(batch: RolloutBatch, mesh: Mesh) -> RolloutBatch:
    """The batch on a mesh, its rows sharded over `data` and `fsdp`; every host gives the whole batch, in NumPy."""
    sharding = batch_sharding(mesh)
    batch = split_groups(batch, ways(mesh, "batch"))
    return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, sharding, a.__getitem__), batch)


def split_groups(batch: RolloutBatch, num_shards: int) -> RolloutBatch:
    """Groups cut into equal parts until the rows divide over the shards; each part has its own copy of the prompt.

    Advantages are already taken, so this changes no number of an update, only how often a prompt is computed.

    Raises:
      ValueError: even single samples do not divide.
    """
    num_prompts, num_samples = batch.num_prompts, batch.num_samples
    parts = num_shards // math.gcd(num_shards, num_prompts)
    if num_samples % parts:
        raise ValueError(
            f"{num_prompts} prompts with {num_samples} samples do not divide over {num_shards} shards of the batch; "
            f"use a multiple of {num_shards // math.gcd(num_shards, num_samples)} prompts in a micro-batch"
        )
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    changed = {
        name: np.repeat(array, parts, axis=0)
        if name in ("prompt_tokens", "prompt_lengths")
        else array.reshape(num_prompts * parts, num_samples // parts, *array.shape[2:])
        for name, array in fields.items()
        if array is not None
    }
    return dataclasses.replace(batch, **changed)


def useful_token_fraction(minibatches: Sequence[Sequence[RolloutBatch]]) -> float:
    """Share of the slots that go through the model which hold a prompt's or a completion's token."""
    slots = useful = 0
    for micro in (micro for minibatch in minibatches for micro in minibatch):
        slots += micro.prompt_tokens.size + micro.completion_tokens.size
        useful += int(np.sum(micro.prompt_lengths)) + int(np.sum(micro.completion_lengths))
    return useful / slots


def dump(batch: RolloutBatch, path: epath.PathLike) -> None:
    """Writes every array to an .npz file, for the inspection of a batch that broke an update."""
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    with epath.Path(path).open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{name: np.asarray(array) for name, array in fields.items() if array is not None}
        )
