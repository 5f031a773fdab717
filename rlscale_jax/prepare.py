"""Data sets: the study's parquet files to verified, overlap-free problem sets."""

import json
import pathlib

from absl import flags
from etils import epath

from rlscale_jax.data import hub, preparation
from rlscale_jax.experiment import flags as experiment_flags

USAGE = """Builds TFDS problem sets (array_record) from the files of arXiv 2509.25300, and reports overlap.

  python -m rlscale_jax.prepare --source=hub --target=data
  python -m rlscale_jax.prepare --source=downloads/guru --target=data

Rows and checksums are verified. Each set goes to TARGET/NAME (train, train_12800, heldout, math500, ...), which
data.train, data.heldout and evaluation.suites take as they are; TARGET/report.json lists every question that stands
twice. Your own problems need no preparation: give a .jsonl or .parquet file with prompt and answer in their place."""

_SOURCE = flags.DEFINE_string("source", None, "directory with the study's parquet files, or hub: fetch them")
_TARGET = flags.DEFINE_string("target", None, "directory for the problem sets")
_REMOVE = flags.DEFINE_bool(
    "remove_overlap", True, "leave repeated questions and those of evaluation sets out of training"
)


def main(argv) -> None:
    del argv
    if not _SOURCE.value or not _TARGET.value:
        raise ValueError("give both --source=DIR (or --source=hub) and --target=DIR")
    target = epath.Path(_TARGET.value)
    source = epath.Path(_SOURCE.value)
    if _SOURCE.value == "hub":
        if "://" in _TARGET.value:
            raise ValueError(f"--source=hub needs a local --target, not {_TARGET.value}; copy it there afterwards")
        source = target / "downloads"
        hub.fetch(pathlib.Path(source))
    reports = preparation.prepare(source, target, remove_overlap=_REMOVE.value)
    (target / "report.json").write_text(json.dumps(preparation.to_json(reports), indent=1) + "\n")
    print(preparation.table(reports))


if __name__ == "__main__":
    experiment_flags.run(main, usage=USAGE)
