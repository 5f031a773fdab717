"""TRL's GRPOTrainer, one whole step a turn, float32 without checkpointing: python -m benchmarks.peers.trl_update W3"""

import os
import random
import sys
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks import measure, workloads
from benchmarks.peers import hf
from benchmarks.peers.turns import Turns

NUM_STEPS = 1000


def main(name: str) -> None:
    work = workloads.UPDATES[name]
    if not work.with_rollout:
        raise SystemExit(f"{name} is an update alone; this peer runs whole steps")
    torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    with tempfile.TemporaryDirectory() as folder:
        hf.build(work.shape, work.dtype).save_pretrained(folder)
        words = [f"w{i}" for i in range(work.shape.vocab_size)]
        trainer = GRPOTrainer(
            model=folder,
            reward_funcs=_reward,
            args=_config(work, folder),
            train_dataset=_prompts(work, words),
            processing_class=_tokenizer(words),
        )
        turns = Turns(trainer.train)
        trainer.add_callback(_StepEnd(turns))
        measure.serve(turns.step)


class _StepEnd(TrainerCallback):
    def __init__(self, turns: Turns):
        self.turns = turns

    def on_step_end(self, args, state, control, **kwargs):
        self.turns.finished()


def _config(work: workloads.Update, folder: str) -> GRPOConfig:
    return GRPOConfig(
        output_dir=folder,
        use_cpu=not torch.cuda.is_available(),
        per_device_train_batch_size=work.num_prompts * work.num_samples,
        num_generations=work.num_samples,
        max_completion_length=work.new_tokens,
        generation_kwargs={"min_new_tokens": work.new_tokens},
        beta=0.001,
        learning_rate=1e-6,
        loss_type="grpo",
        max_steps=NUM_STEPS,
        bf16=False,
        gradient_checkpointing=work.remat,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        model_init_kwargs={"dtype": work.dtype},
    )


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Every word is a token; the first three are padding, end and unknown."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {word: i for i, word in enumerate(words) if i > 2}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


def _prompts(work: workloads.Update, words: list[str]) -> Dataset:
    draw = random.Random(0)
    count = work.num_prompts * NUM_STEPS
    return Dataset.from_dict(
        {"prompt": [" ".join(draw.choices(words[3:], k=work.prompt_tokens)) for _ in range(count)]}
    )


def _reward(prompts, completions, **_):
    """Share of words with an even number."""
    numbers = [[int(word[1:]) for word in text.split() if word[1:].isdigit()] for text in completions]
    return [sum(n % 2 == 0 for n in row) / max(1, len(row)) for row in numbers]


if __name__ == "__main__":
    main(sys.argv[1])
