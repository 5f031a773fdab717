"""The ladder's pretraining corpus as token batches: worked solutions after their questions, right-padded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlscale_jax.tokenizers import Tokenizer


@dataclass(frozen=True)
class TokenCorpus:
    """Examples, each a rendered question, its solution and the end token.

    tokens: int32 [examples, T], right-padded. loss_mask: bool [examples, T], True on solution and end tokens,
    the only ones whose prediction is trained (questions are random digits).
    """

    tokens: np.ndarray
    loss_mask: np.ndarray

    def batch(self, step: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Examples of a step: consecutive slices of a fresh shuffle for each epoch, a function of (seed, step)."""
        num = len(self.tokens)
        positions = np.arange(step * size, (step + 1) * size)
        chosen = np.empty(size, np.int64)
        for epoch in np.unique(positions // num):
            here = positions // num == epoch
            chosen[here] = np.random.default_rng([seed, int(epoch)]).permutation(num)[positions[here] % num]
        return self.tokens[chosen], self.loss_mask[chosen]


def tokenize(pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer) -> TokenCorpus:
    """Tokenises (question, solution) pairs in the chat format that reinforcement learning will use."""
    eos = tokenizer.eos_ids[0]
    prompts = [tokenizer.render([{"role": "user", "content": question}]) for question, _ in pairs]
    answers = [[*tokenizer.encode(solution), eos] for _, solution in pairs]
    longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    tokens = np.full((len(pairs), longest), tokenizer.pad_id, np.int32)
    mask = np.zeros((len(pairs), longest), bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        tokens[row, :end] = prompt + answer
        mask[row, len(prompt) : end] = True
    return TokenCorpus(tokens, mask)
