"""What a caller learns while a rollout is under way: every group once, as soon as it has ended; and how to leave it."""

import numpy as np
import pytest

from rlscale_jax.sampler import generate

SETTINGS = {"num_samples": 2, "max_new_tokens": 40, "temperature": 1.0, "eos_ids": (5, 9), "seed": 11}


def test_each_group_is_told_once_with_its_tokens(model, prompts):
    reports = []
    rollouts = generate(model, prompts, wave_sequences=4, between_segments=reports.append, **SETTINGS)
    told = np.concatenate([report.prompts for report in reports])
    assert sorted(told) == list(range(len(prompts)))
    for report in reports:
        np.testing.assert_array_equal(report.tokens, rollouts.tokens[report.prompts])
        np.testing.assert_array_equal(report.lengths, rollouts.lengths[report.prompts])
    assert len(reports[0].prompts) < len(prompts)  # not all of them at the end


def test_what_it_raises_ends_the_rollout(model, prompts):
    def leave(_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        generate(model, prompts, wave_sequences=4, between_segments=leave, **SETTINGS)
