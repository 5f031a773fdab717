"""The clipped policy loss with its KL penalty, token by token, as sums over one common denominator.

Everything is a sum over tokens, so that micro-batches, packing and devices can be added up before the one division
(`finalize`): the result is one token mean over the mini-batch, however it was split.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rlscale_jax.experiment.config import GrpoConfig

_LOG_RATIO_LIMIT = 80.0  # keeps exp finite in float32; far outside of what clipping and clamping let through

Numbers = jax.Array | np.ndarray
Sums = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenInputs:
    """What the loss knows of each token beside its log-probability; arrays of one shape, float32.

    `mask` is 1 where a token counts, `weight` its share in the loss before the division (see `token_weights`).
    `old_logprobs` None: exactly on-policy, the current ones stand in. `ref_logprobs` None: no KL penalty.
    """

    advantages: Numbers
    mask: Numbers
    weight: Numbers
    sampler_logprobs: Numbers
    old_logprobs: Numbers | None
    ref_logprobs: Numbers | None


class TokenLosses(NamedTuple):
    """Per token: policy loss, KL estimate, log importance ratio, and where clipping changed the loss (1.0)."""

    policy: jax.Array
    kl: jax.Array
    log_ratio: jax.Array
    clipped: jax.Array
    clipped_lower: jax.Array


def token_weights(config: GrpoConfig, mask: Float[Array, "P G Tc"]) -> Float[Array, "P G Tc"]:
    """1 for every counted token (token_mean), or 1 over their number in its sequence (sequence_mean).

    Source: token_mean is DAPO's (Yu et al. 2025, arXiv 2503.14476), sequence_mean GRPO's own (Shao et al. 2024,
    arXiv 2402.03300).
    """
    if config.aggregation == "token_mean":
        return mask
    return mask / jnp.maximum(mask.sum(axis=-1, keepdims=True), 1.0)


def token_losses(
    config: GrpoConfig,
    logprobs: Float[Array, "*tokens"],
    *,
    old_logprobs: Float[Array, "*tokens"],
    ref_logprobs: Float[Array, "*tokens"] | None,
    advantages: Float[Numbers, "*tokens"],
) -> TokenLosses:
    """PROTOCOL's objective for each token: clipped surrogate, dual clip, clamped k3.

    Sources: clipping, Schulman et al. 2017 (arXiv 1707.06347), low and high apart as in DAPO (arXiv 2503.14476);
    dual clip, Ye et al. 2020 (arXiv 1912.09729); k3, Schulman 2020 (joschu.net/blog/kl-approx.html).
    """
    log_ratio = _limit(logprobs - old_logprobs)
    ratio = jnp.exp(log_ratio)
    plain = -advantages * ratio
    clipped = -advantages * jnp.clip(ratio, 1.0 - config.clip_low, 1.0 + config.clip_high)
    policy = jnp.maximum(plain, clipped)
    is_lower = jnp.zeros(policy.shape, bool)
    if config.dual_clip > 0:
        bound = -advantages * config.dual_clip
        is_lower = (advantages < 0) & (policy > bound)
        policy = jnp.where(advantages < 0, jnp.minimum(policy, bound), policy)
    kl = jnp.zeros_like(policy) if ref_logprobs is None else k3(logprobs, ref_logprobs, clamp=config.kl_clamp)
    is_clipped = jnp.asarray(clipped > plain)
    return TokenLosses(
        policy, kl, log_ratio, is_clipped.astype(policy.dtype), jnp.asarray(is_lower).astype(policy.dtype)
    )


def k3(logprobs: Float[Array, "*tokens"], ref_logprobs: Float[Array, "*tokens"], *, clamp: float) -> jax.Array:
    """Schulman's estimate exp(d) − d − 1 of KL(policy || reference), d = ref − policy, clamped to ±clamp."""
    difference = _limit(ref_logprobs - logprobs)
    return jnp.clip(jnp.exp(difference) - difference - 1.0, -clamp, clamp)


def _limit(log_ratio: jax.Array) -> jax.Array:
    return jnp.clip(log_ratio, -_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)


