"""Ways for queries to meet keys: the `attend` functions of a plain forward and of groups that share a prompt.

Scores and softmax are float32. Shapes: q [..., T, N, H], k and v [..., S, K, H] with N a multiple of K; query head n
reads key/value head n // (N / K).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rlscale_jax.models.layers import Attend

MASKED = -1e30  # finite: a row without any visible key gives zeros' mean, never NaN


def attention(
    q: Float[Array, "*rows T N H"],
    k: Float[Array, "*rows S K H"],
    v: Float[Array, "*rows S K H"],
    visible: Bool[Array, "..."],
) -> Float[Array, "*rows T N H"]:
    """Softmax attention; `visible` broadcasts to [*rows, T, S], True where a query may see a key."""
    scores = jnp.where(visible[..., None, None, :, :], _scores(q, k), MASKED)
    return _mix(jax.nn.softmax(scores, axis=-1), v).reshape(q.shape)


def causal_attend() -> Attend:
    """Each token sees itself and what is before it. Right padding needs no mask: nothing real looks at it."""

    def attend(q, k, v, _):
        num_tokens = q.shape[-3]
        visible = jnp.tril(jnp.ones((num_tokens, num_tokens), bool))
        return attention(q, k, v, visible), None

    return attend


def shared_prefix_attend(prefix_lengths: jax.Array, num_prefix: int, num_samples: int) -> Attend:
    """A row is one prompt (`num_prefix` slots, `prefix_lengths` [P] real) followed by its completions.

    The row has num_prefix + num_samples * Tc tokens. Prompt tokens are causal among themselves; a completion's tokens
    see the whole prompt, once for all the group, and their own past.
    """

    def attend(q, k, v, _):
        prompt = [a[:, :num_prefix] for a in (q, k, v)]
        rows = (q.shape[0], num_samples, -1)
        own = [a[:, num_prefix:].reshape(*rows, *a.shape[2:]) for a in (q, k, v)]
        prompt_out = causal_attend()(prompt[0], prompt[1], prompt[2], None)[0]
        own_out = _completions_see_prefix(own, prompt[1], prompt[2], prefix_lengths)
        return jnp.concatenate([prompt_out, own_out.reshape(q.shape[0], -1, *q.shape[2:])], axis=1), None

    return attend


def _completions_see_prefix(own, prefix_k, prefix_v, prefix_lengths):
    """own q, k, v are [P, G, Tc, heads, H]; the prefix [P, S, K, H] is met by all G completions in one product."""
    q, k, v = own
    num_prompts, num_samples, num_tokens = q.shape[:3]
    joined = q.reshape(num_prompts, num_samples * num_tokens, *q.shape[3:])
    in_prefix = jnp.arange(prefix_k.shape[1]) < prefix_lengths[:, None]  # [P S]
    prefix_scores = jnp.where(in_prefix[:, None, None, None, :], _scores(joined, prefix_k), MASKED)  # [P K R GT S]
    shape = (*prefix_scores.shape[:3], num_samples, num_tokens, -1)
    prefix_scores = jnp.moveaxis(prefix_scores.reshape(shape), 3, 1)  # [P G K R T S]
    past = jnp.tril(jnp.ones((num_tokens, num_tokens), bool))
    own_scores = jnp.where(past, _scores(q, k), MASKED)  # [P G K R T T]
    weights = jax.nn.softmax(jnp.concatenate([prefix_scores, own_scores], axis=-1), axis=-1)
    on_prefix, on_own = jnp.split(weights, [prefix_k.shape[1]], axis=-1)
    on_prefix = jnp.moveaxis(on_prefix, 1, 3).reshape(
        *prefix_scores.shape[:1], *prefix_scores.shape[2:4], -1, prefix_k.shape[1]
    )
    from_prefix = _mix(on_prefix, prefix_v).reshape(q.shape)
    return from_prefix + _mix(on_own, v).reshape(q.shape)


def _scores(q, k):
    """Scaled products [*rows, K, N/K, T, S] in float32."""
    grouped = q.reshape(*q.shape[:-2], k.shape[-2], -1, q.shape[-1])
    scores = jnp.einsum("...tkrh,...skh->...krts", grouped, k, preferred_element_type=jnp.float32)
    return scores * q.shape[-1] ** -0.5


def _mix(weights, v):
    """Values averaged by weights [*rows, K, N/K, T, S]: [*rows, T, K, N/K, H] in v's dtype."""
    return jnp.einsum("...krts,...skh->...tkrh", weights.astype(v.dtype), v)
