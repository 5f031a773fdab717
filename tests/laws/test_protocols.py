"""Which points are fitted and which are kept."""

import numpy as np
import pytest

from rlscale_jax import laws
from rlscale_jax.laws.protocols import Protocol, split


@pytest.fixture
def curves(exact_rows):
    return laws.gather(laws.from_rows(exact_rows(steps=10)), "data")


def test_inter_keeps_the_largest_size(curves):
    fitted, held = split(curves, Protocol(name="inter"))
    assert held.names == ("m1e+11",) and fitted.names == curves.names[:-1]
    assert fitted.mask.all() and held.mask.all()


def test_intra_keeps_the_late_points(curves):
    fitted, held = split(curves, Protocol(name="intra", drop_first=2, drop_last=3))
    np.testing.assert_array_equal(fitted.step[0, fitted.mask[0]], [3, 4, 5, 6, 7])
    np.testing.assert_array_equal(held.step[0, held.mask[0]], [8, 9, 10])


def test_intra_counts_each_curves_own_points(exact_rows):
    rows = [row for row in exact_rows(steps=10) if row["n_params"] > 1e9 or row["step"] <= 8]
    fitted, _ = split(laws.gather(laws.from_rows(rows), "data"), Protocol(name="intra", drop_last=3))
    assert list(fitted.mask.sum(1)) == [5, 7, 7, 7, 7]


def test_full_holds_nothing_out(curves):
    fitted, held = split(curves, Protocol(drop_first=4))
    assert fitted.mask.sum() == 5 * 6 and not held.mask.any()


def test_too_little_left_names_the_model_and_the_cut(curves):
    with pytest.raises(ValueError, match=r"intra \(drop_first=0, drop_last=80\) leaves 0 of 10 points of m1e\+09"):
        split(curves, Protocol(name="intra"))
    with pytest.raises(ValueError, match="holds out 5 of 5 models"):
        split(curves, Protocol(name="inter", held_out=5))
    with pytest.raises(ValueError, match="drop_first=-1 is negative"):
        Protocol(drop_first=-1)
