"""Advantages of a group of completions of one prompt, and what share of groups carries no signal."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Rewards = Float[Array | np.ndarray, "P G"]


def group_advantages(rewards: Rewards, *, eps: float, normalize_std: bool) -> Float[Array, "P G"]:
    """Rewards centred within each prompt's group, divided by their standard deviation (ddof 1) + eps.

    A group whose rewards are all equal gets exactly 0, whatever rounding does to its mean.
    `normalize_std=False` leaves the division out (Dr. GRPO, Liu et al. 2025, arXiv 2503.20783).

    Raises:
      ValueError: groups of one, which have neither a baseline nor a standard deviation.
    Source: Tan et al. 2025 (arXiv 2509.25300), Eq. 4.
    """
    _need_groups(rewards)
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    if normalize_std:
        centred = centred / (rewards.std(axis=1, ddof=1, keepdims=True) + eps)
    return jnp.where(has_signal(rewards)[:, None], centred, 0.0)


def has_signal(rewards: Rewards) -> Bool[Array, " P"]:
    """True where a group's rewards differ: only there is an advantage other than 0."""
    return rewards.max(axis=1) > rewards.min(axis=1)


def signal_metrics(rewards: Rewards) -> dict[str, jax.Array]:
    """Share of groups without signal, and of those all right (mean reward above 1/2) and all wrong."""
    flat = ~has_signal(rewards)
    right = rewards.mean(axis=1) > 0.5
    return {
        "frac_reward_zero_std": flat.mean(),
        "frac_reward_all_right": (flat & right).mean(),
        "frac_reward_all_wrong": (flat & ~right).mean(),
    }


def _need_groups(rewards: Rewards) -> None:
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(
            f"rewards have shape {tuple(rewards.shape)}; advantages need [prompts, samples] with at least 2 samples "
            "of each prompt (grpo.group_size >= 2)"
        )
