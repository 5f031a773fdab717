"""One AdamW step of transformers in PyTorch on random sequences: python -m benchmarks.peers.hf_update W4"""

import os
import sys

import torch

from benchmarks import measure, workloads
from benchmarks.peers import hf


def main(name: str) -> None:
    work = workloads.UPDATES[name]
    if work.with_rollout:
        raise SystemExit(f"{name} samples its completions; this peer runs updates alone")
    torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = hf.build(work.shape, "float32").to(device).train()
    if work.remat:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.1)
    size = (work.num_prompts, work.prompt_tokens + work.new_tokens)

    def step() -> None:
        tokens = torch.randint(3, work.shape.vocab_size, size, device=device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=work.dtype == "bfloat16"):
            loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert loss.isfinite().item()

    measure.serve(step)


if __name__ == "__main__":
    main(sys.argv[1])
