"""Text to token ids and back, behind one small interface for every kind of tokenizer."""

from rlscale_jax.tokenizers.interface import Message, Tokenizer
from rlscale_jax.tokenizers.loading import from_files, load

__all__ = ["Message", "Tokenizer", "from_files", "load"]
