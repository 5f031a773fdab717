"""From rollouts to micro-batches: what is masked, sorted, cut and padded, and what is refused."""

import dataclasses
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlscale_jax.experiment.config import GrpoConfig
from rlscale_jax.training import batch as batches

CONFIG = GrpoConfig(prompts_per_step=4, group_size=2, num_minibatches=2)
REWARDS = [[1, 0], [0, 0], [1, 1], [0, 1]]
PROMPTS = [[5], [6, 7], [8, 9, 10], [11]]


def rollouts(**changes):
    fields = {
        "tokens": np.arange(4 * 2 * 40).reshape(4, 2, 40),
        "lengths": np.array([[3, 20], [1, 2], [30, 4], [5, 5]]),
        "logprobs": np.full((4, 2, 40), -0.5),
        "finish": np.array([[0, 0], [0, 1], [1, 0], [0, 0]]),
    }
    return types.SimpleNamespace(**(fields | changes))


def make(config=CONFIG, **changes):
    return batches.make_batch(rollouts(**changes), PROMPTS, REWARDS, config)


def test_prompts_are_right_padded_and_completions_trimmed():
    batch = make()
    np.testing.assert_array_equal(batch.prompt_tokens, [[5, 0, 0], [6, 7, 0], [8, 9, 10], [11, 0, 0]])
    np.testing.assert_array_equal(batch.prompt_lengths, [1, 2, 3, 1])
    assert batch.completion_tokens.shape == (4, 2, 30)  # the longest of 40 slots
    np.testing.assert_array_equal(batch.completion_tokens[3, 1, :5], 7 * 40 + np.arange(5))
    np.testing.assert_allclose(batch.advantages[0], [2**-0.5, -(2**-0.5)], rtol=1e-5)
    assert batch.loss_mask.all()


def test_filters_clear_the_mask_alone():
    overlong = make(dataclasses.replace(CONFIG, mask_overlong=True))
    np.testing.assert_array_equal(overlong.loss_mask, [[1, 1], [1, 0], [0, 1], [1, 1]])
    flat = make(dataclasses.replace(CONFIG, drop_zero_variance=True))
    np.testing.assert_array_equal(flat.loss_mask, [[1, 1], [0, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(overlong.advantages, make().advantages)


def test_minibatches_keep_the_order_of_prompts():
    parts = batches.split(make(), CONFIG)
    assert [len(part) for part in parts] == [1, 1]
    firsts = [sorted(part[0].prompt_tokens[:, 0].tolist()) for part in parts]
    assert firsts == [[5, 6], [8, 11]]


def test_micro_batches_are_sorted_by_length_and_padded_to_their_own_bucket():
    config = dataclasses.replace(CONFIG, num_minibatches=1, micro_batch_prompts=2)
    (micro,) = [batches.split(make(), config)]
    assert [part.completion_tokens.shape for part in micro[0]] == [(2, 2, 32), (2, 2, 16)]
    assert [part.prompt_tokens[:, 0].tolist() for part in micro[0]] == [[8, 5], [11, 6]]
    assert batches.useful_token_fraction(micro) == pytest.approx((70 + 7) / (2 * 2 * 48 + 4 * 16))


def test_masked_completions_do_not_widen_a_micro_batch_and_empty_ones_are_skipped():
    config = dataclasses.replace(CONFIG, num_minibatches=1, micro_batch_prompts=1, drop_zero_variance=True)
    (micro,) = batches.split(make(config), config)
    assert [part.prompt_tokens[0, 0] for part in micro] == [5, 11]  # 6 and 8 have no signal
    everything_masked = dataclasses.replace(make(), loss_mask=np.zeros((4, 2), bool))
    (micro,) = batches.split(everything_masked, config)
    assert len(micro) == 1  # one stays, so that the update still reports a row


def test_groups_split_with_their_own_copy_of_the_prompt():
    whole = make()
    halves = batches.split_groups(whole, 8)
    assert halves.completion_tokens.shape == (8, 1, 30)
    np.testing.assert_array_equal(halves.prompt_lengths, [1, 1, 2, 2, 3, 3, 1, 1])
    np.testing.assert_array_equal(halves.completion_lengths[:, 0], whole.completion_lengths.ravel())
    assert batches.split_groups(whole, 2).completion_tokens.shape == (4, 2, 30)


@given(st.integers(0, 5000))
def test_buckets_hold_their_length_with_little_waste(length):
    width = batches.bucket(length)
    assert width >= length
    assert width == 16 or (width - length) <= width / 3
    assert batches.bucket(width) == width


def test_dump_can_be_read_back(tmp_path):
    batch = make()
    batches.dump(batch, tmp_path / "bad.npz")
    with np.load(tmp_path / "bad.npz") as file:
        assert set(file) == {f.name for f in dataclasses.fields(batch)} - {"old_logprobs", "ref_logprobs"}
        np.testing.assert_array_equal(file["completion_tokens"], batch.completion_tokens)


@pytest.mark.parametrize(
    ("changes", "rewards", "prompts", "message"),
    [
        ({}, REWARDS[:3], PROMPTS, "do not agree"),
        ({}, REWARDS, PROMPTS[:3], "do not agree"),
        ({}, [[np.nan, 0], *REWARDS[1:]], PROMPTS, "1 of 8 rewards are not finite"),
        ({}, REWARDS, [[1], [], [2], [3]], "prompt 1 has no tokens"),
        ({"lengths": np.full((4, 2), 41)}, REWARDS, PROMPTS, "lengths from 41 to 41 in 40 slots"),
    ],
)
def test_impossible_input_is_refused(changes, rewards, prompts, message):
    with pytest.raises(ValueError, match=message):
        batches.make_batch(rollouts(**changes), prompts, rewards, CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_minibatches": 3}, "4 prompts do not divide into 3 mini-batches"),
        ({"num_minibatches": 1, "micro_batch_prompts": 3}, "of 4 prompts does not divide into micro-batches of 3"),
    ],
)
def test_prompts_that_do_not_divide_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        batches.split(make(), dataclasses.replace(CONFIG, **changes))
