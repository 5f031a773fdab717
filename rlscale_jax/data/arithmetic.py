r"""A synthetic arithmetic task with worked solutions, some of them wrong, for the CPU ladder.

A question is a fold over a few numbers, `47+8-5=`; its worked solution goes from left to right, in the way
pupils chain equations, and boxes the result: `47+8=55-5=50;\boxed{50}`. The level is the number of operations.
Each step stands beside the numbers it works on, so that small models learn it within a minute on a CPU.
(Running values alone, `55;50;`, left a model of a million parameters near chance after 400 batches of 64.)

The corpus that base models are pretrained on is of mixed quality, as real corpora are: a share `slip_rate` of
its solutions contains one slip of a kind that people make (`SLIPS`), after which the author goes on correctly.
A base model imitates careful and careless authors alike, so reinforcement learning has something to elicit.

Reinforcement learning trains on the families in `TRAINED`. Those in `TRANSFER` stand in the corpus too but are
never rewarded: they show what carries over. Within the trained families, `easier` and `harder` are the shortest and
the longest held-out questions, and `larger` has first numbers beyond any that the corpus has.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass

import numpy as np

from rlscale_jax.experiment.config import TaskConfig

TRAINED = ("sum", "balance")
TRANSFER = ("difference", "largest")
SLIPS = ("carry", "miscount", "sign", "omission", "copy")
_OPERATORS = {"sum": "+", "balance": "+-", "difference": "-", "largest": "^"}
_MIN_LEVEL = {"sum": 1, "balance": 2, "difference": 1, "largest": 1}
_MAX_LEVEL = 8  # longer questions no longer suit the sequence lengths of the ladder
_MAX_FIRST = {"sum": 49, "balance": 49, "difference": 49, "largest": 9}  # numbers that follow have one digit
_LARGE_FIRST = (50, 69)  # of `larger` questions: with three more operations still two digits
_TRANSFER_SHARE = 0.15  # of the corpus
_DRAWS_PER_QUESTION = 20  # before the space of questions counts as too small


@dataclass(frozen=True)
class Question:
    """Numbers and the operators between them, applied from left to right; `^` takes the larger of two."""

    family: str
    numbers: tuple[int, ...]
    operators: str

    @property
    def level(self) -> int:
        """Number of operations, 1 and up."""
        return len(self.operators)

    @property
    def text(self) -> str:
        pairs = zip(self.operators, self.numbers[1:], strict=True)
        return f"{self.numbers[0]}{''.join(f'{operator}{number}' for operator, number in pairs)}="

    @property
    def answer(self) -> str:
        return str(_running_values(self)[-1])


@dataclass(frozen=True)
class Task:
    """What the ladder learns from and is tested on. `heldout` and `transfer` questions occur nowhere else."""

    corpus: tuple[tuple[str, str], ...]  # (question, worked solution), for pretraining
    train: tuple[Question, ...]  # distinct, of the TRAINED families
    heldout: tuple[Question, ...]  # distinct, drawn as `train` is
    transfer: dict[str, tuple[Question, ...]]  # TRANSFER family -> distinct questions
    graded: dict[str, tuple[Question, ...]]  # "easier", "harder", "larger": questions of the TRAINED families

    @property
    def suites(self) -> dict[str, tuple[Question, ...]]:
        """The question sets beside the held-out one that runs are evaluated on, by name; none is empty."""
        return {name: questions for name, questions in {**self.graded, **self.transfer}.items() if questions}


def make_task(config: TaskConfig) -> Task:
    """The task of a seed: equal configs give equal tasks.

    Raises:
        ValueError: a field is out of range, or there are not enough different questions for the counts.
    """
    _check(config)
    # One stream per part, so that a larger corpus or training set leaves the held-out questions as they were.
    heldout_rng, train_rng, corpus_rng = (np.random.default_rng([config.seed, part]) for part in range(3))
    heldout = _distinct_of(TRAINED, heldout_rng, config, config.num_heldout)
    transfer = {family: _distinct_of((family,), heldout_rng, config, config.num_heldout) for family in TRANSFER}
    reserved = {question.text for part in (heldout, *transfer.values()) for question in part}
    train = _distinct_of(TRAINED, train_rng, config, config.num_train, avoid=reserved)
    corpus = _draw_corpus(corpus_rng, config, avoid=reserved)
    return Task(corpus=corpus, train=train, heldout=heldout, transfer=transfer, graded=_graded(config, heldout))


def _graded(config: TaskConfig, heldout: tuple[Question, ...]) -> dict[str, tuple[Question, ...]]:
    rng = np.random.default_rng([config.seed, 3])

    def draw() -> Question:
        family = TRAINED[rng.integers(len(TRAINED))]
        return draw_question(rng, family, level=config.max_level, first=_LARGE_FIRST)

    return {
        "easier": tuple(question for question in heldout if question.level == 1),
        "harder": tuple(question for question in heldout if question.level == config.max_level),
        "larger": _distinct(draw, config.num_heldout, what=f"{config.max_level} operations on {_LARGE_FIRST}"),
    }


def draw_question(
    rng: np.random.Generator, family: str, *, level: int, first: tuple[int, int] | None = None
) -> Question:
    """A question of `family` with `level` operations whose running values are never negative.

    `first`: the range of its first number, if not that of the family.
    """
    if family not in _OPERATORS or level < _MIN_LEVEL[family]:
        least = ", ".join(f"{name} >= {minimum}" for name, minimum in _MIN_LEVEL.items())
        raise ValueError(f"no questions of family {family!r} with {level} operations; there are {least}")
    allowed = _OPERATORS[family]
    least_first, most_first = first or (1, _MAX_FIRST[family])
    while True:
        start = rng.integers(least_first, most_first + 1)
        numbers = tuple(int(n) for n in (start, *rng.integers(1, 10, size=level)))
        operators = "".join(allowed[i] for i in rng.integers(len(allowed), size=level))
        question = Question(family, numbers, operators)
        if set(operators) == set(allowed) and min(_running_values(question)) >= 0:
            return question


def worked_solution(question: Question) -> str:
    r"""The correct solution: each step with its value, then the answer, `47+8=55-5=50;\boxed{50}`."""
    values = _running_values(question)
    return _written(question, values, values[-1])


def slipped_solution(question: Question, rng: np.random.Generator) -> str:
    """A solution with exactly one slip; its kind and place are drawn among those that change what is written."""
    candidates = [(kind, place) for kind in SLIPS for place in range(question.level)]
    for index in rng.permutation(len(candidates)):
        kind, place = candidates[index]
        solution = _with_slip(question, kind, place)
        if solution not in ("", worked_solution(question)):
            return solution
    raise AssertionError(f"no slip is possible in {question}")  # a miscount upwards always is


def _with_slip(question: Question, kind: str, place: int) -> str:
    """The solution with slip `kind` at operation `place`; "" where it would make a value negative."""
    if kind == "copy":  # an earlier value is boxed instead of the last one
        values = _running_values(question)
        return _written(question, values, (question.numbers[0], *values)[place])
    value = question.numbers[0]
    values = []
    for index, (operator, number) in enumerate(zip(question.operators, question.numbers[1:], strict=True)):
        value = _slip(kind, value, operator, number) if index == place else _apply(value, operator, number)
        if value < 0:
            return ""
        values.append(value)
    return _written(question, values, values[-1])


def _slip(kind: str, value: int, operator: str, number: int) -> int:
    right = _apply(value, operator, number)
    if kind == "carry":  # forgotten, or a borrow
        if operator == "+" and value % 10 + number % 10 > 9:
            return right - 10
        return right + 10 if operator == "-" and value % 10 < number % 10 else right
    if kind == "miscount":
        return right + 1 if (value + number) % 2 else right - 1
    if kind == "sign":
        return {"+": value - number, "-": value + number, "^": min(value, number)}[operator]
    return value  # omission: the operation is passed over


def _apply(value: int, operator: str, number: int) -> int:
    return {"+": value + number, "-": value - number, "^": max(value, number)}[operator]


def _running_values(question: Question) -> list[int]:
    values = [question.numbers[0]]
    for operator, number in zip(question.operators, question.numbers[1:], strict=True):
        values.append(_apply(values[-1], operator, number))
    return values[1:]


def _written(question: Question, values: list[int], answer: int) -> str:
    triples = zip(question.operators, question.numbers[1:], values, strict=True)
    steps = "".join(f"{operator}{number}={value}" for operator, number, value in triples)
    return f"{question.numbers[0]}{steps};\\boxed{{{answer}}}"


def _draw(rng: np.random.Generator, families: tuple[str, ...], max_level: int) -> Question:
    """A question of a family, and of a level it has, each with equal chances."""
    family = families[rng.integers(len(families))]
    return draw_question(rng, family, level=int(rng.integers(_MIN_LEVEL[family], max_level + 1)))


def _distinct_of(
    families: tuple[str, ...],
    rng: np.random.Generator,
    config: TaskConfig,
    count: int,
    avoid: Set[str] = frozenset(),
) -> tuple[Question, ...]:
    what = f"families {', '.join(families)}, max_level {config.max_level}"
    return _distinct(lambda: _draw(rng, families, config.max_level), count, what=what, avoid=avoid)


def _distinct(
    draw: Callable[[], Question], count: int, *, what: str, avoid: Set[str] = frozenset()
) -> tuple[Question, ...]:
    found: dict[str, Question] = {}
    for _ in range(_DRAWS_PER_QUESTION * count):
        if len(found) == count:
            break
        question = draw()
        if question.text not in avoid:
            found.setdefault(question.text, question)
    if len(found) < count:
        raise ValueError(
            f"found {len(found)} different questions where {count} are asked for ({what});"
            " ask for fewer or raise max_level"
        )
    return tuple(found.values())


def _draw_corpus(rng: np.random.Generator, config: TaskConfig, *, avoid: set[str]) -> tuple[tuple[str, str], ...]:
    corpus = []
    while len(corpus) < config.num_corpus:
        families = TRANSFER if rng.random() < _TRANSFER_SHARE else TRAINED
        question = _draw(rng, families, config.max_level)
        if question.text not in avoid:
            slipped = rng.random() < config.slip_rate
            corpus.append((question.text, slipped_solution(question, rng) if slipped else worked_solution(question)))
    return tuple(corpus)


def _check(config: TaskConfig) -> None:
    if not 0 <= config.slip_rate <= 1:
        raise ValueError(f"slip_rate is {config.slip_rate}; it is a share, from 0 to 1")
    if not max(_MIN_LEVEL.values()) <= config.max_level <= _MAX_LEVEL:
        raise ValueError(
            f"max_level is {config.max_level}; allowed are {max(_MIN_LEVEL.values())} to {_MAX_LEVEL} operations"
        )
    for name in ("num_corpus", "num_train", "num_heldout"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; at least 1 is needed")
