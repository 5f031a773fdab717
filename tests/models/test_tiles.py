"""Kernels in tiles multiply as they do whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.models import runtime, tiles


@pytest.mark.parametrize("columns", [1, 48, 96, 100])
@pytest.mark.parametrize("rows", [(), (3,), (2, 3), (2, 40)])
def test_a_product_with_tiles_is_the_product(columns, rows):
    draw = np.random.default_rng(0).normal
    x, kernel = (jnp.asarray(draw(size=size), jnp.float32) for size in ((*rows, 20), (20, columns)))
    found = tiles.product(x, tiles.cut(kernel), columns)
    assert found.shape == (*rows, columns)
    np.testing.assert_allclose(found, x @ kernel, atol=1e-5)


def test_kernels_are_joined_one_after_the_other():
    """Not all of them before the first product."""

    def forward(x, kernels):
        for kernel in kernels:
            x = tiles.product(x, kernel, 480)
        return x

    x, kernels = jnp.ones((tiles.MANY_ROWS, 480)), [jnp.ones((10, 480, 48))] * 8
    compiled = jax.jit(forward, compiler_options=runtime.IN_ORDER).lower(x, kernels).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * kernels[0].nbytes
