"""Which questions each run answered at each step, from a study's outcomes.jsonl files: what the bootstrap resamples."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from rlscale_jax.experiment.records import read_rows
from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.files import identity

TOLERANCE = 1e-6  # between a row's loss and the share of its wrong answers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """`right` [S R T Q] share of right answers to each question (NaN: not evaluated), aligned with `curves`."""

    right: np.ndarray


def load(directory: str | pathlib.Path, curves: Curves) -> Answers:
    """The held-out answers of every evaluation in `curves`, from DIR/outcomes.jsonl or DIR/runs/*/outcomes.jsonl.

    Several suites may lie in one file: the one whose losses are the curves' is taken.
    Raises: ValueError where evaluations lack their outcomes, naming the first.
    """
    by_source: dict[str, dict] = {}
    for row in _rows(pathlib.Path(directory)):
        key = row["model"], int(row["seed"]), int(row["step"])
        by_source.setdefault(row["source"], {})[key] = _shares(row["correct"])
    cells = list(_cells(curves))
    for outcomes in by_source.values():
        if all(_matches(outcomes.get(key), loss) for key, _, loss in cells):
            return _align(curves, cells, outcomes)
    raise ValueError(
        f"{directory}: no suite in outcomes.jsonl has an outcome for every evaluation {_first(cells, by_source)}"
    )


def _rows(directory: pathlib.Path) -> Iterator[dict]:
    together = directory / "outcomes.jsonl"
    if together.exists():
        yield from read_rows(together)
        return
    for path in sorted(directory.glob("runs/*/outcomes.jsonl")):
        yield from (identity(path.parent) | row for row in read_rows(path))


def _cells(curves: Curves):
    """((model, seed, step), index, loss) of every evaluation of every run."""
    for s, r, t in np.argwhere(np.isfinite(curves.run_loss) & curves.mask[:, None]):
        key = (curves.names[s], int(curves.seed[s, r]), int(curves.step[s, t]))
        yield key, (s, r, t), curves.run_loss[s, r, t]


def _shares(correct: str | Sequence[str]) -> np.ndarray:
    """Share of right answers to each question [Q] from one string of 0 and 1, or one for each sampled answer."""
    samples = [correct] if isinstance(correct, str) else correct
    ones = [np.frombuffer(sample.encode("ascii"), np.uint8) == ord("1") for sample in samples]
    return np.asarray(np.mean(ones, 0), np.float32)


def _matches(right: np.ndarray | None, loss) -> bool:
    if right is None:
        return False
    share = right.mean(dtype=float)
    least = 0.5 / len(right) if share == 1 else 0.0  # a perfect score stands in the curves as half a wrong answer
    return abs(max(1 - share, least) - loss) < TOLERANCE


def _first(cells: list, by_source: dict[str, dict]) -> str:
    for key, _, loss in cells:
        if not any(_matches(outcomes.get(key), loss) for outcomes in by_source.values()):
            return f"(first without: model {key[0]}, seed {key[1]}, step {key[2]}, loss {loss:g})"
    return "(no single suite covers all)"


def _align(curves: Curves, cells: list, outcomes: dict) -> Answers:
    num_questions = {len(outcomes[key]) for key, _, _ in cells}
    if len(num_questions) != 1:
        raise ValueError(f"evaluations of {sorted(num_questions)} questions: resampling needs one test set")
    right = np.full((*curves.run_loss.shape, num_questions.pop()), np.nan, np.float32)
    for key, index, _ in cells:
        right[index] = outcomes[key]
    return Answers(right=right)
