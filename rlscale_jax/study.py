"""Runs a whole study: python -m rlscale_jax.study --config=configs/ladder_cpu.py --workdir=runs/ladder

Every member is trained with every seed (and every value of --sweep=FIELD=V1,V2,…), then curves.csv is gathered, the
laws are fitted (fits.json) and figures and report.html are written. The same command goes on after an
interruption: finished runs are not repeated.
"""

import pathlib

from absl import flags as absl_flags

from rlscale_jax.experiment import flags, validation
from rlscale_jax.experiment.config import Study
from rlscale_jax.studies import grid, results, runner

CONFIG = flags.define_config()
WORKDIR = absl_flags.DEFINE_string("workdir", "runs/study", "where runs, curves, fits and the report are kept")
SWEEP = absl_flags.DEFINE_multi_string("sweep", [], "FIELD=V1,V2,… for all members, e.g. grpo.group_size=4,8,16,32")


def main(_) -> None:
    study = CONFIG.value
    if not isinstance(study, Study):
        study = Study(name=study.name, members=(study,))
    study = grid.expand(study, SWEEP.value)
    validation.validate(study)
    workdir = pathlib.Path(WORKDIR.value)
    problems = [f"{name} failed; see its output.txt" for name in runner.run_all(study, workdir)]
    problems += results.write(study, workdir)
    if problems:
        raise ValueError("the study is not complete:\n" + "\n".join(f"  {problem}" for problem in problems))


if __name__ == "__main__":
    flags.run(main, usage=__doc__)
