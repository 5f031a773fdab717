"""RL-post-training scaling studies of language models in JAX, from checkpoint to law."""

__version__ = "0.1.0"
