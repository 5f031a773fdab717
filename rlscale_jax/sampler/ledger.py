"""The host's record of a rollout: what every sequence has produced so far, and whether it has ended."""

import numpy as np

from rlscale_jax.sampler.rollouts import FINISH_EOS, FINISH_LENGTH, Rollouts, RolloutStats


class Ledger:
    """Arrays by sequence (prompt * num_samples + sample); `limits` [P*G] are the most tokens of each."""

    def __init__(self, limits: np.ndarray, eos_ids: tuple[int, ...]):
        shape = (len(limits), int(limits.max()))
        self.limits, self.eos_ids = limits, np.array(eos_ids, np.int32)
        self.tokens = np.zeros(shape, np.int32)
        self.logprobs = np.zeros(shape, np.float32)
        self.sampling_logprobs = np.zeros(shape, np.float32)
        self.lengths = np.zeros(len(limits), np.int32)
        self.stopped = np.zeros(len(limits), bool)

    def add(self, sequences: np.ndarray, num_new: np.ndarray, choices) -> None:
        """Appends to each sequence its first `num_new` [B] tokens of `choices` (arrays [steps B])."""
        step, row = np.nonzero(np.arange(choices.token.shape[0])[:, None] < num_new)
        at = sequences[row], self.lengths[sequences[row]] + step
        self.tokens[at] = choices.token[step, row]
        self.logprobs[at] = choices.logprob[step, row]
        self.sampling_logprobs[at] = choices.sampling_logprob[step, row]
        grown = sequences[num_new > 0]
        self.lengths[grown] += num_new[num_new > 0]
        self.stopped[grown] = np.isin(self.last_tokens(grown), self.eos_ids)

    def last_tokens(self, sequences: np.ndarray) -> np.ndarray:
        return self.tokens[sequences, self.lengths[sequences] - 1]

    def is_live(self, sequences: np.ndarray) -> np.ndarray:
        """True where a sequence that has begun is to go on."""
        return ~self.stopped[sequences] & (self.lengths[sequences] < self.limits[sequences])

    def rollouts(self, num_samples: int, stats: RolloutStats) -> Rollouts:
        def grouped(a):
            return a.reshape(-1, num_samples, *a.shape[1:])

        return Rollouts(
            tokens=grouped(self.tokens),
            lengths=grouped(self.lengths),
            logprobs=grouped(self.logprobs),
            sampling_logprobs=grouped(self.sampling_logprobs),
            finish=grouped(np.where(self.stopped, FINISH_EOS, FINISH_LENGTH).astype(np.int8)),
            stats=stats,
        )
