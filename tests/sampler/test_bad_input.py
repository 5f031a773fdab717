"""What cannot be sampled is refused before anything compiles, with the numbers."""

import numpy as np
import pytest

from rlscale_jax.sampler import generate, memory

GOOD = {"num_samples": 2, "max_new_tokens": 4, "temperature": 1.0, "eos_ids": (5,), "seed": 0}


@pytest.mark.parametrize(
    ("prompts", "change", "message"),
    [
        ([], {}, "no prompts"),
        ([[1], []], {}, "prompt 1 is empty"),
        ([[[1, 2]]], {}, "prompt 0 is empty or not a list"),
        ([[1, 64]], {}, "token 64; the vocabulary has 64"),
        ([[1, -1]], {}, "token -1"),
        ([[1.5]], {}, "float64 values"),
        ([[1] * 126], {}, "126 tokens and up to 4 new ones; the model's limit is 128"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens 0"),
        ([[1]], {"max_new_tokens": [[1, 2, 3]]}, r"shape \(1, 3\)"),
        ([[1]], {"max_new_tokens": 2.5}, "float64"),
        ([[1]], {"num_samples": 0}, "num_samples is 0"),
        ([[1]], {"num_samples": 2.0}, "num_samples is 2.0"),
        ([[1]], {"seed": 0.5}, "seed is 0.5"),
        ([[1]], {"seed": 2**63}, "seed 9223372036854775808"),
        ([[1]], {"temperature": float("inf")}, "temperature is inf"),
        ([[1]], {"top_p": float("nan")}, "top_p is nan"),
        ([[1]], {"temperature": -0.1}, "temperature is -0.1"),
        ([[1]], {"temperature": float("nan")}, "temperature is nan"),
        ([[1]], {"top_p": 0.0}, "top_p is 0.0"),
        ([[1]], {"top_p": 1.5}, "top_p is 1.5"),
        ([[1]], {"top_k": -1}, "top_k is -1"),
        ([[1]], {"eos_ids": (64,)}, "eos id 64"),
        ([[1]], {"seed": -1}, "seed -1"),
        ([[1]], {"prompt_ids": [0, 1]}, "prompt_ids has shape"),
        ([[1]], {"prompt_ids": [2**32]}, "prompt_ids reach"),
        ([[1]], {"wave_sequences": 1}, "wave_sequences 1 is less than num_samples 2"),
    ],
)
def test_bad_arguments(model, prompts, change, message):
    with pytest.raises(ValueError, match=message):
        generate(model, prompts, **{**GOOD, **change})


def test_a_cache_that_cannot_fit(model, monkeypatch):
    """Two layers, two heads of eight, float32: 256 bytes a token."""
    monkeypatch.setattr(memory, "device_bytes", lambda: 256 * (16 + 150))
    with pytest.raises(ValueError, match=r"100 new tokens.*wave_sequences to at most 1,"):
        generate(model, [[1]], **{**GOOD, "max_new_tokens": 100})


def test_repeated_prompt_ids_repeat_their_draws(model):
    """Allowed: the same prompt twice under one id is the same sample twice."""
    rollouts = generate(model, [[1, 2], [1, 2]], prompt_ids=[7, 7], **GOOD)
    np.testing.assert_array_equal(rollouts.tokens[0], rollouts.tokens[1])
