"""FLOPs accounting against counts by hand and by brute force."""

import numpy as np

from rlscale_jax.experiment import flops
from rlscale_jax.models import Architecture

SMALL = Architecture(
    model_type="qwen2",
    vocab_size=10,
    hidden_size=4,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    intermediate_size=5,
    rms_norm_eps=1e-6,
    rope_theta=1e4,
    qkv_bias=True,
    tie_embeddings=True,
)


def test_paper_flops_count_a_prompt_once_per_sample():
    prompts, completions = np.array([10, 20]), np.array([[1, 2, 3], [4, 5, 6]])
    assert flops.paper_flops(7.0, prompts, completions) == 6 * 7 * (30 * 3 + 21)


def test_forward_cost_against_a_token_by_token_count():
    cost = flops.ForwardCost.of(SMALL)
    weights = 4 * 8 + 2 * 4 * 4 + 8 * 4 + 3 * 4 * 5  # q, k and v, o, mlp of one layer
    expected = 0.0
    for prompt, group in ((3, (2, 1)), (2, (4, 0))):
        for position in range(prompt):
            expected += 2 * (2 * weights) + 2 * 4 * 8 * (position + 1)
        for length in group:
            for position in range(length):
                expected += 2 * (2 * weights) + 2 * 4 * 8 * (prompt + position + 1) + 2 * 4 * 10
    assert cost.sequences(np.array([3.0, 2.0]), np.array([[2.0, 1.0], [4.0, 0.0]])) == expected


def test_total_flops_counts_the_passes():
    prompts, completions = np.array([3]), np.array([[2, 2]])
    cost = flops.ForwardCost.of(SMALL)
    one = cost.sequences(prompts, completions)
    assert flops.total_flops(cost, prompts, completions, extra_forwards=2, remat=False) == 6 * one
    assert flops.total_flops(cost, prompts, completions, extra_forwards=0, remat=True) == 5 * one
