"""FLOPs accounting of a GRPO step, as the paper counts them and as they were really spent.

`flops_paper` = 6 · N_nominal · T with T the prompt and response tokens of all samples (arXiv 2509.25300, section 2,
and its public code): generation and the extra log-probability passes are left out. `flops_total` adds up prefill,
decode, log-probability passes and the update with attention, where a prompt passes once for its whole group.
A multiplication and an addition are two FLOPs; normalisations and softmax are not counted.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ForwardCost:
    """FLOPs of a forward pass: `per_token` of the layers' matrices, `per_pair` of a query meeting a key,
    `per_logits` of one position through the LM head."""

    per_token: float
    per_pair: float
    per_logits: float

    @classmethod
    def of(cls, architecture) -> "ForwardCost":
        """Counts an `Architecture`-like record's matrices (2 FLOPs a weight) and attention (4 · L · N · H a pair)."""
        a = architecture
        q, kv = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
        weights = a.num_layers * (2 * a.hidden_size * (q + kv) + 3 * a.hidden_size * a.intermediate_size)
        return cls(2.0 * weights, 4.0 * a.num_layers * q, 2.0 * a.hidden_size * a.vocab_size)

    def sequences(self, prompts: np.ndarray, completions: np.ndarray) -> float:
        """One forward over prompts [P] (once each) and completions [P, G] that see them, logits on completions."""
        pairs = (prompts * (prompts + 1) / 2).sum()
        pairs += (completions * prompts[:, None] + completions * (completions + 1) / 2).sum()
        tokens = prompts.sum() + completions.sum()
        return tokens * self.per_token + pairs * self.per_pair + completions.sum() * self.per_logits


def paper_flops(n_nominal: float, prompts: np.ndarray, completions: np.ndarray) -> float:
    """6 · N · T; a prompt's tokens count once per sample."""
    num_samples = completions.shape[1]
    return 6.0 * n_nominal * float(prompts.sum() * num_samples + completions.sum())


def total_flops(
    cost: ForwardCost, prompts: np.ndarray, completions: np.ndarray, *, extra_forwards: int, remat: bool
) -> float:
    """Rollout (1 forward), `extra_forwards` log-probability passes, and the update (3, or 4 with remat)."""
    passes = 1 + extra_forwards + (4 if remat else 3)
    return passes * cost.sequences(prompts.astype(np.float64), completions.astype(np.float64))


def update_flops(cost: ForwardCost, prompts: np.ndarray, completions: np.ndarray) -> float:
    """Forward and backward of one step's updates, as they are needed: nothing is recomputed, prompts pass once."""
    return 3 * cost.sequences(prompts.astype(np.float64), completions.astype(np.float64))
