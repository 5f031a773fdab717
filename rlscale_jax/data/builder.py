"""Problem sets as TFDS data sets in array_record files, in the order given.

TFDS needs no TensorFlow for this, if examples come from a generator and are read through `as_data_source`.
"""

import contextlib
import dataclasses
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from rlscale_jax.data.record import Problem

_VERSION = "1.0.0"
_SPLIT = "problems"
_INFO = "dataset_info.json"
_FIELDS = tuple(field.name for field in dataclasses.fields(Problem))


def write_problems(problems: Sequence[Problem], directory: os.PathLike | str, *, name: str) -> epath.Path:
    """Writes `directory/name/1.0.0`, in place of what stood there, and returns this path.

    Args:
      problems: in the order in which they are to be read again.
      directory: local or gs://.
      name: lower-case letters, digits and underscores.

    Raises:
      ValueError: no problems, two with the same id, or a name that TFDS does not take.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"data set name {name!r}: use lower-case letters, digits and underscores")
    if not problems:
        raise ValueError(f"data set {name!r} would be empty")
    check_unique_ids(problems)
    target = epath.Path(directory) / name / _VERSION
    with tempfile.TemporaryDirectory() as scratch:
        _replace(_build(problems, name, scratch), target)
    return target


def read_problem_set(directory: os.PathLike | str) -> tuple[Problem, ...]:
    """The problems below a directory written by `write_problems` (at most two levels further down).

    Raises:
      ValueError: no data set, or several, or one of another kind.
    """
    path = _find(epath.Path(directory))
    with contextlib.ExitStack() as stack:
        if "://" in str(path):  # array_record reads local files only
            scratch = epath.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            _replace(path, scratch / "set")
            path = scratch / "set"
        source = _data_source(path)
        return tuple(_to_problem(example) for example in source)


def check_unique_ids(problems: Iterable[Problem]) -> None:
    """Raises ValueError where two problems have the same id."""
    seen = set()
    for problem in problems:
        if problem.problem_id in seen:
            raise ValueError(f"two problems have the id {problem.problem_id!r}")
        seen.add(problem.problem_id)


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version(_VERSION)

    def __init__(self, problems: Sequence[Problem], *, name: str, data_dir: str):
        self.name = name  # pyright: ignore[reportAttributeAccessIssue] (a class per name is the usual way)
        self._problems = problems
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return _OwnInfo(
            builder=self,
            description="Problems with verifiable answers, written by rlscale_jax.",
            features=_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager) -> dict:
        del dl_manager
        return {_SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        for index, problem in enumerate(self._problems):
            yield index, dataclasses.asdict(problem) | {"messages": list(problem.messages)}


class _OwnInfo(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Nothing: TFDS would look for this set among its own, and leave an empty temporary directory behind."""


def _features() -> tfds.features.FeaturesDict:
    text = tfds.features.Text
    names = ("problem_id", "domain", "data_source", "ground_truth", "provenance")
    return tfds.features.FeaturesDict(
        {name: text() for name in names}
        | {
            "messages": tfds.features.Sequence({"role": text(), "content": text()}),
            # As bytes, because protocol buffers of examples hold floats in single precision only.
            "difficulty": tfds.features.Tensor(shape=(), dtype=np.float64, encoding="bytes"),
        }
    )


def _build(problems: Sequence[Problem], name: str, data_dir: str) -> epath.Path:
    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    builder = _Builder(problems, name=name, data_dir=data_dir)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download, which this is not
        logging.set_verbosity(logging.WARNING)
        try:
            builder.download_and_prepare()
        finally:
            logging.set_verbosity(verbosity)
    return epath.Path(builder.data_dir)


def _replace(source: epath.Path, target: epath.Path) -> None:
    if target.exists():
        target.rmtree()
    target.mkdir(parents=True)
    # What marks a set as complete goes last.
    for file in sorted(source.iterdir(), key=lambda file: file.name == _INFO):
        file.copy(target / file.name)


def _find(directory: epath.Path) -> epath.Path:
    if (directory / _INFO).exists():
        return directory
    found = sorted(info.parent for depth in ("*", "*/*") for info in directory.glob(f"{depth}/{_INFO}"))
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(directory)) for path in found) or "none"
        raise ValueError(f"expected one problem set in {directory}, found {names}; name one directory")
    return found[0]


def _data_source(path: epath.Path) -> Sequence[Mapping]:
    builder = tfds.builder_from_directory(os.fspath(path))
    features = builder.info.features
    missing = set(_FIELDS) - set(features if isinstance(features, tfds.features.FeaturesDict) else ())
    if _SPLIT not in builder.info.splits or missing:
        raise ValueError(f"{path} is a TFDS data set, but not one of problems: it lacks {sorted(missing) or _SPLIT}")
    sources: Any = builder.as_data_source()  # a dict of splits, typed more widely
    return sources[_SPLIT]


def _to_problem(example: Mapping) -> Problem:
    turns = zip(example["messages"]["role"], example["messages"]["content"], strict=True)
    texts = {name: value.decode() for name, value in example.items() if isinstance(value, bytes)}
    return Problem(
        **texts,
        messages=tuple({"role": role.decode(), "content": content.decode()} for role, content in turns),
        difficulty=float(example["difficulty"]),
    )
