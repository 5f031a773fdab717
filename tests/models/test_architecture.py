"""config.json to Architecture: the study's 11 models at full size, and what is refused, by name.

`python -m tests.models.test_architecture` prints the refusals of docs/models.md.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.experiment.flops import ForwardCost
from rlscale_jax.models import attention, decoder, from_hf_config, rotary, to_hf_config

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
PUBLISHED = json.loads((GOLDEN / "published.json").read_text())
FREQUENCIES = np.load(GOLDEN / "frequencies.npz")

QWEN = PUBLISHED["Qwen2.5-0.5B"]["config"]
LLAMA = PUBLISHED["Llama-3.1-8B"]["config"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_full_size_shapes_and_counts(name):
    facts = PUBLISHED[name]
    architecture = from_hf_config(facts["config"])
    params = decoder.abstract_params(architecture)
    sizes = [int(np.prod(array.shape)) for array in jax.tree.leaves(params)]
    assert sum(sizes) == architecture.num_params == facts["num_params"]
    assert architecture.num_nonembedding_params / 1e9 == pytest.approx(facts["nonembedding_billions"], rel=0.02)
    assert ("lm_head" in params) != facts["config"]["tie_word_embeddings"]
    assert ("bias" in params["layers"]["q"]) == (facts["config"]["model_type"] == "qwen2")


@pytest.mark.parametrize("name", PUBLISHED)
def test_inverse_frequencies(name):
    ours = rotary.inverse_frequencies(from_hf_config(PUBLISHED[name]["config"]))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, FREQUENCIES[name], rtol=1e-6)


def dot_flops(jaxpr) -> float:
    """2 x the products of every matrix product in a program, loops counted as often as they run."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2.0 * np.prod(equation.outvars[0].aval.shape) * np.prod([left[axis] for axis in contracted])
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(dot_flops(inner) for inner in jax.core.jaxprs_in_params(equation.params))
    return total


@pytest.mark.parametrize("name", PUBLISHED)
def test_flops_per_token_are_those_of_the_program(name):
    """The products in the traced forward pass of T tokens, of which each meets all T, against the accounting."""
    architecture = from_hf_config(PUBLISHED[name]["config"])
    num_tokens = 4

    def forward(params, tokens):
        hidden, _ = decoder.hidden_states(
            architecture, params, tokens, tokens, attention.causal_attend(), compute_dtype=jnp.bfloat16
        )
        return decoder.unembed(params, hidden)

    tokens = jax.ShapeDtypeStruct((1, num_tokens), jnp.int32)
    traced = jax.make_jaxpr(forward)(decoder.abstract_params(architecture), tokens)
    cost = ForwardCost.of(architecture)
    expected = num_tokens * (cost.per_token + cost.per_logits) + num_tokens**2 * cost.per_pair
    assert dot_flops(traced.jaxpr) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_round_trip_through_config_json(name):
    architecture = from_hf_config(PUBLISHED[name]["config"])
    assert from_hf_config(json.loads(json.dumps(to_hf_config(architecture)))) == architecture


def test_newer_style_reads_the_same():
    newer = {key: value for key, value in LLAMA.items() if key not in ("rope_theta", "rope_scaling", "torch_dtype")}
    newer |= {"rope_parameters": LLAMA["rope_scaling"] | {"rope_theta": LLAMA["rope_theta"]}, "dtype": "bfloat16"}
    assert from_hf_config(newer) == from_hf_config(LLAMA)
    newer = {key: value for key, value in QWEN.items() if key not in ("rope_theta", "torch_dtype")}
    newer |= {"rope_parameters": {"rope_type": "default", "rope_theta": QWEN["rope_theta"]}, "dtype": "bfloat16"}
    newer |= {"layer_types": ["full_attention"] * 24, "sliding_window": None}
    assert from_hf_config(newer) == from_hf_config(QWEN)


