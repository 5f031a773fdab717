"""Provides a run with its assets wherever it lives: disk or bucket, one host or several."""

import json
import os
import pathlib
import subprocess
import sys

from rlscale_jax.experiment.config import Experiment, experiment_from_dict, to_dict
from rlscale_jax.models import hosts, runtime
from rlscale_jax.training import assets, mirror


def ensure(experiment: Experiment, workdir: str, *, log_path: pathlib.Path) -> Experiment:
    """The experiment with its model and problem sets in place under WORKDIR/assets; published ones need nothing.

    Raises:
      OSError: they could not be made.
    """
    if experiment.model.path:
        return experiment
    place, copy = pathlib.Path(workdir) / "assets", None
    if mirror.is_remote(workdir):
        place = mirror.local_copy_of(workdir) / "assets"
        copy = mirror.Mirror(place, f"{workdir}/assets")
    if hosts.num_hosts() == 1 and not copy:
        return assets.ensure(experiment, place, log_path=log_path)
    hosts.from_first(lambda: _make(experiment, place, copy, log_path))
    if copy and not hosts.is_first():
        copy.fetch()
    return assets.ensure(experiment, place, log_path=log_path)  # all is there; this fills in the paths


def _make(experiment: Experiment, place: pathlib.Path, copy: mirror.Mirror | None, log_path: pathlib.Path) -> None:
    """In a process of its own, which belongs to no pod: pretraining is the work of one host."""
    if copy:
        copy.fetch()
    place.mkdir(parents=True, exist_ok=True)
    given = json.dumps([to_dict(experiment), str(place), str(log_path)])
    alone = {name: value for name, value in os.environ.items() if name not in runtime.JOINING}
    command = [sys.executable, "-m", "rlscale_jax.training.provision"]
    done = subprocess.run(command, input=given, text=True, env=alone | {"JAX_PLATFORMS": "cpu"}, check=False)
    if done.returncode:
        raise OSError(f"the assets in {place} could not be made (exit status {done.returncode}; see above)")
    if copy:
        copy.push()


def main() -> None:
    values, place, log_path = json.load(sys.stdin)
    runtime.start()
    assets.ensure(experiment_from_dict(values), pathlib.Path(place), log_path=pathlib.Path(log_path))


if __name__ == "__main__":
    main()
