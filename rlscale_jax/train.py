"""Trains one run: python -m rlscale_jax.train --config=configs/ladder_cpu.py:d64 --workdir=runs/one

A ladder member's tokenizer, problem sets and base model are made first (under WORKDIR/assets) if they are not there.
The run itself is WORKDIR/runs/NAME_sSEED: config.json, metrics.jsonl, outcomes.jsonl, rollouts.jsonl, log.txt,
checkpoints. The same command goes on with an interrupted run and leaves a finished one alone.
"""

import pathlib

from absl import flags as absl_flags

from rlscale_jax.experiment import flags, validation
from rlscale_jax.experiment.config import Study
from rlscale_jax.models import runtime
from rlscale_jax.training import assets, loop

CONFIG = flags.define_config()
WORKDIR = absl_flags.DEFINE_string("workdir", "runs/train", "where the run and what it needs are kept")


def main(_) -> None:
    config = CONFIG.value
    if isinstance(config, Study):
        names = ", ".join(member.name for member in config.members)
        raise ValueError(f"this config is a study; run it with rlscale_jax.study, or train one member: {names}")
    validation.validate(config)
    runtime.start()
    workdir = pathlib.Path(WORKDIR.value)
    run_dir = workdir / "runs" / validation.run_name(config)
    run_dir.mkdir(parents=True, exist_ok=True)
    loop.train(assets.ensure(config, workdir / "assets", log_path=run_dir / "log.txt"), run_dir)
    print(f"finished: {run_dir}")


if __name__ == "__main__":
    flags.run(main, usage=__doc__)
