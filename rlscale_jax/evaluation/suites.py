"""The sets of an evaluation: found by name, prompts measured, those too long left out and counted."""

import hashlib
import os
import re
from dataclasses import dataclass

from etils import epath

from rlscale_jax import rewards
from rlscale_jax.data import study_files
from rlscale_jax.data.problems import Problem, read_problems
from rlscale_jax.tokenizers import Tokenizer

STUDY_SETS = tuple(file.name for file in study_files.FILES if file.role == study_files.EVALUATION)


@dataclass(frozen=True, kw_only=True)
class ProblemSet:
    """One set, as it is put to the model."""

    name: str
    path: str
    problems: tuple[Problem, ...]  # those whose prompts are short enough
    num_overlong: int  # dropped
    longest_prompt_tokens: int  # of those kept
    domains: frozenset[str]  # whose verifiers grade it; empty under a user's own verifier

    @property
    def digest(self) -> str:
        """Stands for everything that is asked and held right."""
        content = [(p.problem_id, p.data_source, [dict(m) for m in p.messages], p.ground_truth) for p in self.problems]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def locate(names: str, data: os.PathLike | str) -> dict[str, str]:
    """Where each set of `NAME,NAME=PATH,...` lies; a bare name is a directory in `data`.

    Raises:
      ValueError: nothing named, a name twice or with odd characters, or nothing where a set should be.
    """
    places: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in names.split(","))):
        name, given, path = entry.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError(f"--suite: {entry!r} is neither NAME nor NAME=PATH (letters, digits, _ . - in names)")
        if name in places:
            raise ValueError(f"--suite names {name!r} twice")
        places[name] = path if given else _in_data(name, epath.Path(data))
        if not places[name] or not epath.Path(places[name]).exists():
            raise ValueError(f"--suite: {name}={places[name]}: nothing there")
    if not places:
        raise ValueError(f"--suite is empty; name sets, e.g. {','.join(STUDY_SETS)}")
    return places


def _in_data(name: str, data: epath.Path) -> str:
    if not data.is_dir():
        raise ValueError(
            f"--data={os.fspath(data)}: no such directory (needed for the set {name!r}); make it with "
            "rlscale_jax.prepare, or give the set's own path: --suite=NAME=PATH"
        )
    if not (data / name).is_dir():
        there = sorted(path.name for path in data.iterdir() if path.is_dir())
        raise ValueError(
            f"no set {name!r} in {os.fspath(data)}; there are {', '.join(there) or 'none'}"
            + (" (rlscale_jax.prepare makes the study's)" if name in STUDY_SETS else "; or give NAME=PATH")
        )
    return os.fspath(data / name)


def load(name: str, path: str, *, tokenizer: Tokenizer, max_prompt_tokens: int, verifier: str = "") -> ProblemSet:
    """Reads a set and drops the problems whose rendered prompts have more than `max_prompt_tokens` tokens.

    Raises:
      ValueError: no problem set there, no prompt short enough, or a data_source that nothing grades.
    """
    problems = read_problems(path)
    sources = set() if verifier else {problem.data_source for problem in problems}
    domains = frozenset(rewards.domain_of(source) for source in sources)
    lengths = [len(tokenizer.render(problem.messages)) for problem in problems]
    kept = [(p, n) for p, n in zip(problems, lengths, strict=True) if n <= max_prompt_tokens]
    if not kept:
        raise ValueError(
            f"{name}: all {len(problems)} prompts are longer than data.max_prompt_tokens = {max_prompt_tokens} "
            f"(the shortest has {min(lengths)})"
        )
    return ProblemSet(
        name=name,
        path=path,
        problems=tuple(problem for problem, _ in kept),
        num_overlong=len(problems) - len(kept),
        longest_prompt_tokens=max(length for _, length in kept),
        domains=domains,
    )
