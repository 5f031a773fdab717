"""Models of several families or starts do not come under one law unnoticed."""

import pytest

from rlscale_jax import laws
from rlscale_jax.laws import families
from rlscale_jax.laws.request import Request, answer


@pytest.fixture
def mixed(exact_rows, tmp_path, write_csv):
    """Two families in one file, the second with half the K_max."""
    rows = exact_rows() + [row | {"model": f"llama-{row['model']}"} for row in exact_rows(k_max=0.075)]
    return write_csv(tmp_path / "mixed.csv", rows)


def test_one_family_is_chosen_by_name(mixed):
    text, found = answer(Request(paths=[str(mixed)], resource="data", models="^llama"))
    assert found["k_max"] == pytest.approx(0.075, rel=1e-3) and len(found["models"]) == 5
    assert "kinds" not in text


def test_several_families_under_one_law_are_said(mixed):
    text, found = answer(Request(paths=[str(mixed)], resource="data"))
    assert "2 kinds (models, llama)" in text and found["notes"][-1].endswith("--models=PATTERN.")


def test_a_pattern_that_fits_nothing_is_refused(mixed):
    table = laws.read(mixed)
    with pytest.raises(ValueError, match=r"--models=7B matches none of llama-m1e\+09"):
        families.matching(table, "7B")
    with pytest.raises(ValueError, match="no regular expression"):
        families.matching(table, "(")
