"""What a checkpoint's config.json says about a decoder: one record for Qwen2.5 and Llama 3.

Nothing here knows a list of sizes. A field that would change the mathematics and that the decoder does not
implement (an active sliding window, yarn, experts, another family) is refused by name.
Source: the configuration files of the published Qwen2.5 and Llama 3.x checkpoints.
"""

import dataclasses
import math
from typing import Any

FAMILIES = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}  # model_type -> class in transformers


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3's stretching of low frequencies (rope_type "llama3")."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int

    def __post_init__(self):
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"rope scaling: low_freq_factor {self.low_freq_factor} must be below high_freq_factor "
                f"{self.high_freq_factor}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """Shapes and constants of a dense decoder with grouped-query attention, RMSNorm, SwiGLU and rotary positions."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool
    tie_embeddings: bool
    max_positions: int = 32768

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_attention_heads {self.num_heads} is not a multiple of num_key_value_heads {self.num_kv_heads}"
            )
        if self.model_type == "qwen2" and not self.qkv_bias:
            raise ValueError("qwen2 always has a bias on q, k and v; model_type 'llama' is the family without")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary positions need pairs")

    @property
    def o_bias(self) -> bool:
        """Llama's attention_bias shifts the output projection too; Qwen2's never does."""
        return self.model_type == "llama" and self.qkv_bias

    @property
    def num_nonembedding_params(self) -> int:
        """Parameters outside the embedding table and the LM head, norms and biases included."""
        d, f = self.hidden_size, self.intermediate_size
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        bias = (q + 2 * kv if self.qkv_bias else 0) + (d if self.o_bias else 0)
        return self.num_layers * (2 * d * q + 2 * d * kv + bias + 3 * d * f + 2 * d) + d

    @property
    def num_params(self) -> int:
        copies = 1 if self.tie_embeddings else 2
        return self.num_nonembedding_params + copies * self.vocab_size * self.hidden_size


def from_hf_config(config: dict[str, Any]) -> Architecture:
    """Reads a config.json, of the published style or of the newer one with `rope_parameters`.

    Raises:
      ValueError: an unsupported family or field, or a missing or impossible one, by name.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ValueError(f"config.json: model_type {family!r} is not supported; use one of {sorted(FAMILIES)}")
    rope = _rope_parameters(config)
    _refuse(config, rope)
    heads, hidden_size = _count(config, "num_attention_heads"), _count(config, "hidden_size")
    if not config.get("head_dim") and hidden_size % heads:
        raise ValueError(f"config.json: hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}")
    return Architecture(
        model_type=family,
        vocab_size=_count(config, "vocab_size"),
        hidden_size=hidden_size,
        num_layers=_count(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=_count(config, "num_key_value_heads", heads),
        head_dim=_count(config, "head_dim", hidden_size // heads),
        intermediate_size=_count(config, "intermediate_size"),
        rms_norm_eps=_number(config, "rms_norm_eps", 1e-6),
        rope_theta=_number(rope, "rope_theta", 10000.0),
        rope_scaling=_rope_scaling(rope, config),
        qkv_bias=family == "qwen2" or _flag(config, "attention_bias"),
        tie_embeddings=_flag(config, "tie_word_embeddings"),
        max_positions=_count(config, "max_position_embeddings", 32768),
    )


def to_hf_config(architecture: Architecture) -> dict[str, Any]:
    """The config.json of a model that was made here (published style, readable by transformers)."""
    a = architecture
    config = {
        "architectures": [FAMILIES[a.model_type]],
        "model_type": a.model_type,
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.num_layers,
        "num_attention_heads": a.num_heads,
        "num_key_value_heads": a.num_kv_heads,
        "head_dim": a.head_dim,
        "intermediate_size": a.intermediate_size,
        "hidden_act": "silu",
        "rms_norm_eps": a.rms_norm_eps,
        "rope_theta": a.rope_theta,
        "rope_scaling": None,
        "tie_word_embeddings": a.tie_embeddings,
        "max_position_embeddings": a.max_positions,
        "torch_dtype": "float32",
    }
    if a.model_type == "llama":
        config["attention_bias"] = a.o_bias
    if a.rope_scaling:
        config["rope_scaling"] = {
            "rope_type": "llama3",
            "factor": a.rope_scaling.factor,
            "low_freq_factor": a.rope_scaling.low_freq_factor,
            "high_freq_factor": a.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": a.rope_scaling.original_max_position,
        }
    return config


def _count(config: dict[str, Any], name: str, default: int | None = None) -> int:
    """A positive whole number; absent and null are the default, which a field without one may not be."""
    value = config.get(name)
    value = default if value is None else value
    if value is None:
        raise ValueError(f"config.json: field {name} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"config.json: {name} is {value!r}, not a positive whole number")
    return value


def _flag(config: dict[str, Any], name: str) -> bool:
    """True or false; absent and null are false."""
    value = config.get(name)
    if value not in (True, False, None):
        raise ValueError(f"config.json: {name} is {value!r}, not true or false")
    return bool(value)


def _number(config: dict[str, Any], name: str, default: float | None = None) -> float:
    """A positive number; absent and null are the default, which a field without one may not be."""
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"config.json: {name} is {value!r}, not a positive number")
    return float(value)


def _rope_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary fields of both styles in one: the older `rope_scaling` before the newer `rope_parameters`, a base
    among them before the older `rope_theta`, as the reference implementation reads them."""
    merged: dict[str, Any] = {"rope_theta": config.get("rope_theta")}
    for name in ("rope_parameters", "rope_scaling"):
        fields = config.get(name) or {}
        if not isinstance(fields, dict):
            raise ValueError(f"config.json: {name} is {fields!r}, not an object of rotary parameters")
        merged |= {key: value for key, value in fields.items() if value is not None}
    return merged


