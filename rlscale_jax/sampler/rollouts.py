"""What `generate` returns: completions with their log-probabilities and the reason for their end."""

import dataclasses

import numpy as np

FINISH_EOS, FINISH_LENGTH = 0, 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutStats:
    """How the rollout ran."""

    num_steps: int  # decode steps
    num_row_steps: int  # rows x steps, idle lanes included
    num_segments: int
    num_regroups: int  # compactions and refills
    num_buckets: int  # shapes of prefills and of segments that came up: a program each
    num_compilations: int  # programs that this process did not have yet: 0 in steady state
    compile_secs: float
    secs: float  # wall clock, compilations included


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """Groups that have ended since the last report, n of them, while others go on."""

    prompts: np.ndarray  # [n] indices into the prompts
    tokens: np.ndarray  # [n G T] int32
    lengths: np.ndarray  # [n G] int32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Completions of P prompts, G samples each, T the greatest limit of new tokens. Zeros after a completion's end."""

    tokens: np.ndarray  # [P G T] int32
    lengths: np.ndarray  # [P G] int32, the eos token included
    logprobs: np.ndarray  # [P G T] float32, plain softmax (temperature 1, nothing cut)
    sampling_logprobs: np.ndarray  # [P G T] float32, the distribution that was sampled; 0 when greedy
    finish: np.ndarray  # [P G] int8: 0 eos, 1 length
    stats: RolloutStats
