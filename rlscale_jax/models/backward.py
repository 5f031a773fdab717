"""Products and gates of a layer with their backward passes written out, for speed and memory.

What automatic differentiation makes of `x @ kernel` over [rows, tokens, features] has the kernel's gradient come out
transposed and, on CPUs, copies an activation for it; it also rounds that gradient to the compute dtype. SwiGLU keeps
five activations where two suffice.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rlscale_jax.models.mesh import traced_under, ways


@jax.custom_vjp
def dense(x: Float[Array, "*rows D"], kernel: Float[Array, "D F"]) -> Float[Array, "*rows F"]:
    """x @ kernel in x's dtype; the kernel's gradient is summed over rows in the kernel's own dtype."""
    return _product(x, kernel)


def _product(x, kernel):
    return jnp.matmul(x, kernel.astype(x.dtype), precision=_precision(x))


def _dense_forward(x, kernel):
    return _product(x, kernel), (x, kernel)  # not `dense`, in which a remat policy could not see the product


def _dense_backward(saved, y_grad):
    x, kernel = saved
    x_grad = jnp.matmul(y_grad, kernel.astype(x.dtype).T, precision=_precision(x))
    # CPUs multiply matrices faster; merged axes cannot be sharded but for the first of them.
    if ways(traced_under(), "sequence") == 1:
        x, y_grad = (a.reshape(-1, a.shape[-1]) for a in (x, y_grad))
    kernel_grad = jnp.einsum("...d,...f->df", x, y_grad, precision=_precision(x), preferred_element_type=kernel.dtype)
    return x_grad, kernel_grad


dense.defvjp(_dense_forward, _dense_backward)


def _precision(x: jax.Array) -> jax.lax.Precision:
    """Named here because a backward pass is traced outside of the forward's precision context."""
    return jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else jax.lax.Precision.DEFAULT


@jax.custom_vjp
def swiglu(gate: Float[Array, "*rows F"], up: Float[Array, "*rows F"]) -> Float[Array, "*rows F"]:
    """silu(gate) * up (Shazeer 2020, arXiv 2002.05202)."""
    return jax.nn.silu(gate) * up


def _swiglu_forward(gate, up):
    return swiglu(gate, up), (gate, up)


def _swiglu_backward(saved, y_grad):
    gate, up = saved
    sigmoid = jax.nn.sigmoid(gate)
    return y_grad * up * sigmoid * (1 + gate * (1 - sigmoid)), y_grad * gate * sigmoid


swiglu.defvjp(_swiglu_forward, _swiglu_backward)
