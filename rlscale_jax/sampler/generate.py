"""`generate`: completions of prompts, sampled or greedy, with their log-probabilities.

Arguments are checked here, before anything compiles; `engine` does the work.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from rlscale_jax.models import Model, mesh
from rlscale_jax.models.architecture import Architecture
from rlscale_jax.sampler.engine import Engine, Request
from rlscale_jax.sampler.layout import lay_out
from rlscale_jax.sampler.rollouts import Finished, Rollouts


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    num_samples: int,
    max_new_tokens: int | Sequence[Sequence[int]] | np.ndarray,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    eos_ids: Sequence[int],
    seed: int,
    step: int = 0,
    prompt_ids: Sequence[int] | None = None,
    wave_sequences: int = 0,
    between_segments: Callable[[Finished], None] | None = None,
) -> Rollouts:
    """`num_samples` completions of every prompt, computed in the parameters' dtype.

    Args:
      model: parameters as trained, or laid out by `lay_out` (worth it when they serve several calls).
      prompts: token ids, P lists of at least one.
      max_new_tokens: one limit, or one for each sample [P G].
      temperature: 0 takes the most likely token; top_k 0 and top_p 1 cut nothing (top_k acts first).
      eos_ids: tokens that end a completion (they count in its length); () never ends one before its limit.
      seed, step, prompt_ids: with the sample's index and the token's position, all that a draw depends on;
        `prompt_ids` default to 0..P-1.
      wave_sequences: sequences decoded at a time, places of finished ones being refilled; 0: all.
      between_segments: called after every segment with the groups that ended in it, perhaps none: their answers can
        be graded while others are still written. What it raises ends the rollout.

    Raises:
      ValueError: what was given, what is allowed.
    """
    request = _checked(
        model.architecture,
        prompts=prompts,
        num_samples=num_samples,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        eos_ids=eos_ids,
        seed=seed,
        step=step,
        prompt_ids=prompt_ids,
        wave_sequences=wave_sequences,
    )
    request = dataclasses.replace(request, between_segments=between_segments)
    model = lay_out(model, rows=request.capacity)
    with mesh.of(model.params):
        return Engine(model, request).run()


def _checked(architecture: Architecture, *, prompts, num_samples, max_new_tokens, prompt_ids, wave_sequences, **rest):
    if not len(prompts):
        raise ValueError("no prompts were given")
    _check_integers(num_samples=num_samples, wave_sequences=wave_sequences, **{k: rest[k] for k in INTEGERS})
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
    prompts = [_prompt(architecture, i, p) for i, p in enumerate(prompts)]
    limits = _limits(architecture, prompts, num_samples, max_new_tokens)
    if wave_sequences and wave_sequences < num_samples:
        raise ValueError(f"wave_sequences {wave_sequences} is less than num_samples {num_samples}; groups enter whole")
    _check_sampling(architecture, **rest)
    return Request(
        prompts=prompts,
        num_samples=num_samples,
        limits=limits,
        prompt_ids=_prompt_ids(len(prompts), prompt_ids),
        capacity=wave_sequences or len(limits),
        **{**rest, "seed": int(rest["seed"]), "eos_ids": tuple(int(e) for e in rest["eos_ids"])},
    )


INTEGERS = ("top_k", "seed", "step")


def _check_integers(**given) -> None:
    for name, value in given.items():
        if not isinstance(value, int | np.integer):
            raise ValueError(f"{name} is {value!r}; it must be an integer")


def _prompt(architecture, index, prompt) -> np.ndarray:
    tokens = np.asarray(prompt)
    if tokens.ndim != 1 or not tokens.size:
        raise ValueError(f"prompt {index} is empty or not a list of token ids (shape {tokens.shape})")
    if not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"prompt {index} holds {tokens.dtype} values; token ids are integers")
    if tokens.min() < 0 or tokens.max() >= architecture.vocab_size:
        outside = tokens[(tokens < 0) | (tokens >= architecture.vocab_size)][0]
        raise ValueError(f"prompt {index} holds token {outside}; the vocabulary has {architecture.vocab_size}")
    return tokens.astype(np.int32)


def _limits(architecture, prompts, num_samples, max_new_tokens) -> np.ndarray:
    """[P*G]."""
    given = np.asarray(max_new_tokens)
    shape = (len(prompts), num_samples)
    if given.shape not in ((), shape) or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"max_new_tokens has shape {given.shape} and type {given.dtype}; use one integer or {shape}")
    if given.min() < 1:
        raise ValueError(f"max_new_tokens {given.min()}; at least 1 token is sampled")
    limits = np.broadcast_to(given, shape)
    totals = np.array([len(p) for p in prompts])[:, None] + limits
    if totals.max() > architecture.max_positions:
        index = int(totals.max(axis=1).argmax())
        raise ValueError(
            f"prompt {index} has {len(prompts[index])} tokens and up to {limits[index].max()} new ones; "
            f"the model's limit is {architecture.max_positions} positions"
        )
    return limits.reshape(-1).astype(np.int32)


def _prompt_ids(num_prompts, prompt_ids) -> np.ndarray:
    ids = np.arange(num_prompts) if prompt_ids is None else np.asarray(prompt_ids)
    if ids.shape != (num_prompts,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"prompt_ids has shape {ids.shape} and type {ids.dtype}; use {num_prompts} integers")
    if ids.min() < 0 or ids.max() >= 2**32:
        raise ValueError(f"prompt_ids reach from {ids.min()} to {ids.max()}; they must be in [0, 2**32)")
    return ids.astype(np.uint32)


def _check_sampling(architecture, *, temperature, top_p, top_k, eos_ids, seed, step) -> None:
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}; use 0 (greedy) or a positive number")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; use a number in (0, 1], 1 cuts nothing")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}; use 0 (cuts nothing) or a positive number")
    for eos in eos_ids:
        if not 0 <= eos < architecture.vocab_size:
            raise ValueError(f"eos id {eos} is outside the vocabulary of {architecture.vocab_size}")
    if not 0 <= step < 2**32 or not 0 <= seed < 2**63:
        raise ValueError(f"seed {seed} and step {step} must not be negative (seed < 2**63, step < 2**32)")
