"""Names: every tensor of a published checkpoint and the place of its values in our params.

Published kernels are [out, in] and one tensor a layer; ours are [in, out] with layers stacked.
"""

import dataclasses
from collections.abc import Mapping

import jax

from rlscale_jax.models import decoder
from rlscale_jax.models.architecture import Architecture

_MODULES = {
    "embed": "model.embed_tokens",
    "final_norm": "model.norm",
    "lm_head": "lm_head",
    "attn_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}

TABLE = "model.embed_tokens.weight"
TIED_COPY = "lm_head.weight"  # which some tools store although it is the embedding table
DERIVED = "rotary_emb.inv_freq"  # part of the names of old files' buffers, which follow from config.json


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of our params and the published tensors that fill it, in layer order."""

    path: tuple[str, ...]
    names: tuple[str, ...]
    shape: tuple[int, ...]  # of the published tensors
    stacked: bool
    transposed: bool


def leaves(architecture: Architecture) -> list[Leaf]:
    """Every leaf of the params, in the tree's order."""
    flat = jax.tree.leaves_with_path(decoder.abstract_params(architecture))
    return [_leaf(tuple(key.key for key in path), array.shape) for path, array in flat]


def _leaf(path: tuple[str, ...], shape: tuple[int, ...]) -> Leaf:
    stacked = path[0] == "layers"
    module, kind = path[-2:]
    transposed = kind == "kernel"
    name = f"{_MODULES[module]}.{'bias' if kind == 'bias' else 'weight'}"
    names = tuple(f"model.layers.{i}.{name}" for i in range(shape[0])) if stacked else (name,)
    one = shape[1:] if stacked else shape
    return Leaf(path, names, one[::-1] if transposed else one, stacked, transposed)


def misfits(leaves: list[Leaf], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Every missing, surplus and misshapen tensor among those found, a line each."""
    wanted = {name: leaf.shape for leaf in leaves for name in leaf.names}
    lines = [f"missing: {name} {list(shape)}" for name, shape in wanted.items() if name not in found]
    lines += [f"surplus: {name} {list(shape)}" for name, shape in found.items() if name not in wanted]
    lines += [
        f"misshapen: {name} is {list(found[name])}, config.json says {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    return lines
