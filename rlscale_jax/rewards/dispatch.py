"""Chooses the verifier by a problem's data_source, or a user's own, and makes every outcome a Verdict."""

import importlib
import importlib.util
import json
import logging
import time
from collections.abc import Callable

from rlscale_jax.rewards import choice, clock, code, math_answer, zebra
from rlscale_jax.rewards.boxed import last_boxed
from rlscale_jax.rewards.verdict import CRASHED, REFUSED, STATUSES, TIMEOUT, Verdict, decided, failed

Verifier = Callable[[str, str], Verdict]

# data_source (or its beginning, up to the double underscore) -> domain
DOMAINS = {
    "math": "math",  # math__math, math__deepscaler_preview, math__merged_deduped_dapo_or1_dataset
    "arithmetic": "math",  # the ladder's synthetic task
    "aime2024": "math",
    "aimeamc2023": "math",
    "amc2023": "math",
    "openai/gsm8k": "math",
    "stem": "choice",  # stem__supergpqa
    "logic": "zebra",  # logic__zebra_puzzle_dataset
    "codegen": "code",  # codegen__humaneval
}
QUICK_CHARS = 100_000  # longer responses are not even scanned in the caller's process
_MODULES = {"math": math_answer, "choice": choice, "zebra": zebra, "code": code}


def domain_of(data_source: str) -> str:
    """The domain that grades this data_source.

    Raises: ValueError for an unknown one, naming those that are known.
    """
    domain = DOMAINS.get(data_source) or DOMAINS.get(data_source.split("__")[0])
    if domain is None:
        raise ValueError(
            f"no verifier for data_source {data_source!r}; known are "
            f"{', '.join(sorted(DOMAINS))} (and NAME__anything); "
            'give your own as verifier="module:function" or "file.py:function"'
        )
    return domain


def quick(data_source: str, response: str, ground_truth: str) -> Verdict | None:
    """The verdict where linear, harmless work decides it; None where a worker process must."""
    start = time.perf_counter()
    try:
        module = _MODULES[domain_of(data_source)]
    except ValueError as error:
        logging.getLogger(__name__).error("%s", error)
        return failed(REFUSED)
    if len(response) > QUICK_CHARS:
        return None
    try:
        verdict = module.quick(response, ground_truth)
    except Exception:  # the worker meets it again, and there it is counted as crashed
        return None
    return verdict and verdict.timed(time.perf_counter() - start)


def grade(data_source: str, response: str, ground_truth: str, verifier: Verifier | None = None) -> Verdict:
    """The verdict, computed in this process: only for worker processes, which may be killed at any time."""
    start = time.perf_counter()
    try:
        grader = verifier or _MODULES[domain_of(data_source)].grade
        verdict = _as_verdict(grader(response, ground_truth))
    except clock.OutOfTime:
        verdict = failed(TIMEOUT)
    except Exception:
        logging.getLogger(__name__).exception("verifier for %s failed", data_source)
        verdict = failed(CRASHED)
    return verdict.timed(time.perf_counter() - start)


def prepare(data_source: str) -> None:
    """Imports what grading this data_source needs, so that its time is not charged to an item."""
    if DOMAINS.get(data_source.split("__")[0]) == "math":
        with clock.stopped():
            importlib.import_module("rlscale_jax.rewards.equivalence")


def essence(item: tuple[str, str, str]) -> tuple[str, str, str]:
    """The same item cut to what its verdict depends on: of a mathematical response, the last box."""
    data_source, response, ground_truth = item
    if domain_of(data_source) != "math":
        return item
    box = last_boxed(response)
    return ("math", "" if box is None else rf"\boxed{{{box}}}", ground_truth)


def as_text(value: object) -> str:
    """A ground truth as a string: nested ones (zebra grids, arrays from parquet) as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=lambda array: array.tolist() if hasattr(array, "tolist") else str(array))
    except (TypeError, ValueError):  # keys that JSON does not have, or a circle
        return repr(value)


def load_verifier(spec: str) -> Verifier:
    """A user's function (response, ground_truth) -> bool, number in [0, 1] or Verdict.

    spec: "package.module:function" or "path/file.py:function".
    Raises: ValueError when it cannot be found.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise ValueError(f'verifier {spec!r}; write "module:function" or "file.py:function"')
    try:
        if place.endswith(".py"):
            module_spec = importlib.util.spec_from_file_location("user_verifier", place)
            assert module_spec and module_spec.loader
            module = importlib.util.module_from_spec(module_spec)
            module_spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        return getattr(module, name)
    except (ImportError, AttributeError, OSError) as error:
        raise ValueError(f"verifier {spec!r} cannot be loaded: {error}") from error


def _as_verdict(outcome: object) -> Verdict:
    """A user's verifier may return a bool, a number or a Verdict; anything else is its error."""
    if isinstance(outcome, Verdict) and outcome.status in STATUSES:
        return outcome
    score = float(outcome)  # type: ignore[arg-type]
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a verifier returned {outcome!r}; allowed are bool, a number in [0, 1], or Verdict")
    verdict = decided(score == 1.0)
    return Verdict(verdict.correct, score, verdict.status)
