r"""HumanEval: the tests run here, the candidate in its sandbox; only plain values come back to be compared.

Nothing that the candidate does can report success: exit(0), a patched assert or check, printed "ok", or
objects that equal everything stay on the other side of the pipe.
"""

import ast
import builtins
import functools
import json
import logging
import random
import re

from rlscale_jax.rewards.sandbox import Candidate, Ended, Limits, Raised
from rlscale_jax.rewards.verdict import (
    CRASHED,
    PARSE_FAIL,
    REFUSED,
    TIMEOUT,
    UNBOXED,
    WRONG,
    Verdict,
    failed,
    right,
)

MAX_CODE_CHARS = 100_000
_FENCE = re.compile(r"^[ \t]*```[ \t]*([A-Za-z0-9_+.-]*)[^\n]*$", re.MULTILINE)
_PYTHON = frozenset(["", "python", "python3", "py"])
_WEAK = (
    "candidate programs cannot be isolated here (%s); code is NOT graded (status refused). Allow user or network "
    "namespaces, run as root with CAP_SYS_ADMIN, or accept weaker isolation with allow_weak_sandbox=True"
)
_ACCEPTED = "candidate programs run WITHOUT isolation (%s), as allow_weak_sandbox=True accepts: limits only"
_weak_allowed = False  # set once, when a worker starts
# What three of HumanEval's prompts define and their tests call (find_zero, decode_cyclic, decode_shift).
PROMPT_HELPERS = """
def poly(xs, x):
    return sum(coefficient * x**power for power, coefficient in enumerate(xs))

def encode_cyclic(s):
    triples = [s[start:start + 3] for start in range(0, len(s), 3)]
    return "".join(t[1:] + t[0] if len(t) == 3 else t for t in triples)

def encode_shift(s):
    return "".join(chr((ord(letter) - ord("a") + 5) % 26 + ord("a")) for letter in s)
"""


def quick(response: str, ground_truth: str) -> Verdict | None:
    return failed(UNBOXED) if "```" not in response else None


def allow_weak_sandbox() -> None:
    """From now on this process grades code even where candidates cannot be isolated."""
    global _weak_allowed
    _weak_allowed = True


def grade(response: str, ground_truth: str) -> Verdict:
    """Right where every assertion of the tests holds for the last Python block that defines the function.

    ground_truth: JSON {"functional": tests}, whose last line is check(FUNCTION).
    Raises: ValueError where the tests never call the function.
    """
    tests = json.loads(ground_truth)["functional"]
    function = entry_point(tests)
    code = last_block(response, function)
    if code is None:
        return failed(UNBOXED)
    if len(code) > MAX_CODE_CHARS:
        return failed(REFUSED)
    try:
        with Candidate(Limits()) as candidate:
            if candidate.missing:
                _warn(candidate.missing)
                if not _weak_allowed:
                    return failed(REFUSED)
            return _examine(candidate, code, tests, function)
    except Ended as ended:
        return failed(TIMEOUT if ended.timed_out else CRASHED)


@functools.cache
def _warn(missing: str) -> None:
    """Once per process."""
    logging.getLogger(__name__).error(_ACCEPTED if _weak_allowed else _WEAK, missing)


def entry_point(tests: str) -> str:
    """FUNCTION of the last check(FUNCTION).

    Raises: ValueError where there is none.
    """
    calls = re.findall(r"^check\((\w+)\)\s*$", tests, re.MULTILINE)
    if not calls:
        raise ValueError(f"tests without check(FUNCTION) at the end: {tests[-200:]!r}")
    return calls[-1]


def last_block(response: str, function: str) -> str | None:
    """The last fenced Python block that defines `function`, else the last Python block."""
    fences = list(_FENCE.finditer(response))
    blocks, place = [], 0
    while place + 1 < len(fences):
        start, end = fences[place], fences[place + 1]
        if start[1].lower() in _PYTHON:
            blocks.append(response[start.end() : end.start()])
        place += 2
    defining = [block for block in blocks if f"def {function}" in block]
    return (defining or blocks or [None])[-1]


def _examine(candidate: Candidate, code: str, tests: str, function: str) -> Verdict:
    try:
        candidate.load(PROMPT_HELPERS + "\n" + code)
    except Raised as raised:
        return failed(PARSE_FAIL if raised.args[0] in ("SyntaxError", "IndentationError", "TabError") else WRONG)
    calls = 0
    gone: list[Ended] = []

    def remote(*args, **kwargs):
        nonlocal calls
        calls += 1
        try:
            return candidate.call(function, args, kwargs)
        except Raised as raised:
            raise _rebuilt(raised) from None
        except Ended as ended:
            gone.append(ended)  # a bare `except` in a test could swallow it
            raise

    try:
        _run_tests(tests, {function: remote})
    except Exception:
        return failed(WRONG)
    if gone:
        raise gone[0]
    if not calls:
        raise ValueError(f"the tests of {function} never call it")
    return right()


def _run_tests(tests: str, namespace: dict) -> None:
    """The tests' own code, in this process: their asserts stay asserts under python -O, their random is seeded."""
    exec(PROMPT_HELPERS, namespace)
    random.seed(0)
    exec(compile(ast.parse(tests), "<tests>", "exec", optimize=0), namespace)


def _rebuilt(raised: Raised) -> Exception:
    """The candidate's exception as the builtin of that name, as a test may expect it.

    StopIteration would quietly end a test's loop over map(candidate, ...).
    """
    kind = getattr(builtins, raised.args[0], None)
    stops = kind in (StopIteration, StopAsyncIteration)
    if isinstance(kind, type) and issubclass(kind, Exception) and not stops:
        return kind(raised.args[1]) if kind.__init__ is Exception.__init__ else Exception(*raised.args)
    return Exception(*raised.args)
