"""What an evaluation keeps on disk: its settings, every response with its verdict, its results.

OUT/settings.json           model, protocol and sets; another evaluation is refused here
OUT/responses/NAME.jsonl    one response a line, in the order of the set, appended chunk by chunk
OUT/results.json            all figures, once the sets that were asked for are done
"""

import contextlib
import datetime
import fcntl
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation.scoring import Score
from rlscale_jax.experiment.records import RecordFile, Row, write_json

Key = tuple[str, int]  # problem id, sample

_SETS = "sets"
_FREE = ("path", "checkpoint")  # the same model or set may lie elsewhere


class Journal:
    """The directory of one evaluation, new or to be gone on with.

    Raises: ValueError where the directory cannot be one.
    """

    def __init__(self, directory: pathlib.Path | str):
        if "://" in str(directory):
            raise ValueError(f"--out={directory}: responses are appended, so this must be a local directory")
        self.directory = pathlib.Path(directory)
        if self.directory.exists() and not self.directory.is_dir():
            raise ValueError(f"--out={directory} is a file; give a directory")
        self._settings = self.directory / "settings.json"
        foreign = (self.directory / "responses").exists() and not self._settings.exists()
        if foreign:
            raise ValueError(f"--out={directory} holds responses but no settings.json; give another directory")
        self._kept = json.loads(self._settings.read_text()) if self._settings.exists() else {}
        self._done: dict[str, set[Key]] = {}

    @property
    def date(self) -> datetime.date:
        """When this evaluation began; the prompts of some models hold the date, and must not change on a resume."""
        return datetime.date.fromisoformat(self._kept["date"]) if self._kept else datetime.date.today()

    def check(self, settings: dict[str, Any]) -> None:
        """Raises ValueError where the evaluation that began here differs in one of these settings."""
        changes = list(_differences(self._kept, json.loads(json.dumps(settings)))) if self._kept else []
        if changes:
            raise ValueError(
                f"{self.directory} holds another evaluation; use another --out, or change back:\n"
                + "\n".join(f"  {change}" for change in changes)
            )

    @contextlib.contextmanager
    def opened(self, settings: dict[str, Any]) -> Iterator[None]:
        """Keeps the settings and holds the directory; sets evaluated before, but not asked for now, stay.

        Raises: ValueError as `check`, or where another process writes here.
        """
        self.check(settings)
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"{self.directory}: another process evaluates into it at this moment") from None
            sets = self._kept.get(_SETS, {}) | settings[_SETS]
            self._kept = {**settings, "date": self.date.isoformat(), _SETS: sets}
            write_json(self._settings, self._kept)
            for name in settings[_SETS]:
                file = self._file(name)
                file.cut_after(settings["step"])  # drops a line that was cut short
                self._done[name] = {_key(row) for row in file.rows()}
            yield

    def lacks(self, name: str, problems: Sequence[Problem], num_samples: int) -> bool:
        """Whether a response to one of these problems is still to come."""
        return any((p.problem_id, sample) not in self._done[name] for p in problems for sample in range(num_samples))

    def num_done(self, name: str) -> int:
        return len(self._done[name])

    def rows(self, name: str) -> list[Row]:
        """Responses of a set so far."""
        return self._file(name).rows()

    def append(self, score: Score, *, step: int) -> None:
        """Adds those of a score's responses that are not there yet."""
        done = self._done[score.source]
        for row in _rows(score):
            if _key(row) not in done:
                self._file(score.source).append({"step": step, **row})
                done.add(_key(row))

    def write_results(self, figures: dict[str, Any]) -> None:
        """Writes the settings with the figures of these sets, and of those evaluated here before."""
        results = self.directory / "results.json"
        before = json.loads(results.read_text())["figures"] if results.exists() else {}
        write_json(results, {**self._kept, "figures": before | figures})

    def _file(self, name: str) -> RecordFile:
        return RecordFile(self.directory / "responses" / f"{name}.jsonl")


def _key(row: Row) -> Key:
    return row["problem_id"], row["sample"]


def _rows(score: Score) -> list[Row]:
    return [
        {
            "problem_id": problem.problem_id,
            "sample": sample,
            "correct": verdict.correct,
            "score": verdict.score,
            "status": verdict.status,
            "num_tokens": score.lengths[index, sample],
            "truncated": score.truncated[index, sample],
            "ground_truth": problem.ground_truth,
            "prompt": problem.text,
            "response": score.responses[index][sample],
        }
        for index, problem in enumerate(score.problems)
        for sample, verdict in enumerate(score.verdicts[index])
    ]


def _differences(kept: dict[str, Any], given: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Fields of `given` that are otherwise in `kept`; sets that only one of them names may differ."""
    for name, now in given.items():
        before = kept.get(name, now)
        if isinstance(now, dict) and isinstance(before, dict):
            yield from _differences(before, now, f"{prefix}{name}.")
        elif before != now and name not in _FREE:
            yield f"{prefix}{name}: was {before!r}, now {now!r}"
