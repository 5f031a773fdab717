"""The process of one run of a study: its config from its directory, what it needs made, then the training loop."""

import json
import pathlib
import sys

from rlscale_jax.experiment.config import experiment_from_dict
from rlscale_jax.models import runtime
from rlscale_jax.training import assets, loop


def main(directory: pathlib.Path, assets_dir: pathlib.Path) -> None:
    experiment = experiment_from_dict(json.loads((directory / "study_config.json").read_text()))
    runtime.start()
    loop.train(assets.ensure(experiment, assets_dir, log_path=directory / "log.txt"), directory)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
