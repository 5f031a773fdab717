"""Log-probabilities of given tokens under an output matrix, without ever holding [tokens, vocabulary] logits.

Tokens go through the output matrix in chunks: at one time the logits of `chunk_tokens` tokens exist, in float32.
`reduce_tokens` also makes the gradient chunk by chunk, in the same pass: the weight of a token's log-probability
in the objective is known as soon as that log-probability is, so its logits are needed once, not again in a
backward pass. (The idea of fused linear cross-entropy, Hsu et al. 2024, arXiv 2410.10989, for any objective that is a
sum over tokens.)
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jaxtyping import Array, Float, Int

# token_fn(logprobs [n], entropies [n], inputs of [n]) -> (scalar sum over the tokens, any pytree of per-chunk values)
TokenFn = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, Any]]

HeadAxes = Literal["dv", "vd"]  # a kernel of its own, or a tied embedding table

_VECTOR = 8  # tokens, of 16 bits each: how far apart GPUs want rows, and a TPU's registers their parts
_HEAD_SLICES = 8  # of the vocabulary, in which a lone device adds to the head's gradient


def _as_it_is(array: jax.Array) -> jax.Array:
    return array


def _sum_parts(arrays: jax.Array) -> jax.Array:
    return arrays.sum(axis=0)


class HeadPlace(NamedTuple):
    """How an output matrix that is spread over devices is gathered, and its gradient scattered."""

    whole: Callable[[jax.Array], jax.Array] = _as_it_is  # for products: every D of a device's part of the vocabulary
    sum_parts: Callable[[jax.Array], jax.Array] = _sum_parts  # [shards, *head] -> the gradient, as the parameter lies


ONE_PLACE = HeadPlace()


class Scored(NamedTuple):
    """What is known of each token: its log-probability and the entropy of its distribution, nats, float32."""

    logprobs: jax.Array
    entropies: jax.Array


def token_logprobs(
    hidden: Float[Array, "*rows D"],
    head: Float[Array, "D V"] | Float[Array, "V D"],
    targets: Int[Array, "*rows"],
    *,
    chunk_tokens: int,
    num_shards: int = 1,
    head_axes: HeadAxes = "dv",
    place: HeadPlace = ONE_PLACE,
) -> Float[Array, "*rows"]:
    """Log-probability of each target at temperature 1, nats, float32; differentiable.

    Logits are products in hidden's dtype, accumulated and kept in float32. The gradient recomputes each chunk.
    `num_shards`: devices over which the leading axis is sharded; each chunk then takes chunk_tokens of every shard.
    `head_axes`: how the head lies, so that a tied embedding table is used as it is. `place`: over which devices.
    """
    sizes = {"chunk_tokens": chunk_tokens, "num_shards": num_shards}
    return score_tokens(hidden, head, targets, **sizes, head_axes=head_axes, place=place).logprobs


def score_tokens(
    hidden: Float[Array, "*rows D"],
    head: Float[Array, "D V"] | Float[Array, "V D"],
    targets: Int[Array, "*rows"],
    *,
    chunk_tokens: int,
    num_shards: int = 1,
    head_axes: HeadAxes = "dv",
    place: HeadPlace = ONE_PLACE,
) -> Scored:
    """As `token_logprobs`, with the entropy of each token's distribution beside it."""
    chunks = split_chunks((hidden, targets), targets.shape, chunk_tokens=chunk_tokens, num_shards=num_shards)
    head = place.whole(head.astype(hidden.dtype))

    @jax.checkpoint
    def score(chunk):
        return _score(chunk[0], head, chunk[1], head_axes)[0]

    scored = jax.lax.map(score, chunks)
    return jax.tree.map(lambda a: _join_chunks(a, targets.shape), scored)


def reduce_tokens(
    token_fn: TokenFn,
    hidden: Float[Array, "*rows D"],
    head: Float[Array, "D V"] | Float[Array, "V D"],
    targets: Int[Array, "*rows"],
    inputs: Any,
    *,
    chunk_tokens: int,
    num_shards: int = 1,
    head_axes: HeadAxes = "dv",
    place: HeadPlace = ONE_PLACE,
) -> tuple[jax.Array, Any]:
    """The sum of `token_fn` over all tokens and its per-chunk values, stacked; gradients to hidden and head alone.

    The head's gradient is summed in float32 and has the head's own dtype and axes.
    `inputs` is a pytree of arrays shaped like `targets`; token_fn must give 0 for tokens whose inputs are all zero
    (they fill the last chunk). Only the first result can be differentiated.
    """
    everything = (hidden, targets, inputs)
    chunks = split_chunks(everything, targets.shape, chunk_tokens=chunk_tokens, num_shards=num_shards)
    return _reduce(token_fn, head_axes, place, chunks[0], head, chunks[1], chunks[2])


