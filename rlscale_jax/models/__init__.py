"""Decoders of the Qwen2.5 and Llama 3 families: architecture, layers, weights in and out, sharding."""

from rlscale_jax.models.architecture import Architecture, from_hf_config, to_hf_config
from rlscale_jax.models.hf_loading import load_architecture, load_pretrained
from rlscale_jax.models.hf_saving import save_pretrained
from rlscale_jax.models.model import Model, logits

__all__ = [
    "Architecture",
    "Model",
    "from_hf_config",
    "load_architecture",
    "load_pretrained",
    "logits",
    "save_pretrained",
    "to_hf_config",
]
