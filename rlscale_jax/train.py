"""Trains one run: python -m rlscale_jax.train --config=configs/ladder_cpu.py:d64 --workdir=runs/one

A ladder member's tokenizer, problem sets and base model are made first (under WORKDIR/assets) if they are not there.
The run itself is WORKDIR/runs/NAME_sSEED: config.json, metrics.jsonl, outcomes.jsonl, rollouts.jsonl, log.txt,
tensorboard, checkpoints. WORKDIR is local or in a bucket (gs://BUCKET/DIRECTORY). The same command goes on with an
interrupted run and leaves a finished one alone. SIGTERM or Ctrl-C: the run saves a checkpoint and ends (143 or 130).
"""

import sys

from absl import flags as absl_flags

from rlscale_jax.experiment import flags, validation
from rlscale_jax.experiment.config import Study
from rlscale_jax.models import runtime
from rlscale_jax.training import loop, provision, rundir, stops

CONFIG = flags.define_config()
WORKDIR = absl_flags.DEFINE_string("workdir", "runs/train", "where the run and what it needs are kept, local or gs://")
PROFILE = absl_flags.DEFINE_list("profile", [], "steps to trace with JAX's profiler, e.g. 3,4; see the run's profile/")


def main(_) -> None:
    config = CONFIG.value
    if isinstance(config, Study):
        names = ", ".join(member.name for member in config.members)
        raise ValueError(f"this config is a study; run it with rlscale_jax.study, or train one member: {names}")
    validation.validate(config)
    if not all(step.isdigit() for step in PROFILE.value):
        raise ValueError(f"--profile={','.join(PROFILE.value)}: give steps, e.g. --profile=3,4")
    # a model that is made here is small
    runtime.start(may_keep_memory=config.grpo.remat == "none", is_small=config.pretrain.num_steps > 0)
    workdir = WORKDIR.value.rstrip("/")
    run_dir = f"{workdir}/runs/{validation.run_name(config)}"
    try:
        experiment = provision.ensure(config, workdir, log_path=rundir.RunDir(run_dir).log)
        loop.train(experiment, run_dir, profile=[int(step) for step in PROFILE.value])
    except stops.Stopped as stopped:
        sys.exit(stopped.status)
    except FileNotFoundError:  # something that the user named; told as such
        raise
    except (OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"finished: {run_dir}")


if __name__ == "__main__":
    flags.run(main, usage=__doc__)
