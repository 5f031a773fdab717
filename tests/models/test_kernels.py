"""Attention by kernels against the plain one, forward and gradients, on one device and split over a mesh."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import attention, cudnn, decoder, splash
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
    spoilt = lambda *args: _with_nan_gradients(KERNELS["cudnn"](*args))  # noqa: E731
    monkeypatch.setattr(cudnn, "_CONTENDERS", (spoilt, attention.shared_prefix_attend))
    assert not cudnn.works(*heads, jnp.bfloat16)
    shifted = lambda lengths, *sizes: KERNELS["cudnn"](lengths - 1, *sizes)  # noqa: E731
    monkeypatch.setattr(cudnn, "_CONTENDERS", (shifted, attention.shared_prefix_attend))
    assert not cudnn.works(*heads, jnp.bfloat16)
    assert "differs" in caplog.text


def _with_nan_gradients(attend):
    @jax.custom_vjp
    def same(out):
        return out

    same.defvjp(lambda out: (out, None), lambda _, grad: (grad * jnp.nan,))
    return lambda *args: (same(attend(*args)[0]), None)


@pytest.mark.parametrize(("remat", "times"), [("full", 2), ("dots", 1)])
def test_products_that_are_kept_include_the_kernels(monkeypatch, remat, times):
    """By the kernel's name in JAX; lowered for a GPU that is not here."""
    private = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(private, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(private, "check_compute_capability", lambda least: True)
    monkeypatch.setattr(private, "is_cuda_compute_capability_equal", lambda exact: False)
    qkv, _, lengths = inputs(4, 2)
    attend = cudnn.shared_prefix_attend(lengths, PREFIX, SAMPLES)
    layer = jax.checkpoint(lambda *qkv: attend(*qkv, None)[0], policy=decoder.REMAT_POLICIES[remat])
    gradient = jax.jit(jax.grad(lambda qkv: jnp.sum(layer(*qkv) ** 2)))
    text = gradient.trace([a.astype(jnp.bfloat16) for a in qkv]).lower(lowering_platforms=("cuda",)).as_text()
    assert len(re.findall(r"@__cudnn\$fmhaSoftmax\(", text)) == times
    assert len(re.findall(r"@__cudnn\$fmhaSoftmaxBackward\(", text)) == 1
