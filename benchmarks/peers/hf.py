"""Hugging Face transformers' `generate` on a rollout workload: python -m benchmarks.peers.hf W1

Every sequence of a batch runs until the longest ends; a prompt is repeated for its samples.
"""

# pyright: reportMissingImports=false

import os
import sys

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import measure, workloads


def main(name: str) -> None:
    work = workloads.ROLLOUTS[name]
    torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build(work.shape, work.dtype).to(device).eval()
    prompts = torch.tensor(work.prompts()).repeat_interleave(work.num_samples, 0).to(device)
    settings = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "pad_token_id": 0}
    num_new = int(work.limits().max())

    def generate(num_new: int):
        out = model.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=num_new, **settings)
        assert out.cpu().shape == (len(prompts), work.prompt_tokens + num_new)

    with torch.inference_mode():  # nothing compiles, so that a few tokens warm it up
        measure.serve(lambda: generate(num_new), first=lambda: generate(min(num_new, workloads.WARM_UP_TOKENS)))


def build(shape: workloads.Shape, dtype: str) -> Qwen2ForCausalLM:
    """Random weights of a shape."""
    config = Qwen2Config(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    return Qwen2ForCausalLM(config).to(getattr(torch, dtype))


if __name__ == "__main__":
    main(sys.argv[1])
