"""Rollouts: prompts prefilled once a group, decode in segments, compaction and refill."""

from rlscale_jax.sampler.generate import generate
from rlscale_jax.sampler.layout import lay_out
from rlscale_jax.sampler.rollouts import FINISH_EOS, FINISH_LENGTH, Finished, Rollouts, RolloutStats

__all__ = ["FINISH_EOS", "FINISH_LENGTH", "Finished", "RolloutStats", "Rollouts", "generate", "lay_out"]
