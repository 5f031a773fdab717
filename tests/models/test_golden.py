"""Logits, log-probs, greedy tokens, loss and gradients against Hugging Face, for every supported variety.

`python -m tests.models.test_golden` prints the table of docs/models.md.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax import models
from rlscale_jax.models import attention, decoder, hf_names

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "models"
VARIETIES = sorted(folder.name for folder in GOLDEN.iterdir())


@functools.cache
def load(variety):
    model = models.load_pretrained(GOLDEN / variety, dtype=jnp.float32)
    return model, dict(np.load(GOLDEN / variety / "expected.npz"))


@functools.partial(jax.jit, static_argnums=0, static_argnames="compute_dtype")
def forward(architecture, params, tokens, first_position, compute_dtype=jnp.float32):
    positions = first_position + jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden, _ = decoder.hidden_states(
        architecture, params, tokens, positions, attention.causal_attend(), compute_dtype=compute_dtype
    )
    return decoder.unembed(params, hidden)


def next_logprobs(logits, tokens):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), tokens[:, 1:, None], axis=-1)
    return chosen[..., 0]


def loss(params, architecture, expected):
    logprobs = next_logprobs(
        forward(architecture, params, expected["tokens"], expected["first_position"]), expected["tokens"]
    )
    real = np.arange(1, expected["tokens"].shape[1]) < expected["lengths"][:, None]
    return -jnp.sum(jnp.where(real, logprobs, 0)) / real.sum()


def test_varieties_are_there():
    assert len(VARIETIES) == 9


@pytest.mark.parametrize("variety", VARIETIES)
def test_logits_and_logprobs(variety):
    model, expected = load(variety)
    real = np.arange(expected["tokens"].shape[1]) < expected["lengths"][:, None]
    ours = forward(model.architecture, model.params, expected["tokens"], expected["first_position"])
    np.testing.assert_allclose(np.where(real[..., None], ours, 0), expected["logits"], rtol=0, atol=2e-4)
    logprobs = np.where(real[:, 1:], next_logprobs(ours, expected["tokens"]), 0)
    np.testing.assert_allclose(logprobs, expected["logprobs"], rtol=0, atol=2e-4)
    np.testing.assert_array_equal(np.argmax(ours, -1)[real], np.argmax(expected["logits"], -1)[real])
    if expected["first_position"] == 0:
        public = models.logits(model, expected["tokens"], expected["lengths"])
        np.testing.assert_allclose(public, expected["logits"], rtol=0, atol=2e-4)


def bfloat16_distance(model, expected) -> float:
    """Mean |log-prob in bfloat16 - the reference's in float32| over the real tokens."""
    ours = forward(
        model.architecture, model.params, expected["tokens"], expected["first_position"], compute_dtype=jnp.bfloat16
    )
    real = np.arange(1, expected["tokens"].shape[1]) < expected["lengths"][:, None]
    return float(np.abs(next_logprobs(ours, expected["tokens"]) - expected["logprobs"])[real].mean())


@pytest.mark.parametrize("variety", VARIETIES)
def test_bfloat16_loses_no_more_than_the_reference_does(variety):
    """Mean distance of log-probs to float32: .03 to .06 nats here, where a token costs about 9."""
    model, expected = load(variety)
    assert bfloat16_distance(model, expected) <= 1.2 * expected["bf16_distance"]


def greedy_tokens(model, expected) -> np.ndarray:
    start, count = int(expected["greedy_prompt"]), len(expected["greedy"])
    tokens = np.zeros((1, start + count), np.int32)
    tokens[0, :start] = expected["tokens"][0, :start]
    for filled in range(start, tokens.shape[1]):
        tokens[0, filled] = np.argmax(models.logits(model, tokens, np.array([filled]))[0, filled - 1])
    return tokens[0, start:]


@pytest.mark.parametrize("variety", VARIETIES)
def test_greedy_tokens(variety):
    model, expected = load(variety)
    np.testing.assert_array_equal(greedy_tokens(model, expected), expected["greedy"])


def loss_and_gradient_norms(model, expected) -> tuple[float, dict[str, float]]:
    """The norms by the published tensors' names."""
    value, grads = jax.value_and_grad(loss)(model.params, model.architecture, expected)
    norms = {}
    for leaf in hf_names.leaves(model.architecture):
        array = functools.reduce(lambda tree, key: tree[key], leaf.path, grads)
        for layer, name in enumerate(leaf.names):
            norms[name] = float(np.linalg.norm(np.asarray(array[layer] if leaf.stacked else array)))
    return float(value), norms


@pytest.mark.parametrize("variety", VARIETIES)
def test_loss_and_gradients(variety):
    model, expected = load(variety)
    value, norms = loss_and_gradient_norms(model, expected)
    np.testing.assert_allclose(value, expected["loss"], rtol=0, atol=1e-5)
    wanted = dict(zip(expected["grad_names"], expected["grad_norms"], strict=True))
    assert set(norms) == set(wanted)
    for name, norm in norms.items():
        np.testing.assert_allclose(norm, wanted[name], rtol=1e-4, err_msg=name)


def row(variety: str) -> str:
    """A line of docs/models.md's first table: largest distances to the reference."""
    model, expected = load(variety)
    tokens, real = expected["tokens"], np.arange(expected["tokens"].shape[1]) < expected["lengths"][:, None]
    ours = forward(model.architecture, model.params, tokens, expected["first_position"])
    logit = np.abs(np.asarray(ours) - expected["logits"])[real].max()
    logprob = np.abs(np.asarray(next_logprobs(ours, tokens)) - expected["logprobs"])[real[:, 1:]].max()
    greedy = "yes" if np.array_equal(greedy_tokens(model, expected), expected["greedy"]) else "NO"
    value, norms = loss_and_gradient_norms(model, expected)
    wanted = dict(zip(expected["grad_names"], expected["grad_norms"], strict=True))
    grad = max(abs(norm / wanted[name] - 1) for name, norm in norms.items())
    bf16 = f"{bfloat16_distance(model, expected):.3f} | {expected['bf16_distance']:.3f}"
    numbers = f"{logit:.1e} | {logprob:.1e} | {greedy} | {abs(value - expected['loss']):.1e} | {grad:.1e}"
    return f"| {variety} | {numbers} | {bf16} |"


if __name__ == "__main__":
    print(*map(row, VARIETIES), sep="\n")
