"""The workloads of rollouts and updates: model shapes, prompts, lengths. No framework imports: peers read this too."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen2-style decoder with tied embeddings, heads of 64 or 128."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    head_dim: int = 64

    @property
    def layer_weights(self) -> int:
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return self.num_layers * self.hidden_size * (2 * q + 2 * kv + 3 * self.intermediate_size)

    @property
    def head_weights(self) -> int:
        return self.vocab_size * self.hidden_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollout:
    """Completions to sample at temperature 1 without an eos; `longest` > 0 draws a limit for each sample."""

    shape: Shape
    num_prompts: int
    num_samples: int
    prompt_tokens: int
    new_tokens: int  # of each sample, or their mean
    longest: int = 0
    dtype: str = "float32"

    def prompts(self) -> np.ndarray:
        """[P Tp], the same for every contender."""
        return np.random.default_rng(0).integers(3, self.shape.vocab_size, (self.num_prompts, self.prompt_tokens))

    def limits(self) -> np.ndarray:
        """[P G] new tokens of each sample: all alike, or log-normal with the given mean and a longest one."""
        size = (self.num_prompts, self.num_samples)
        if not self.longest:
            return np.full(size, self.new_tokens)
        draws = np.random.default_rng(1).lognormal(sigma=0.9, size=size)
        limits = np.clip(np.round(draws / draws.mean() * self.new_tokens), 1, self.longest).astype(int)
        limits[np.unravel_index(draws.argmax(), size)] = self.longest
        return limits


WARM_UP_TOKENS = 16  # new tokens that warm up a peer which compiles nothing

SMALL = Shape(vocab_size=512, hidden_size=256, num_layers=4, num_heads=4, num_kv_heads=2, intermediate_size=1024)
QWEN_0_5B = Shape(
    vocab_size=151936, hidden_size=896, num_layers=24, num_heads=14, num_kv_heads=2, intermediate_size=4864
)
QWEN_1_5B = Shape(
    vocab_size=151936,
    hidden_size=1536,
    num_layers=28,
    num_heads=12,
    num_kv_heads=2,
    intermediate_size=8960,
    head_dim=128,
)
ROLLOUTS = {
    "W1": Rollout(shape=SMALL, num_prompts=64, num_samples=1, prompt_tokens=32, new_tokens=128),
    "W2": Rollout(shape=QWEN_0_5B, num_prompts=8, num_samples=1, prompt_tokens=64, new_tokens=64),
    "W5": Rollout(shape=SMALL, num_prompts=32, num_samples=8, prompt_tokens=32, new_tokens=64, longest=512),
    "W6": Rollout(shape=QWEN_1_5B, num_prompts=64, num_samples=8, prompt_tokens=256, new_tokens=512, dtype="bfloat16"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Update:
    """One optimiser step of AdamW, `with_rollout` after sampling its completions and scoring them by a reference.

    Without a rollout the batch is P sequences of prompt_tokens + new_tokens, every token but the first in the loss.
    """

    shape: Shape
    num_prompts: int
    num_samples: int
    prompt_tokens: int
    new_tokens: int
    with_rollout: bool
    dtype: str = "float32"
    remat: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens that go through the model where every sequence has its own prompt: the same for every contender."""
        return self.num_prompts * self.num_samples * (self.prompt_tokens + self.new_tokens)

    @property
    def is_small(self) -> bool:
        """Not a published model's shape."""
        return self.shape not in (QWEN_0_5B, QWEN_1_5B)


UPDATES = {
    "W3": Update(shape=SMALL, num_prompts=16, num_samples=8, prompt_tokens=32, new_tokens=64, with_rollout=True),
    "W4": Update(shape=QWEN_0_5B, num_prompts=2, num_samples=1, prompt_tokens=1, new_tokens=511, with_rollout=False),
    "W4-remat": Update(
        shape=QWEN_0_5B, num_prompts=2, num_samples=1, prompt_tokens=1, new_tokens=511, with_rollout=False, remat=True
    ),
    "W7": Update(
        shape=QWEN_1_5B,
        num_prompts=8,
        num_samples=1,
        prompt_tokens=1,
        new_tokens=2047,
        with_rollout=False,
        dtype="bfloat16",
        remat=True,
    ),
}
