"""Draws a next token from logits, with its log-probability, without sorting the vocabulary.

One token costs two uniform numbers: the inverse of the cumulative distribution is searched block first, then within
the block. (A Gumbel draw would need as many random numbers as the vocabulary has tokens.) Top-k and top-p are
thresholds, found exactly by bisection over the bit patterns of floats, so that their values are ordinary arguments
and another value compiles nothing. Equal logits at a threshold are all kept.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """What of the sampling parameters changes the program; their values are arguments."""

    greedy: bool
    scaled: bool  # temperature is not 1
    top_k: bool
    top_p: bool


class Parameters(NamedTuple):
    """Sampling parameters as arrays (scalars)."""

    temperature: jax.Array | np.float32
    top_k: jax.Array | np.int32
    top_p: jax.Array | np.float32


class Choice(NamedTuple):
    """A token for each row, its log-probability under the plain softmax and under the distribution it came from."""

    token: jax.Array  # [B] int32
    logprob: jax.Array  # [B] float32
    sampling_logprob: jax.Array  # [B] float32


COLDEST = 1e-30  # a float32 that processors do not flush to zero: 0 / 0 would be no logit


def method_and_parameters(temperature: float, top_k: int, top_p: float) -> tuple[Method, Parameters]:
    method = Method(greedy=temperature == 0, scaled=temperature != 1, top_k=top_k > 0, top_p=top_p < 1)
    return method, Parameters(np.float32(max(temperature, COLDEST)), np.int32(min(top_k, 2**31 - 1)), np.float32(top_p))


def choose(
    method: Method,
    parameters: Parameters,
    logits: Float[Array, "B V"],
    uniforms: Float[Array, "B 2"],
) -> Choice:
    """A token for each row, from its own two uniform numbers."""
    high = jnp.max(logits, axis=-1, keepdims=True)
    shifted = logits - high
    log_total = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    if method.greedy:
        token = first_true(shifted == 0)
        return Choice(token, _pick(shifted, token) - log_total, jnp.zeros_like(log_total))
    scaled = shifted / parameters.temperature if method.scaled else shifted
    kept = _truncate(method, parameters, scaled)
    weights = jnp.exp(kept)
    token = draw(weights, uniforms)
    logprob = _pick(shifted, token) - log_total
    if not (method.scaled or method.top_k or method.top_p):
        return Choice(token, logprob, logprob)
    return Choice(token, logprob, _pick(scaled, token) - jnp.log(jnp.sum(weights, axis=-1)))


def uniforms(keys: UInt32[Array, "*rows 2"], positions: Int[Array, "*rows"]) -> Float[Array, "*rows 2"]:
    """Two numbers in [0, 1) for each row, from its key data and its token's position in the completion."""

    def one(key, position):
        return jax.random.uniform(jax.random.fold_in(jax.random.wrap_key_data(key), position), (2,))

    for _ in positions.shape:
        one = jax.vmap(one)
    return one(keys, positions)


def _pick(values, token):
    return jnp.take_along_axis(values, token[:, None], axis=-1)[:, 0]


def first_true(flags: jax.Array) -> jax.Array:
    """Index of each row's first True (an argmax of booleans, in a form that vectorises)."""
    size = flags.shape[-1]
    return jnp.min(jnp.where(flags, jnp.arange(size, dtype=jnp.int32), size - 1), axis=-1)


def draw(weights: Float[Array, "B V"], uniforms: Float[Array, "B 2"]) -> Int[Array, " B"]:
    """An index for each row, with probability proportional to its weight; never one of weight 0."""
    rows, size = weights.shape
    block_size = 1 << ((size - 1).bit_length() + 1) // 2  # about the square root: both searches are short
    blocks = jnp.pad(weights, ((0, 0), (0, -size % block_size))).reshape(rows, -1, block_size)
    block = _search(jnp.sum(blocks, axis=-1), uniforms[:, 0])
    within = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    return block * block_size + _search(within, uniforms[:, 1])


def _search(weights, uniforms):
    """First index whose cumulative weight exceeds uniform x total. The cumulative sum is a product with a triangle."""
    size = weights.shape[-1]
    triangle = jnp.triu(jnp.ones((size, size), weights.dtype))
    cumulative = jnp.matmul(weights, triangle, precision=jax.lax.Precision.HIGHEST)
    reached = jnp.where(weights > 0, cumulative, -1.0)
    total = jnp.max(reached, axis=-1, keepdims=True)
    return first_true(reached > uniforms[:, None] * total)


def _truncate(method, parameters, scaled):
    """Logits with -inf where top-k, then top-p of what is left, remove a token."""
    if method.top_k:
        bits = _ordered(scaled)
        least = _largest(lambda t: jnp.sum(bits >= t[:, None], axis=-1) >= parameters.top_k, scaled.shape[0])
        scaled = jnp.where(bits >= least[:, None], scaled, -jnp.inf)
    if method.top_p:
        weights = jnp.exp(scaled)
        wanted = parameters.top_p * jnp.sum(weights, axis=-1)
        bits = _ordered(scaled)

        def mass(t):
            return jnp.sum(jnp.where(bits >= t[:, None], weights, 0.0), axis=-1)

        least = _largest(lambda t: mass(t) >= wanted, scaled.shape[0])
        scaled = jnp.where(bits >= least[:, None], scaled, -jnp.inf)
    return scaled


def _ordered(values):
    """Floats as int32 in the same order."""
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    return jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _largest(holds, num_rows):
    """The largest int32 threshold for which `holds` (true for low ones, then false), for each row.

    Logits are shifted, so 0 is the greatest value and thresholds are not positive: 31 halvings of [-2^31, 0].
    """

    def halve(i, low):
        middle = low + jnp.right_shift(jnp.int32(1 << 30), i)
        return jnp.where(holds(middle), middle, low)

    low = jax.lax.fori_loop(0, 31, halve, jnp.full((num_rows,), -(2**31), jnp.int32))
    return jnp.where(holds(jnp.zeros_like(low)), 0, low)
