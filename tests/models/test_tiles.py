"""Kernels in tiles multiply as they do whole."""

import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.models import tiles


@pytest.mark.parametrize("columns", [1, 48, 96, 100])
@pytest.mark.parametrize("rows", [(), (3,), (2, 3), (2, 40)])
def test_a_product_with_tiles_is_the_product(columns, rows):
    draw = np.random.default_rng(0).normal
    x, kernel = (jnp.asarray(draw(size=size), jnp.float32) for size in ((*rows, 20), (20, columns)))
    found = tiles.product(x, tiles.cut(kernel), columns)
    assert found.shape == (*rows, columns)
    np.testing.assert_allclose(found, x @ kernel, atol=1e-5)
