"""Turns the study's files into problem sets, and says which questions stand in them twice."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etils import epath

from rlscale_jax.data import overlap, study_files
from rlscale_jax.data.builder import write_problems
from rlscale_jax.data.problems import read_problems
from rlscale_jax.data.record import Problem

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """One prepared set. The pairs are (id in this set, id of the same question elsewhere)."""

    name: str
    filename: str
    role: str
    sha256: str
    num_rows: int  # in the file
    num_written: int
    duplicates: Pairs  # within this set
    overlaps: dict[str, Pairs]  # training sets: with each evaluation set


def prepare(source: os.PathLike | str, target: os.PathLike | str, *, remove_overlap: bool = True) -> list[SetReport]:
    """Writes each of the study's files found in `source` as a problem set below `target`.

    Training sets are written easy to hard, equal pass rates by the study's index. Evaluation sets keep their order
    and all their rows.

    Args:
      source: directory with parquet files named as in `study_files.FILES`; other files are left alone.
      target: receives `NAME/1.0.0` for each set.
      remove_overlap: leave out of training what repeats an earlier training question or an evaluation question.

    Raises:
      ValueError: none of the study's files is there, or one is not what the study published.
    """
    found = _read_all(epath.Path(source))
    evaluation = {file.name: problems for file, (_, problems) in found.items() if file.role == study_files.EVALUATION}
    reports = []
    for file, (checksum, problems) in found.items():
        is_train = file.role == study_files.TRAIN
        shared = overlap.overlaps(problems, evaluation) if is_train else {}
        repeated = overlap.duplicates(problems)
        kept = _curriculum(problems) if is_train else problems
        if is_train and remove_overlap:
            kept = _without(kept, repeated, *shared.values())
        write_problems(kept, target, name=file.name)
        reports.append(
            SetReport(
                name=file.name,
                filename=file.filename,
                role=file.role,
                sha256=checksum,
                num_rows=len(problems),
                num_written=len(kept),
                duplicates=repeated,
                overlaps=shared,
            )
        )
    return reports


def to_json(reports: Sequence[SetReport]) -> dict:
    """The reports as plain data."""
    return {"sets": [dataclasses.asdict(report) for report in reports]}


def table(reports: Sequence[SetReport]) -> str:
    """The reports as a text table, one set a line."""
    lines = [f"{'set':<14}{'rows':>8}{'written':>9}{'repeated':>10}  also in"]
    for report in reports:
        also = ", ".join(f"{name} {len(pairs)}" for name, pairs in report.overlaps.items() if pairs)
        counts = f"{report.num_rows:>8}{report.num_written:>9}{len(report.duplicates):>10}"
        lines.append(f"{report.name:<14}{counts}  {also or '-'}")
    return "\n".join(lines)


def _read_all(source: epath.Path) -> Mapping[study_files.StudyFile, tuple[str, Sequence[Problem]]]:
    present = [file for file in study_files.FILES if (source / file.filename).exists()]
    if not present:
        names = ", ".join(file.filename for file in study_files.FILES)
        raise ValueError(f"none of the study's files is in {source}; expected some of {names}")
    found = {}
    for file in present:
        path = source / file.filename
        problems = read_problems(path)
        found[file] = (study_files.verify(path, file, num_rows=len(problems)), problems)
    return found


def _curriculum(problems: Sequence[Problem]) -> Sequence[Problem]:
    return sorted(problems, key=lambda problem: (problem.difficulty, problem.problem_id))


def _without(problems: Sequence[Problem], *pairs: Pairs) -> Sequence[Problem]:
    dropped = {problem_id for group in pairs for problem_id, _ in group}
    return [problem for problem in problems if problem.problem_id not in dropped]
