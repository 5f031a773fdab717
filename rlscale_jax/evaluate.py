"""Evaluates a checkpoint on benchmark sets: accuracy, test loss, pass@k, with errors, and every response to read.

  python -m rlscale_jax.prepare  --source=hub --target=data
  python -m rlscale_jax.evaluate --config=configs/qwen2_5.py:7b --checkpoint=models/Qwen2.5-7B --out=evaluations/7b
  python -m rlscale_jax.evaluate --config=configs/ladder_cpu.py:d64 --checkpoint=runs/one/runs/d64_s0 \\
      --suite=heldout=runs/one/assets/task-HASH/heldout --out=evaluations/d64

Protocol: one sample a problem at temperature 0.7, at most 4096 new tokens, prompts above 2048 tokens dropped and
counted (evaluation.* and data.max_prompt_tokens of the config; the weights are cast to model.compute_dtype). With
evaluation.num_samples = n above 1 there are avg@n and pass@k too. Written to --out: results.json (all figures),
settings.json (model and protocol) and responses/NAME.jsonl (one response a line, with its verdict). The same command
goes on where it was stopped; further sets may be added to the same --out, another model or protocol may not.
"""

import pathlib

from absl import flags as absl_flags

from rlscale_jax.evaluation import runner, suites, summary
from rlscale_jax.experiment import flags, validation
from rlscale_jax.experiment.config import Study
from rlscale_jax.models import runtime
from rlscale_jax.training.progress import Progress

CONFIG = flags.define_config()
CHECKPOINT = absl_flags.DEFINE_string(
    "checkpoint", "", "Hugging Face directory, run, one of its checkpoints/STEP, or converted; empty: model.path"
)
DATA = absl_flags.DEFINE_string("data", "data", "directory of problem sets, made by rlscale_jax.prepare")
SUITE = absl_flags.DEFINE_string("suite", ",".join(suites.STUDY_SETS), "sets: names in --data, or NAME=PATH")
OUT = absl_flags.DEFINE_string("out", "", "local directory for results; give it again to go on")
CHUNK = absl_flags.DEFINE_integer("chunk_sequences", 512, "responses that are sampled, graded and kept at a time")


def main(_) -> None:
    config = CONFIG.value
    if isinstance(config, Study):
        names = ", ".join(member.name for member in config.members)
        raise ValueError(f"this config is a study; name one of its members, e.g. --config=FILE:NAME ({names})")
    validation.validate(config)
    checkpoint = CHECKPOINT.value or config.model.path
    if not checkpoint or not OUT.value:
        raise ValueError("give --checkpoint=MODEL and --out=DIR (--help explains both)")
    request = runner.Request(
        experiment=config,
        checkpoint=checkpoint,
        places=suites.locate(SUITE.value, DATA.value),
        out=pathlib.Path(OUT.value),
        chunk_sequences=CHUNK.value,
    )
    runtime.start()
    figures = runner.evaluate(request, progress=lambda total: Progress("responses", total))
    print(summary.table(figures))
    print(f"\nfigures: {OUT.value}/results.json   responses: {OUT.value}/responses/")


if __name__ == "__main__":
    flags.run(main, usage=__doc__ or "")
