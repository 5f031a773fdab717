"""Runs a whole study: python -m rlscale_jax.study --config=configs/ladder_cpu.py --workdir=runs/ladder

Every member is trained with every seed (and every value of --sweep=FIELD=V1,V2,…), then curves.csv is gathered, the
laws are fitted (fits.json) and figures and report.html are written. The same command goes on after an
interruption: finished runs are not repeated. Further seeds, sweeps and configs may use the same --workdir: what is
there is reused, and the report is made from all of it. Runs of a sweep stand in curves_VARIANT.csv, apart from the law.

    --sweep=grpo.group_size=4,8,16,32    --sweep=data.reuse_factor=1,5,25 (D_total stays)    --sweep=seed=0,1,2
"""

import dataclasses
import pathlib

from absl import flags as absl_flags

from rlscale_jax.experiment import flags, validation
from rlscale_jax.studies import grid, results, runner

CONFIG = flags.define_config()
WORKDIR = absl_flags.DEFINE_string("workdir", "runs/study", "where runs, curves, fits and the report are kept")
PARALLEL = absl_flags.DEFINE_integer("parallel", 0, "runs at a time on this machine; 0: as the config says", 0)
SWEEP = absl_flags.DEFINE_multi_string("sweep", [], "FIELD=V1,V2,… for all members, e.g. grpo.group_size=4,8,16,32")


def main(_) -> None:
    study = grid.expand(grid.as_study(CONFIG.value), SWEEP.value)
    study = dataclasses.replace(study, parallel_runs=PARALLEL.value or study.parallel_runs)
    validation.validate(study)
    if "://" in WORKDIR.value:
        raise ValueError(
            f"--workdir={WORKDIR.value}: a study runs its members on this machine, in a local directory; "
            "on pods launch/sweep.sh starts them, and a copy of their runs/ is a study's directory"
        )
    workdir = pathlib.Path(WORKDIR.value)
    problems = [f"{name} failed; see its output.txt" for name in runner.run_all(study, workdir)]
    problems += results.write(study, workdir)
    if problems:
        raise ValueError("the study is not complete:\n" + "\n".join(f"  {problem}" for problem in problems))


if __name__ == "__main__":
    flags.run(main, usage=__doc__)
