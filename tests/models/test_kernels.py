"""Attention by kernels against the plain one, forward and gradients, on one device and split over a mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import attention, cudnn, splash
from rlscale_jax.models.mesh import make_mesh

PREFIX, OWN, SAMPLES, HEAD = 128, 128, 2, 64


def inputs(num_heads: int, num_kv: int):
    keys = jax.random.split(jax.random.key(0), 4)
    length = PREFIX + SAMPLES * OWN
    q, target = (jax.random.normal(key, (2, length, num_heads, HEAD)) for key in keys[:2])
    k, v = (jax.random.normal(key, (2, length, num_kv, HEAD)) for key in keys[2:])
    return (q, k, v), target, jnp.array([37, 128])


def value_and_grads(make, qkv, target, lengths):
    def loss(qkv):
        out = make(lengths, PREFIX, SAMPLES)(*qkv, None)[0]
        real = jnp.arange(out.shape[1]) >= PREFIX  # padded prompt slots differ and count nowhere
        real = real | (jnp.arange(out.shape[1]) < lengths[:, None])
        return (jnp.where(real[..., None, None], out - target, 0.0) ** 2).sum()

    return jax.jit(jax.value_and_grad(loss))(qkv)


KERNELS = {
    "splash": functools.partial(splash.shared_prefix_attend, interpret=True),
    "cudnn": functools.partial(cudnn.shared_prefix_attend, implementation="xla"),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("num_heads", "num_kv", "tensor"), [(4, 2, 0), (8, 2, 4)])
def test_equals_plain_attention(name, num_heads, num_kv, tensor):
    args = inputs(num_heads, num_kv)
    expected, expected_grads = value_and_grads(attention.shared_prefix_attend, *args)
    kernel = KERNELS[name]
    if tensor:
        mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=tensor), jax.devices()[: 2 * tensor])
        with jax.set_mesh(mesh):
            found, grads = value_and_grads(kernel, *args)
    else:
        found, grads = value_and_grads(kernel, *args)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * float(jnp.abs(b).max()))


def test_narrow_rows_take_the_plain_form():
    (q, k, v), _, lengths = inputs(4, 2)
    short = [a[:, : PREFIX + 2 * 24] for a in (q, k, v)]
    plain = attention.shared_prefix_attend(lengths, PREFIX, SAMPLES)(*short, None)[0]
    np.testing.assert_array_equal(splash.shared_prefix_attend(lengths, PREFIX, SAMPLES)(*short, None)[0], plain)


def test_a_machine_without_the_kernel_or_with_a_wrong_one_is_found_out(monkeypatch, caplog):
    heads = (4, 2, 64)
    assert not cudnn.works(*heads, jnp.float32)
    assert not cudnn.works(*heads, jnp.bfloat16)  # no GPU here
    assert "attention without cuDNN" in caplog.text
    monkeypatch.setattr(cudnn, "_CONTENDERS", (KERNELS["cudnn"], attention.shared_prefix_attend))
    assert cudnn.works(*heads, jnp.bfloat16)
    with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=4, tensor=2), jax.devices()[:8])):
        assert cudnn.works(*heads, jnp.bfloat16)
    shifted = lambda lengths, *sizes: KERNELS["cudnn"](lengths - 1, *sizes)  # noqa: E731
    monkeypatch.setattr(cudnn, "_CONTENDERS", (shifted, attention.shared_prefix_attend))
    assert not cudnn.works(*heads, jnp.bfloat16)
    assert "differs" in caplog.text
