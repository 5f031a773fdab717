"""Dashboards beside the records: TensorBoard, and Weights & Biases when asked for."""

import importlib
import importlib.util
import math
import pathlib
import zlib
from typing import Any

from rlscale_jax.experiment.config import Experiment, to_dict
from rlscale_jax.experiment.validation import run_name


def check(experiment: Experiment) -> None:
    """Raises ValueError where a dashboard is asked for that is not installed."""
    if experiment.wandb_project and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            f"wandb_project = {experiment.wandb_project!r}, but the package is not installed: pip install wandb, or "
            "leave the field empty (TensorBoard's files are written in any case)"
        )


class Trackers:
    """Writes every row's numbers; `after` is the last step that stands, later ones of an earlier attempt are void.

    `place` (the run's directory, wherever its local copy lies) tells runs of one name apart.
    """

    def __init__(self, experiment: Experiment, directory: pathlib.Path, *, place: str, after: int):
        import tensorboardX  # here: it takes a moment, and other hosts do not need it

        self._board = tensorboardX.SummaryWriter(str(directory / "tensorboard"), purge_step=after + 1)
        self._wandb: Any = _wandb_run(experiment, directory, place) if experiment.wandb_project else None

    def add(self, step: int, row: dict[str, Any]) -> None:
        numbers = {name: float(value) for name, value in row.items() if not isinstance(value, str)}
        for name, value in numbers.items():
            if math.isfinite(value):
                self._board.add_scalar(name, value, step)
        self._board.flush()
        if self._wandb:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        self._board.close()
        if self._wandb:
            self._wandb.finish()


def _wandb_run(experiment: Experiment, directory: pathlib.Path, place: str) -> Any:
    """A run under the same id in every attempt; W&B itself leaves out steps that it has already."""
    wandb = importlib.import_module("wandb")
    name = run_name(experiment)
    return wandb.init(
        project=experiment.wandb_project,
        name=name,
        id=f"{name}-{zlib.crc32(place.encode()):08x}",
        resume="allow",
        dir=str(directory),
        config=to_dict(experiment),
    )
