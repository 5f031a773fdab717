"""The process of one run of a study: its config from its directory, what it needs made, then the training loop."""

import ctypes
import json
import pathlib
import signal
import sys

from rlscale_jax.experiment.config import experiment_from_dict
from rlscale_jax.models import runtime
from rlscale_jax.training import assets, loop, stops

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_the_study() -> None:
    """A study that is killed takes its runs along; where the kernel offers no such thing, runs go on by themselves."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(directory: pathlib.Path, assets_dir: pathlib.Path) -> None:
    _die_with_the_study()
    experiment = experiment_from_dict(json.loads((directory / "study_config.json").read_text()))
    runtime.start()
    try:
        loop.train(assets.ensure(experiment, assets_dir, log_path=directory / "log.txt"), directory)
    except stops.Stopped as stopped:  # it has said so in the log
        sys.exit(stopped.status)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
