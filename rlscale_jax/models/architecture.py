"""What a checkpoint's config.json says about a decoder: one record for Qwen2.5 and Llama 3.

Nothing here knows a list of sizes. A field that would change the mathematics and that the decoder does not
implement (an active sliding window, yarn, experts, another family) is refused by name.
Source: the configuration files of the published Qwen2.5 and Llama 3.x checkpoints.
"""

import dataclasses
from typing import Any

SUPPORTED = {"qwen2": True, "llama": False}  # model_type -> bias on q, k, v when the file does not say


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3's stretching of low frequencies (rope_type "llama3")."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int


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
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary positions need pairs")

    @property
    def num_nonembedding_params(self) -> int:
        """Parameters outside the embedding table and the LM head, norms and biases included."""
        d, f = self.hidden_size, self.intermediate_size
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        bias = q + 2 * kv if self.qkv_bias else 0
        return self.num_layers * (2 * d * q + 2 * d * kv + bias + 3 * d * f + 2 * d) + d

    @property
    def num_params(self) -> int:
        copies = 1 if self.tie_embeddings else 2
        return self.num_nonembedding_params + copies * self.vocab_size * self.hidden_size


def from_hf_config(config: dict[str, Any]) -> Architecture:
    """Reads a config.json, of the published style or of the newer one with `rope_parameters`.

    Raises:
      ValueError: an unsupported family or field, or a missing one, by name.
    """
    family = config.get("model_type")
    if family not in SUPPORTED:
        raise ValueError(f"config.json: model_type {family!r} is not supported; use one of {sorted(SUPPORTED)}")
    _refuse_unsupported(config)
    heads = _need(config, "num_attention_heads")
    rope = config.get("rope_parameters") or {}
    return Architecture(
        model_type=family,
        vocab_size=_need(config, "vocab_size"),
        hidden_size=_need(config, "hidden_size"),
        num_layers=_need(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate_size=_need(config, "intermediate_size"),
        rms_norm_eps=config.get("rms_norm_eps", 1e-6),
        rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
        rope_scaling=_rope_scaling(rope or config.get("rope_scaling") or {}),
        qkv_bias=config.get("attention_bias", SUPPORTED[family]) if family == "llama" else True,
        tie_embeddings=config.get("tie_word_embeddings", False),
        max_positions=config.get("max_position_embeddings", 32768),
    )


def to_hf_config(architecture: Architecture) -> dict[str, Any]:
    """The config.json of a model that was made here (published style, readable by transformers)."""
    a = architecture
    config = {
        "architectures": ["Qwen2ForCausalLM" if a.model_type == "qwen2" else "LlamaForCausalLM"],
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
        "tie_word_embeddings": a.tie_embeddings,
        "max_position_embeddings": a.max_positions,
        "torch_dtype": "float32",
    }
    if a.rope_scaling:
        config["rope_scaling"] = {
            "rope_type": "llama3",
            "factor": a.rope_scaling.factor,
            "low_freq_factor": a.rope_scaling.low_freq_factor,
            "high_freq_factor": a.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": a.rope_scaling.original_max_position,
        }
    return config


def _need(config: dict[str, Any], name: str) -> int:
    if name not in config:
        raise ValueError(f"config.json: field {name} is missing")
    return config[name]


def _refuse_unsupported(config: dict[str, Any]) -> None:
    refused = {
        "use_sliding_window": config.get("use_sliding_window", False),
        "num_experts": config.get("num_experts") or config.get("num_local_experts"),
        "mlp_bias": config.get("mlp_bias", False),
        "hidden_act": config.get("hidden_act", "silu") not in ("silu", "swish") and config["hidden_act"],
    }
    for name, value in refused.items():
        if value:
            raise ValueError(f"config.json: {name} = {value!r} changes the mathematics and is not supported")


def _rope_scaling(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"config.json: rope scaling {kind!r} is not supported; only 'llama3' is")
    return RopeScaling(
        factor=float(rope["factor"]),
        low_freq_factor=float(rope["low_freq_factor"]),
        high_freq_factor=float(rope["high_freq_factor"]),
        original_max_position=int(rope["original_max_position_embeddings"]),
    )