REFUSED = {
    "another family": (QWEN | {"model_type": "qwen3"}, "model_type 'qwen3'"),
    "no family": ({}, "model_type None"),
    "a window in use": (QWEN | {"use_sliding_window": True, "max_window_layers": 20}, "sliding_window 32768.*4 of 24"),
    "windows by layer": (QWEN | {"layer_types": ["sliding_attention"] * 24}, "sliding windows"),
    "chunked layers": (QWEN | {"layer_types": ["chunked_attention"] * 24}, "layer_types"),
    "yarn": (QWEN | {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope scaling 'yarn'"),
    "dynamic": (LLAMA | {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope scaling 'dynamic'"),
    "linear, newer style": (
        {k: v for k, v in LLAMA.items() if k != "rope_scaling"} | {"rope_parameters": {"rope_type": "linear"}},
        "rope scaling 'linear'",
    ),
    "half a scaling": (LLAMA | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "lacks low_freq_factor"),
    "partial rotary": (LLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
    "frequencies by layer": (QWEN | {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope_parameters"),
    "a base of text": (LLAMA | {"rope_theta": "1e6"}, "rope_theta is '1e6', not a positive number"),
    "no eps": (LLAMA | {"rms_norm_eps": 0}, "rms_norm_eps is 0, not a positive number"),
    "scaling by name": (LLAMA | {"rope_scaling": "llama3"}, "rope_scaling is 'llama3', not an object"),
    "equal ends": (
        LLAMA | {"rope_scaling": LLAMA["rope_scaling"] | {"low_freq_factor": 4.0}},
        "low_freq_factor 4.0 must be below high_freq_factor 4.0",
    ),
    "layers of text": (QWEN | {"num_hidden_layers": "24"}, "num_hidden_layers is '24'"),
    "tied by text": (QWEN | {"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false', not true or false"),
    "another class": (QWEN | {"architectures": ["Qwen2ForRewardModel"]}, r"architectures \['Qwen2ForRewardModel'\]"),
    "experts": (LLAMA | {"num_local_experts": 8}, "num_local_experts = 8"),
    "mlp bias": (LLAMA | {"mlp_bias": True}, "mlp_bias = True"),
    "activation": (LLAMA | {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    "soft cap": (LLAMA | {"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
    "quantised": (LLAMA | {"quantization_config": {"bits": 4}}, "quantization_config"),
    "missing": ({k: v for k, v in QWEN.items() if k != "vocab_size"}, "vocab_size is missing"),
    "no heads": (QWEN | {"num_attention_heads": 0}, "num_attention_heads is 0"),
    "text": (QWEN | {"hidden_size": "896"}, "hidden_size is '896'"),
    "heads": (QWEN | {"num_key_value_heads": 4}, "14 is not a multiple of num_key_value_heads 4"),
    "head size": (QWEN | {"num_attention_heads": 13}, "hidden_size 896 is not a multiple of num_attention_heads 13"),
    "odd head": (QWEN | {"head_dim": 7}, "head_dim 7 is odd"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    config, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        from_hf_config(config)


@pytest.mark.parametrize(
    "harmless",
    [
        {"use_sliding_window": True},  # max_window_layers is 24 of 24
        {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
        {"rope_scaling": None},
        {"rope_scaling": {"type": "default"}},
        {
            "rope_scaling": {"type": "default"},
            "rope_parameters": {"rope_theta": QWEN["rope_theta"]},
            "rope_theta": None,
        },
        {"architectures": None, "auto_map": {}, "pretraining_tp": 2, "quantization_config": None, "mlp_bias": None},
        {"num_key_value_heads": 2, "head_dim": None},
        {"partial_rotary_factor": 1.0},
    ],
)
def test_fields_without_effect_are_accepted(harmless):
    assert from_hf_config(QWEN | harmless) == from_hf_config(QWEN)


def refusal(config) -> str:
    with pytest.raises(ValueError) as caught:
        from_hf_config(config)
    return f"- {caught.value}"


if __name__ == "__main__":
    print(*(refusal(config) for config, _ in REFUSED.values()), sep="\n")
