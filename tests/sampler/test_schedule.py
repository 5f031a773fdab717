"""Layouts hold every sequence once, lanes share a prompt, and buckets waste little."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlscale_jax.sampler.schedule import IDLE, Queue, arrange, bucket, most_rows


@given(st.integers(1, 100_000), st.integers(1, 64))
def test_a_bucket_holds_its_size_with_little_waste(size, granule):
    found = bucket(size, granule)
    assert found >= size and found % granule == 0 and bucket(found, granule) == found
    assert found < size * 1.25 + granule


def test_few_buckets_cover_every_size():
    assert len({bucket(size) for size in range(1, 4097)}) < 50


@given(st.sets(st.integers(0, 39), min_size=1), st.sampled_from([1, 3, 5, 8]), st.sampled_from([1, 4]))
def test_a_layout_holds_every_sequence_once_in_lanes_of_its_prompt(sequences, num_samples, granule):
    wanted = np.array(sorted(sequences))
    rows = most_rows(-(-40 // num_samples), num_samples, 40, granule)
    layout = arrange(wanted, num_samples, rows=rows, granule=granule)
    found = layout.rows[layout.rows != IDLE]
    np.testing.assert_array_equal(np.sort(found), wanted)
    assert len(layout.sequences) % granule == 0
    for unit, prompt in zip(layout.sequences, layout.prompts(num_samples), strict=True):
        assert {s // num_samples for s in unit.tolist() if s != IDLE} <= {prompt}


@given(st.sets(st.integers(0, 255), min_size=1))
def test_layouts_come_in_halves_and_three_quarters_of_them(sequences):
    """Few shapes, and at most half as many idle rows as live ones."""
    layout = arrange(np.array(sorted(sequences)), 8, rows=256)
    assert layout.num_rows in {1 << i for i in range(9)} | {3 << i for i in range(7)}
    assert layout.num_rows <= max(1, 3 * (len(sequences) - 1) // 2 + 1)


def test_whole_groups_share_their_prompt():
    assert arrange(np.arange(32), 8, rows=64).sequences.shape == (4, 8)


def test_scattered_rows_do_not_keep_idle_lanes():
    assert arrange(np.arange(0, 32, 8), 8, rows=64).sequences.shape == (4, 1)


def test_prompts_enter_in_order_and_within_the_capacity():
    queue = Queue([0, 1, 2, 3, 4], num_samples=4, capacity=8)
    assert queue.admit(0) == [0, 1]
    assert queue.admit(7) == []
    assert queue.admit(4) == [2]
    assert queue.admit(0) == [3, 4]
    assert queue.admit(0) == []