def policy_loss(
    config: GrpoConfig, logprobs: Numbers, entropies: Numbers, tokens: TokenInputs
) -> tuple[jax.Array, Sums]:
    """The loss summed over tokens (not yet divided) and the sums of its metrics; names ending in _max are maxima.

    Tokens outside the mask count nowhere, whatever stands there, NaN included.
    """
    counted = tokens.mask > 0
    logprobs, entropies, sampler = (jnp.where(counted, a, 0.0) for a in (logprobs, entropies, tokens.sampler_logprobs))
    old = (
        jax.lax.stop_gradient(logprobs) if tokens.old_logprobs is None else jnp.where(counted, tokens.old_logprobs, 0.0)
    )
    ref = None if tokens.ref_logprobs is None else jnp.where(counted, tokens.ref_logprobs, 0.0)
    losses = token_losses(config, logprobs, old_logprobs=old, ref_logprobs=ref, advantages=tokens.advantages)
    policy = losses.policy
    if config.importance_cap > 0:
        policy = policy * importance_weights(old, sampler, cap=config.importance_cap)
    pg_loss, kl_loss = (tokens.weight * policy).sum(), (tokens.weight * losses.kl).sum()
    difference = jnp.abs(jnp.exp(old) - jnp.exp(sampler))
    sums = {
        "pg_loss": pg_loss,
        "kl_loss": kl_loss,
        "weight": tokens.weight.sum(),
        "tokens": tokens.mask.sum(),
        "ppo_kl": -(tokens.mask * losses.log_ratio).sum(),
        "pg_clipfrac": (tokens.mask * losses.clipped).sum(),
        "pg_clipfrac_lower": (tokens.mask * losses.clipped_lower).sum(),
        "entropy": entropies.sum(),
        "probs_diff": difference.sum(),
        "probs_diff_square": (difference * difference).sum(),
        "probs_diff_max": difference.max(),
    }
    return pg_loss + config.kl_coef * kl_loss, sums


def importance_weights(
    old_logprobs: Float[Array, "*tokens"], sampler_logprobs: Float[Array, "*tokens"], *, cap: float
) -> Float[Array, "*tokens"]:
    """min(trainer / sampler, cap): corrects for a sampler whose probabilities are not the trainer's.

    Source: truncated importance sampling, Ionides 2008; for RL on language models, Yao et al. 2025.
    """
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(_limit(old_logprobs - sampler_logprobs)), cap))


def add_sums(first: Sums, second: Sums) -> Sums:
    """Sums of two sets of tokens taken together."""
    join = {name: jnp.maximum if name.endswith("_max") else jnp.add for name in first}
    return {name: join[name](first[name], second[name]) for name in first}


def reduce_sums(stacked: Sums) -> Sums:
    """Sums over a leading axis of chunks."""
    return {name: a.max(axis=0) if name.endswith("_max") else a.sum(axis=0) for name, a in stacked.items()}


def finalize(config: GrpoConfig, sums: Sums) -> dict[str, jax.Array]:
    """Metrics, as means over the mini-batch. Without any counted token they are 0."""
    weight, tokens = jnp.maximum(sums["weight"], 1e-30), jnp.maximum(sums["tokens"], 1.0)
    mean = sums["probs_diff"] / tokens
    variance = sums["probs_diff_square"] / tokens - mean * mean
    pg_loss, kl_loss = sums["pg_loss"] / weight, sums["kl_loss"] / weight
    return {
        "actor/loss": pg_loss + config.kl_coef * kl_loss,
        "actor/pg_loss": pg_loss,
        "actor/kl_loss": kl_loss,
        "actor/ppo_kl": sums["ppo_kl"] / tokens,
        "actor/pg_clipfrac": sums["pg_clipfrac"] / tokens,
        "actor/pg_clipfrac_lower": sums["pg_clipfrac_lower"] / tokens,
        "actor/entropy": sums["entropy"] / tokens,
        "training/rollout_probs_diff_mean": mean,
        "training/rollout_probs_diff_max": sums["probs_diff_max"],
        "training/rollout_probs_diff_std": jnp.sqrt(jnp.maximum(variance, 0.0)),
    }


def zero_sums() -> Sums:
    """Sums over no tokens."""
    names = ("pg_loss", "kl_loss", "weight", "tokens", "ppo_kl", "pg_clipfrac", "pg_clipfrac_lower")
    names += ("entropy", "probs_diff", "probs_diff_square", "probs_diff_max")
    return {name: jnp.zeros((), jnp.float32) for name in names}