def _refuse(config: dict[str, Any], rope: dict[str, Any]) -> None:
    """Fields of the mathematics that the decoder does not implement, at any value but the harmless ones."""
    named, expected = config.get("architectures") or [], FAMILIES[config["model_type"]]
    if named and expected not in named:
        raise ValueError(f"config.json: architectures {named} is not supported; only {expected} is")
    layers = _count(config, "num_hidden_layers")
    kinds = config.get("layer_types") or _layer_types(config, layers)
    if "sliding_attention" in kinds:
        raise ValueError(
            f"config.json: use_sliding_window {config.get('use_sliding_window')!r} with sliding_window "
            f"{config.get('sliding_window')} is active in {kinds.count('sliding_attention')} of {layers} layers; "
            "sliding windows are not supported"
        )
    partial = config.get("partial_rotary_factor") or rope.get("partial_rotary_factor")
    harmless = {
        "layer_types": set(kinds) == {"full_attention"},
        "hidden_act": config.get("hidden_act", "silu") in ("silu", "swish"),
        "mlp_bias": not config.get("mlp_bias"),
        "partial_rotary_factor": partial in (None, 1),
        "rope_parameters": not any(isinstance(value, dict) for value in rope.values()),  # one set per kind of layer
        "is_causal": config.get("is_causal") is not False,
    }
    harmless |= {name: not config.get(name) for name in _NOT_IMPLEMENTED}
    for name, fine in harmless.items():
        if not fine:
            value = sorted(set(kinds)) if name == "layer_types" else config.get(name, rope.get(name))
            raise ValueError(f"config.json: {name} = {value!r} changes the mathematics and is not supported")


def _layer_types(config: dict[str, Any], layers: int) -> list[str]:
    """Where the file does not name them: Qwen2's windows begin at layer `max_window_layers`, if they are in use."""
    in_use = config["model_type"] == "qwen2" and config.get("use_sliding_window")
    if not in_use or config.get("sliding_window", 4096) is None:
        return ["full_attention"] * layers
    first = config.get("max_window_layers", 28)
    first = first if isinstance(first, int) else 0
    return ["sliding_attention" if index >= first else "full_attention" for index in range(layers)]


_NOT_IMPLEMENTED = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "quantization_config",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "use_qk_norm",
    "add_cross_attention",
)


def _rope_scaling(rope: dict[str, Any], config: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"config.json: rope scaling {kind!r} is not supported; only 'llama3' is")
    absent = [name for name in ("factor", "low_freq_factor", "high_freq_factor") if rope.get(name) is None]
    if absent:
        raise ValueError(f"config.json: rope scaling 'llama3' lacks {', '.join(absent)}")
    name = "original_max_position_embeddings"
    original = config.get(name) or rope.get(name) or _count(config, "max_position_embeddings")
    return RopeScaling(
        factor=_number(rope, "factor"),
        low_freq_factor=_number(rope, "low_freq_factor"),
        high_freq_factor=_number(rope, "high_freq_factor"),
        original_max_position=_count({name: original}, name),
    )
