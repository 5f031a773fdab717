"""Which problems are trained on and in what order: curriculum, stratified subsets.

All of it is a pure function of the problems and a seed. Indices refer to the problems' order as given.
"""

import math
from collections.abc import Sequence

import numpy as np

from rlscale_jax.data.record import Problem

Indices = np.ndarray  # int64, [n]
_GOLDEN = (math.sqrt(5) - 1) / 2


def easy_to_hard(problems: Sequence[Problem]) -> Indices:
    """All indices, by difficulty; equally difficult problems stay in the order given.

    Where no difficulty is known at all, the order given is the curriculum.

    Raises:
      ValueError: some problems have a difficulty and others have none.
    """
    difficulty = _difficulties(problems)
    return np.argsort(difficulty, kind="stable")


def shuffled(num_problems: int, *, seed: int, epoch: int) -> Indices:
    """All indices in an order of this seed and epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_problems)


def stratified_subset(problems: Sequence[Problem], num_unique: int, *, seed: int, nested: bool = False) -> Indices:
    """Indices, ascending, of `num_unique` problems whose difficulties are distributed as those of all.

    Problems are laid out by difficulty, ties in random order, and drawn at even distances, so that any range of
    difficulties gets its share: within one problem for independent subsets, within a few for nested ones.

    Args:
      problems: to choose from.
      num_unique: how many to choose.
      seed: another seed, another subset; independent subsets of two sizes are drawn independently too.
      nested: smaller subsets are contained in larger ones of the same seed.

    Raises:
      ValueError: more problems are asked for than there are.
    """
    total = len(problems)
    if not 0 < num_unique <= total:
        raise ValueError(f"a subset of {num_unique} problems out of {total}; ask for 1 to {total}")
    rng = np.random.default_rng([seed] if nested else [seed, num_unique])
    by_difficulty = np.lexsort((rng.permutation(total), _difficulties(problems)))
    if nested:
        # A prefix of a golden-ratio sequence is spread evenly however long it is.
        rank = np.argsort((np.arange(total) * _GOLDEN + rng.random()) % 1.0, kind="stable")
        places = rank[:num_unique]
    else:
        places = (np.arange(num_unique, dtype=np.int64) * total + rng.integers(total)) // num_unique
    return np.sort(by_difficulty[places])


def _difficulties(problems: Sequence[Problem]) -> np.ndarray:
    difficulty = np.array([problem.difficulty for problem in problems])
    unknown = int(np.isnan(difficulty).sum())
    if unknown == len(problems):
        return np.zeros(len(problems))
    if unknown:
        raise ValueError(
            f"{unknown} of {len(problems)} problems have no difficulty; give it for all, or for none of them"
        )
    return difficulty
