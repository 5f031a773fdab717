"""Chunked log-probabilities against a dense float64 softmax, their gradients, and the memory that they must not use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.grpo.logprobs import reduce_tokens, score_tokens, token_logprobs

ROWS, WIDTH, DIM, VOCAB = 4, 7, 6, 19


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    return {
        "hidden": rng.normal(size=(ROWS, WIDTH, DIM)).astype(np.float32),
        "head": rng.normal(size=(DIM, VOCAB)).astype(np.float32),
        "targets": rng.integers(0, VOCAB, (ROWS, WIDTH)).astype(np.int32),
        "inputs": rng.normal(size=(ROWS, WIDTH)).astype(np.float32),
    }


def dense(hidden, head):
    """Log-softmax in float64."""
    logits = np.asarray(hidden, np.float64) @ np.asarray(head, np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def laid_out(head, head_axes):
    """The head [D V] as its own kernel, or as a tied table."""
    return head if head_axes == "dv" else head.T


@pytest.mark.parametrize("chunk_tokens", [1, 5, 7, 28, 1000])
@pytest.mark.parametrize(("num_shards", "head_axes"), [(1, "dv"), (2, "dv"), (1, "vd"), (2, "vd")])
def test_scores_equal_a_dense_softmax(case, chunk_tokens, num_shards, head_axes):
    args = (case["hidden"], laid_out(case["head"], head_axes), case["targets"])
    scored = score_tokens(*args, chunk_tokens=chunk_tokens, num_shards=num_shards, head_axes=head_axes)
    table = dense(case["hidden"], case["head"])
    expected = np.take_along_axis(table, case["targets"][..., None], -1)[..., 0]
    np.testing.assert_allclose(scored.logprobs, expected, atol=2e-6)
    np.testing.assert_allclose(scored.entropies, -(np.exp(table) * table).sum(-1), atol=3e-6)


def test_logits_of_hundreds_stay_exact():
    """Two logits, 500 and 499: log(1 / (1 + 1/e)) and the entropy of (.7311, .2689)."""
    hidden, head = jnp.array([[1.0]]), jnp.array([[500.0, 499.0]])
    scored = score_tokens(hidden, head, jnp.array([0]), chunk_tokens=8)
    np.testing.assert_allclose(scored.logprobs, [-0.3132617], rtol=1e-5)
    np.testing.assert_allclose(scored.entropies, [0.5822033], rtol=1e-4)


def weighted(logprobs, entropies, inputs):
    """An objective that is not linear in the log-probabilities; entropies pass through as values."""
    return (inputs * jnp.exp(0.3 * logprobs)).sum(), {"entropy": (entropies * inputs).sum()}


@pytest.mark.parametrize("chunk_tokens", [3, 28])
@pytest.mark.parametrize(("num_shards", "head_axes"), [(1, "dv"), (4, "dv"), (1, "vd"), (4, "vd")])
def test_one_pass_gradient_equals_finite_differences(case, chunk_tokens, num_shards, head_axes):
    def objective(hidden, head):
        sizes = {"chunk_tokens": chunk_tokens, "num_shards": num_shards, "head_axes": head_axes}
        head = laid_out(head, head_axes)
        return 2.0 * reduce_tokens(weighted, hidden, head, case["targets"], case["inputs"], **sizes)[0]

    def reference(hidden, head):
        picked = np.take_along_axis(dense(hidden, head), case["targets"][..., None], -1)[..., 0]
        return 2.0 * (case["inputs"].astype(np.float64) * np.exp(0.3 * picked)).sum()

    value, gradients = jax.value_and_grad(objective, argnums=(0, 1))(case["hidden"], case["head"])
    np.testing.assert_allclose(value, reference(case["hidden"], case["head"]), rtol=1e-6)
    for index, gradient in enumerate(gradients):
        args = [np.asarray(case["hidden"], np.float64), np.asarray(case["head"], np.float64)]
        expected = np.zeros(gradient.shape)
        for place in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [a.copy() for a in args]
                moved[index][place] += step
                ends.append(reference(*moved))
            expected[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, atol=2e-6)


def test_recomputed_gradient_equals_the_one_pass_gradient(case):
    def recomputed(hidden, head):
        logprobs = token_logprobs(hidden, head, case["targets"], chunk_tokens=5)
        return weighted(logprobs, 0.0, case["inputs"])[0]

    def one_pass(hidden, head):
        return reduce_tokens(weighted, hidden, head, case["targets"], case["inputs"], chunk_tokens=5)[0]

    pairs = [jax.grad(f, argnums=(0, 1))(case["hidden"], case["head"]) for f in (recomputed, one_pass)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *pairs)


@pytest.mark.parametrize("differentiable", [token_logprobs, None])
def test_no_array_is_larger_than_a_chunk_of_logits(differentiable):
    tokens, dim, vocab, chunk = 512, 4, 4096, 32

    def objective(hidden, head, targets):
        if differentiable is None:
            return reduce_tokens(weighted, hidden, head, targets, jnp.ones(tokens), chunk_tokens=chunk)[0]
        return differentiable(hidden, head, targets, chunk_tokens=chunk).sum()

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((tokens, dim), (dim, vocab))]
    targets = jax.ShapeDtypeStruct((tokens,), jnp.int32)
    compiled = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(*shapes, targets).compile()
    chunk_of_logits = chunk * vocab * 4
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * chunk_of_logits < tokens * vocab * 4


def test_the_heads_gradient_is_added_up_in_place():
    """Beside the gradient itself the program needs less than half of another head."""
    tokens, dim, vocab = 64, 512, 4096

    def objective(hidden, head):
        targets, inputs = jnp.zeros(tokens, jnp.int32), jnp.ones(tokens)
        return reduce_tokens(weighted, hidden, head, targets, inputs, chunk_tokens=16, head_axes="vd")[0]

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((tokens, dim), (vocab, dim))]
    compiled = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < vocab * dim * 4 / 2


def test_sum_over_no_shard_multiple_is_refused(case):
    with pytest.raises(ValueError, match="28 tokens do not divide over 3 shards"):
        token_logprobs(case["hidden"], case["head"], case["targets"], chunk_tokens=4, num_shards=3)
