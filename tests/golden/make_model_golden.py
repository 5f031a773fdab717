"""Makes tests/golden/models: tiny random checkpoints of every variety, and what Hugging Face computes.

    pip install torch==2.13.0 transformers==5.23.0 safetensors
    python tests/golden/make_model_golden.py

Each folder holds a checkpoint as published ones look and `expected.npz`: tokens [B T], lengths [B], first_position,
logits [B T V], logprobs of the next tokens [B T-1], greedy (tokens generated after row 0's first `greedy_prompt`),
loss (mean over real next tokens), grad_norms, one for every name in `grad_names`: all of float32 arithmetic on the
weights as stored; and bf16_distance, how far the reference's own bfloat16 log-probs are from these.
Weights are large enough for sharp, distinct predictions.
Also makes tests/golden/frequencies.npz: inverse rotary frequencies of the study's 11 models, whose public facts
(config.json, parameter counts) are in published.json.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen2Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

HERE = pathlib.Path(__file__).parent / "models"
GREEDY_PROMPT, GREEDY_TOKENS = 5, 12

BASE = {"hidden_act": "silu", "initializer_range": 0.02, "use_cache": True, "attention_dropout": 0.0}
QWEN = BASE | {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "max_position_embeddings": 32768, "sliding_window": 32768, "use_sliding_window": False, "max_window_layers": 21,
}  # fmt: skip
LLAMA = BASE | {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
    "max_position_embeddings": 131072, "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1,
}  # fmt: skip
SCALING = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def shape(hidden, layers, heads, kv, ffn, vocab, tied, dtype="bfloat16", **other):
    return {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "intermediate_size": ffn, "vocab_size": vocab, "tie_word_embeddings": tied, "torch_dtype": dtype, **other,
    }  # fmt: skip


VARIETIES = {  # name -> (config.json, shard bytes, longest row, first position, written by transformers itself)
    "qwen2_tied": (QWEN | shape(48, 2, 4, 2, 80, 151, True), 0, 24, 0, False),
    "qwen2_untied_sharded": (QWEN | shape(36, 3, 6, 2, 64, 131, False, "float32"), 30_000, 24, 0, False),
    "qwen2_head_dim": (QWEN | shape(40, 2, 5, 1, 56, 97, True, head_dim=16, rms_norm_eps=1e-3), 0, 24, 0, False),
    "qwen2_newer": (QWEN | shape(32, 2, 4, 4, 48, 101, False, rope_theta=10000.0), 0, 24, 0, True),
    "llama31": (
        LLAMA | shape(48, 2, 6, 3, 80, 113, False, rope_scaling=SCALING | {"factor": 8.0,
        "original_max_position_embeddings": 32}), 0, 100, 0, False,
    ),
    "llama31_far": (
        LLAMA | shape(64, 2, 2, 1, 64, 89, False, "float32", rope_scaling=SCALING | {"factor": 8.0,
        "original_max_position_embeddings": 8192}), 0, 24, 9000, False,
    ),
    "llama32_tied": (
        LLAMA | shape(36, 2, 3, 1, 60, 127, True, "float16", head_dim=20, rope_scaling=SCALING | {"factor": 32.0,
        "original_max_position_embeddings": 16}), 40_000, 64, 0, False,
    ),
    "llama_bias": (LLAMA | shape(32, 2, 4, 2, 48, 103, False, attention_bias=True), 0, 24, 0, False),
    "llama_newer": (
        LLAMA | shape(32, 2, 4, 2, 48, 109, True, rope_scaling=SCALING | {"factor": 8.0,
        "original_max_position_embeddings": 32}), 0, 64, 0, True,
    ),
}  # fmt: skip


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Kernels with gain 1.4, biases and norm scales far from their neutral values."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            values = 1 + 0.3 * values
        elif name.endswith("bias") or "embed" in name or "lm_head" in name:
            values = 0.5 * values
        else:
            values = 1.4 * values / parameter.shape[1] ** 0.5
        parameter.data.copy_(values)


def write_checkpoint(folder: pathlib.Path, config: dict, shard_bytes: int, newer: bool, seed: int) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    randomise(model, seed)
    model = model.to(getattr(torch, config["torch_dtype"]))
    if newer or shard_bytes:
        model.save_pretrained(folder, max_shard_size=shard_bytes or "5GB")
        (folder / "generation_config.json").unlink()
    else:
        tensors = {k: v.clone() for k, v in model.state_dict().items()}
        if config["tie_word_embeddings"]:
            del tensors["lm_head.weight"]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if not newer:  # transformers writes the newer style only
        (folder / "config.json").write_text(json.dumps(config, indent=2))


def expected(folder: pathlib.Path, longest: int, first_position: int, seed: int) -> dict[str, np.ndarray]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    vocab = model.config.vocab_size
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, vocab, (3, longest))
    lengths = np.array([longest, longest - 5, 7])
    logits = np.zeros((3, longest, vocab), np.float32)
    logprobs = np.zeros((3, longest - 1), np.float32)
    total = 0.0
    for row, length in enumerate(lengths):
        ids = torch.tensor(tokens[row : row + 1, :length])
        positions = torch.arange(length)[None] + first_position
        out = model(ids, position_ids=positions, use_cache=False).logits[0]
        logits[row, :length] = out.detach().numpy()
        chosen = torch.log_softmax(out[:-1], -1).gather(-1, ids[0, 1:, None])[:, 0]
        logprobs[row, : length - 1] = chosen.detach().numpy()
        total = total - chosen.sum()
    loss = total / (lengths - 1).sum()
    loss.backward()
    grads = {name: float(parameter.grad.norm()) for name, parameter in model.named_parameters()}
    prompt = torch.tensor(tokens[:1, :GREEDY_PROMPT])
    greedy = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=GREEDY_TOKENS,
        eos_token_id=None, pad_token_id=0,
    )[0, GREEDY_PROMPT:]  # fmt: skip
    return {
        "tokens": tokens.astype(np.int32), "lengths": lengths.astype(np.int32),
        "first_position": np.int32(first_position),
        "logits": logits, "logprobs": logprobs, "greedy": greedy.numpy().astype(np.int32),
        "greedy_prompt": np.int32(GREEDY_PROMPT), "loss": np.float32(loss.item()),
        "bf16_distance": np.float32(bf16_distance(folder, tokens, lengths, first_position, logprobs)),
        "grad_names": np.array(list(grads)), "grad_norms": np.array(list(grads.values()), np.float32),
    }  # fmt: skip


def bf16_distance(folder: pathlib.Path, tokens, lengths, first_position: int, logprobs) -> float:
    """Mean |log-prob in bfloat16 - log-prob in float32| over the real tokens: what the reference itself loses."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager").eval()
    distances = []
    for row, length in enumerate(lengths):
        ids = torch.tensor(tokens[row : row + 1, :length])
        positions = torch.arange(length)[None] + first_position
        out = model(ids, position_ids=positions, use_cache=False).logits[0].float()
        chosen = torch.log_softmax(out[:-1], -1).gather(-1, ids[0, 1:, None])[:, 0]
        distances.append(np.abs(chosen.detach().numpy() - logprobs[row, : length - 1]))
    return float(np.concatenate(distances).mean())


def frequencies() -> dict[str, np.ndarray]:
    found = {}
    for name, facts in json.loads((HERE.parent / "published.json").read_text()).items():
        config = facts["config"]
        if config["model_type"] == "qwen2":
            rotary = Qwen2RotaryEmbedding(Qwen2Config(**config))
        else:
            rotary = LlamaRotaryEmbedding(LlamaConfig(**config))
        found[name] = rotary.inv_freq.numpy()
    return found


def main() -> None:
    np.savez_compressed(HERE.parent / "frequencies.npz", **frequencies())
    shutil.rmtree(HERE, ignore_errors=True)
    for seed, (name, (config, shard_bytes, longest, first, newer)) in enumerate(VARIETIES.items()):
        write_checkpoint(HERE / name, config, shard_bytes, newer, seed)
        values = expected(HERE / name, longest, first, seed)
        np.savez_compressed(HERE / name / "expected.npz", **values)
        print(f"{name}: loss {values['loss']:.3f}, logits' std {values['logits'][0].std():.2f}")


if __name__ == "__main__":
    main()