def split_chunks(arrays: Any, rows: tuple[int, ...], *, chunk_tokens: int, num_shards: int) -> Any:
    """Arrays [*rows, ...] as [chunks, shards, tokens of a chunk, ...], zero-padded, chunks of (nearly) equal size.

    In whole vectors, unless a chunk must be smaller: accelerators copy matrices of other widths before they multiply.
    """
    num_tokens = math.prod(rows)
    if num_tokens % num_shards:
        raise ValueError(f"{num_tokens} tokens do not divide over {num_shards} shards")
    own_tokens = num_tokens // num_shards
    unit = min(_VECTOR, chunk_tokens)
    num_chunks = -(-own_tokens // (chunk_tokens // unit * unit))
    size = -(-own_tokens // (num_chunks * unit)) * unit

    def split(a):
        a = a.reshape(num_shards, own_tokens, *a.shape[len(rows) :])
        a = jnp.pad(a, [(0, 0), (0, num_chunks * size - own_tokens)] + [(0, 0)] * (a.ndim - 2))
        return jnp.moveaxis(a.reshape(num_shards, num_chunks, size, *a.shape[2:]), 1, 0)

    return jax.tree.map(split, arrays)


def _join_chunks(chunks: jax.Array, rows: tuple[int, ...]) -> jax.Array:
    """The inverse of `split_chunks` for [chunks, shards, tokens]."""
    joined = jnp.moveaxis(chunks, 0, 1).reshape(chunks.shape[1], -1)
    return joined[:, : math.prod(rows) // chunks.shape[1]].reshape(rows)


def _score(
    hidden: jax.Array, head: jax.Array, targets: jax.Array, head_axes: HeadAxes
) -> tuple[Scored, tuple[jax.Array, jax.Array]]:
    """Scores [S C], and what the gradient needs: the softmax [V S C] and where it meets the target, [V C] if S is 1.

    The vocabulary comes first: CPUs make this product from a table [V D] nearly three times as fast as its transpose,
    and sum over an outer axis in whole vectors. They work on matrices as they lie; with more axes they copy.
    """
    rows = targets.shape
    if rows[0] == 1:
        hidden, targets = hidden[0], targets[0]
    logits = _product(head, hidden, contract=((head_axes.index("d"),), (hidden.ndim - 1,)))
    is_target = jax.lax.broadcasted_iota(targets.dtype, logits.shape, 0) == targets
    top = jax.lax.stop_gradient(logits.max(axis=0))
    exps = jnp.exp(logits - top)
    total = exps.sum(axis=0)
    log_total = jnp.log(total) + top
    logprobs = _at_targets(logits, targets, is_target) - log_total
    entropies = log_total - (exps * logits).sum(axis=0) / total
    return Scored(logprobs.reshape(rows), entropies.reshape(rows)), (exps / total, is_target)


def _at_targets(logits: jax.Array, targets: jax.Array, is_target: jax.Array) -> jax.Array:
    """Logits [V *rows] of the targets [*rows]. On a mesh a sum over a mask: it stays local where V is sharded."""
    if _is_spread():
        return jnp.where(is_target, logits, 0.0).sum(axis=0)
    return jnp.take_along_axis(logits, targets[None], axis=0)[0]


def _is_spread() -> bool:
    """Whether one array may lie on several devices; within `shard_map` a device is by itself."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.size > 1 and AxisType.Manual not in mesh.axis_types


def _product(first: jax.Array, second: jax.Array, *, contract, batch=((), ())) -> jax.Array:
    """`dot_general` in float32, in exactly this order of operands, which einsum may exchange.

    float32 means float32: accelerators would otherwise multiply in fewer bits.
    """
    precision = jax.lax.Precision.HIGHEST if first.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    return jax.lax.dot_general(
        first, second, (contract, batch), precision=precision, preferred_element_type=jnp.float32
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _reduce(token_fn, head_axes, place, hidden, head, targets, inputs):
    matrix = place.whole(head.astype(hidden.dtype))

    def one(_, chunk):
        scored, _ = _score(chunk[0], matrix, chunk[1], head_axes)
        return None, token_fn(*scored, chunk[2])

    _, (sums, values) = jax.lax.scan(one, None, (hidden, targets, inputs))
    return sums.sum(), values


def _reduce_forward(token_fn, head_axes, place, hidden, head, targets, inputs):
    """One pass: scores, the objective, its gradient with respect to the chunk's hidden states and to the head.

    Each shard sums its own part of the head's gradient, float32; they meet once, after the last chunk.
    """
    matrix = place.whole(head.astype(hidden.dtype))

    def one(head_grad, chunk):
        chunk_hidden, chunk_targets, chunk_inputs = chunk
        scored, (probs, is_target) = _score(chunk_hidden, matrix, chunk_targets, head_axes)
        total, pull, values = jax.vjp(
            lambda lp: token_fn(lp, scored.entropies, chunk_inputs), scored.logprobs, has_aux=True
        )
        (weight,) = pull(jnp.ones_like(total))
        logit_grad = (weight.reshape(probs.shape[1:]) * (is_target - probs)).astype(hidden.dtype)
        hidden_grad = _product(logit_grad, matrix, contract=((0,), (head_axes.index("v"),)))
        hidden_grad = hidden_grad.reshape(chunk_hidden.shape).astype(hidden.dtype)
        return _add_head_grad(head_grad, chunk_hidden, logit_grad, head_axes), (total, values, hidden_grad)

    zeros = jnp.zeros((hidden.shape[1], *head.shape), jnp.float32)
    head_grad, (sums, values, hidden_grad) = jax.lax.scan(one, zeros, (hidden, targets, inputs))
    head_grad = place.sum_parts(head_grad).astype(head.dtype)
    gradients = hidden_grad, head_grad
    if _is_spread():  # or every device's whole part may be kept through the layers' pass
        gradients = jax.lax.optimization_barrier(gradients)
    return (sums.sum(), values), gradients


def _add_head_grad(head_grad: jax.Array, hidden: jax.Array, logit_grad: jax.Array, head_axes: HeadAxes) -> jax.Array:
    """head_grad [S, *head] plus a chunk's part, of hidden [S C D] and logit_grad [V S C], or [V C] of a lone shard.

    Where one device holds it all, slice by slice of the vocabulary and in place: a compiler that cannot add within a
    product would hold a second array of the head's size. The one for GPUs can.
    """
    if _is_spread():  # a sharded vocabulary must not be sliced
        return _add_whole(head_grad, hidden, logit_grad, head_axes=head_axes)
    whole = functools.partial(_add_whole, head_axes=head_axes)
    sliced = functools.partial(_add_in_slices, head_axes=head_axes)
    return jax.lax.platform_dependent(head_grad, hidden, logit_grad, cuda=whole, default=sliced)


def _add_whole(head_grad: jax.Array, hidden: jax.Array, logit_grad: jax.Array, *, head_axes: HeadAxes) -> jax.Array:
    return head_grad + _head_product(hidden, logit_grad, head_axes)


def _add_in_slices(head_grad: jax.Array, hidden: jax.Array, logit_grad: jax.Array, *, head_axes: HeadAxes) -> jax.Array:
    num_slices = math.gcd(logit_grad.shape[0], _HEAD_SLICES)
    size, axis = logit_grad.shape[0] // num_slices, 1 + head_axes.index("v")

    def add(index, head_grad):
        start = index * size
        part = _head_product(hidden, jax.lax.dynamic_slice_in_dim(logit_grad, start, size), head_axes)
        part += jax.lax.dynamic_slice_in_dim(head_grad, start, size, axis=axis)
        return jax.lax.dynamic_update_slice_in_dim(head_grad, part, start, axis=axis)

    return jax.lax.fori_loop(0, num_slices, add, head_grad)


def _head_product(hidden: jax.Array, logit_grad: jax.Array, head_axes: HeadAxes) -> jax.Array:
    """[S, *head] of hidden [S C D] and logit_grad [V S C], or [V C] of a lone shard."""
    logit_grad = logit_grad.reshape(-1, *hidden.shape[:2])
    if head_axes == "vd":
        return _product(logit_grad, hidden, contract=((2,), (1,)), batch=((1,), (0,)))
    return _product(hidden, logit_grad, contract=((1,), (2,)), batch=((0,), (1,)))


def _reduce_backward(token_fn, head_axes, place, gradients, cotangents):
    del token_fn, head_axes, place
    scale = cotangents[0]
    hidden_grad, head_grad = (scale.astype(g.dtype) * g for g in gradients)
    return hidden_grad, head_grad, None, None


_reduce.defvjp(_reduce_forward, _reduce_backward)
