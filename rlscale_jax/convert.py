"""Converts weights: python -m rlscale_jax.convert --source=HF_DIR --target=CHECKPOINT, and back.

A source with config.json and *.safetensors (a Hugging Face directory) becomes a checkpoint of this project. A source
that is one (a run's directory: its newest checkpoint; or RUN/checkpoints/STEP) becomes a Hugging Face directory, with
the config and tokenizer files that it started from, which transformers loads. Paths are local or gs://; the target
must be new. Both ways keep every tensor's bytes; a trained model is written in float32, or in --dtype:

  python -m rlscale_jax.convert --source=Qwen2.5-7B --target=checkpoints/qwen7b
  python -m rlscale_jax.convert --source=runs/study/runs/7b_s0 --target=qwen7b-rl --dtype=bfloat16
"""

import jax
from absl import flags as absl_flags
from absl import logging

from rlscale_jax.experiment import flags
from rlscale_jax.models import checkpoint

SOURCE = absl_flags.DEFINE_string("source", "", "Hugging Face directory, or a checkpoint or run of this project")
TARGET = absl_flags.DEFINE_string("target", "", "directory to write; it must not exist, or be empty")
DTYPE = absl_flags.DEFINE_enum(
    "dtype", "", ["", "float32", "bfloat16", "float16"], "what to write to a Hugging Face directory; empty: as held"
)


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)  # Orbax reports every step of its work
    jax.config.update("jax_platforms", "cpu")  # host memory holds models that one accelerator does not
    source, target = SOURCE.value, TARGET.value
    if not source or not target:
        raise ValueError("give --source and --target (--help explains both)")
    if checkpoint.is_checkpoint(source):
        checkpoint.export_hf(source, target, dtype=DTYPE.value or None)
    elif DTYPE.value:
        raise ValueError(f"--dtype is for writing Hugging Face directories; {source} is not a checkpoint of ours")
    else:
        checkpoint.import_hf(source, target)
    print(f"wrote {target}")


if __name__ == "__main__":
    flags.run(main, usage=__doc__ or "")
