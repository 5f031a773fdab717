"""Simulated studies with a known law: what intervals must cover, and what the tests fit.

A question has a difficulty and a model at a step an ability; an answer is right with logistic probability. Abilities
are set so that the mean loss over the questions' population follows the law exactly; runs of one model differ in
level and slope; every evaluation draws its answers anew.
"""

import dataclasses
import functools

import numpy as np
from scipy import special

from rlscale_jax.laws.answers import Answers
from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.table import Table, from_rows

DIFFICULTY_SPREAD = 3.0  # standard deviation, in logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """A study to simulate: saturating law over `sizes` (parameters), `loss` the middle loss of each size."""

    sizes: tuple[float, ...] = (0.5e9, 1.5e9, 3e9, 7e9, 14e9, 32e9)
    loss: tuple[float, ...] = (0.95, 0.92, 0.86, 0.73, 0.63, 0.53)
    k_max: float = 0.15
    n0: float = 15e9
    num_runs: int = 3
    num_steps: int = 60
    num_questions: int = 500
    prompts_per_step: int = 512
    run_level: float = 0.1  # standard deviation between runs of log10 loss at the middle of a curve, over k
    run_slope: float = 0.1  # and of the slope, over k: sizes that learn more also differ more

    @property
    def k(self) -> np.ndarray:
        """True slopes [S]."""
        return self.k_max / (1 + self.n0 / np.array(self.sizes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """A simulated study: its table and, row by row, who answered what: `right` [R Q] (True: correct)."""

    table: Table
    right: np.ndarray

    def answers(self, curves: Curves) -> Answers:
        """The answers aligned with curves gathered from this table."""
        aligned = np.full((*curves.run_loss.shape, self.right.shape[1]), np.nan, np.float32)
        row = {name: i for i, name in enumerate(curves.names)}
        for model, seed, step, right in zip(
            self.table.model, self.table["seed"], self.table["step"], self.right, strict=True
        ):
            i = row[str(model)]
            aligned[i, np.flatnonzero(curves.seed[i] == seed), np.flatnonzero(curves.step[i] == step)] = right
        return Answers(right=aligned)


def simulate(design: Design, *, seed: int, new_questions: bool = False) -> Simulated:
    """Draws one study. `new_questions`: draw the questions too, not only the answers."""
    rng = np.random.default_rng(seed)
    if new_questions:
        difficulty = rng.normal(0, DIFFICULTY_SPREAD, design.num_questions)
    else:
        levels = (np.arange(design.num_questions) + 0.5) / design.num_questions
        difficulty = DIFFICULTY_SPREAD * special.ndtri(levels)
    rows, answers = [], []
    x = design.prompts_per_step * np.arange(1, design.num_steps + 1)
    u = np.log10(x) - np.log10(x).mean()
    for n, k, middle in zip(design.sizes, design.k, design.loss, strict=True):
        for run in range(design.num_runs):
            slope = k * (1 + design.run_slope * rng.normal())
            log_loss = np.log10(middle) + design.run_level * k * rng.normal() - slope * u
            ability = _ability(np.minimum(10**log_loss, 0.999))
            right = rng.random((len(x), len(difficulty))) < special.expit(ability[:, None] - difficulty)
            answers.append(right)
            rows += [_row(n, run, step, x[step], design, right[step]) for step in range(len(x))]
    return Simulated(table=from_rows(rows), right=np.concatenate(answers))


def _row(n: float, run: int, step: int, x: float, design: Design, right: np.ndarray) -> dict:
    correct = min(int(right.sum()), design.num_questions - 1)
    tokens = 8 * 700.0 * x
    return {
        "model": f"{n:.3g}", "n_params": n, "seed": run, "step": step + 1, "samples": x,
        "compute_flops": 6 * n * tokens, "correct": correct, "total": design.num_questions,
        "test_loss": 1 - correct / design.num_questions,
    }  # fmt: skip


def _ability(loss: np.ndarray) -> np.ndarray:
    """The ability at which the mean loss over the population of difficulties is `loss`."""
    ability, mean = _mean_loss()
    return np.interp(-loss, -mean, ability)


@functools.cache
def _mean_loss() -> tuple[np.ndarray, np.ndarray]:
    """Abilities on a grid, and the mean loss at each."""
    grid = np.linspace(-25, 25, 2001)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return grid, (special.expit(DIFFICULTY_SPREAD * nodes - grid[:, None]) * weights).sum(1) / weights.sum()


def noiseless(curves: Curves, k: np.ndarray, E: np.ndarray) -> Curves:
    """The same curves with the loss that slopes k [S] and intercepts E [S] give exactly."""
    loss = np.where(curves.mask, 10 ** (E[:, None] - k[:, None] * curves.log_x), 1.0)
    run_loss = np.where(np.isfinite(curves.run_loss), loss[:, None], np.nan)
    return dataclasses.replace(curves, loss=loss, run_loss=run_loss)
