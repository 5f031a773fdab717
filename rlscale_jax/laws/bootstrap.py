"""Intervals by resampling what could have come out otherwise: runs, questions, or (by name only) blocks of steps.

Steps of one run are not independent, so they are never resampled one by one. R runs resampled with replacement
vary by (R - 1) / R of what new runs would, and a variance from few runs needs Student's t: replicates are therefore
stretched about the fit. Without it three runs cover about 80 % where 90 % is meant. Resampling runs and questions
together counts the randomness of single answers three times; the stretch takes two of them back.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from rlscale_jax.laws.answers import Answers
from rlscale_jax.laws.curves import Curves, average
from rlscale_jax.laws.fitting import equations
from rlscale_jax.laws.objectives import Problem, pose
from rlscale_jax.laws.result import Fit, Region
from rlscale_jax.laws.solver import minimise
from rlscale_jax.laws.spread import sandwich

UNITS = ("runs", "questions", "steps")
BATCH = 250  # replicates solved at once: bounds the memory


def bootstrap(
    fit: Fit, *, over: Sequence[str] = ("runs",), num: int = 1000, seed: int = 0, answers: Answers | None = None
) -> Region:
    """Refits `num` replicates and returns them as the fit's region (`dataclasses.replace(fit, region=...)`).

    Args:
      over: "runs" (with replacement within each size), "questions" (the same draw for every model and step; needs
        `answers`), "steps" (circular blocks of each curve's residuals; only for curves without runs or answers).
      num: replicates. seed: of the resampling.

    Raises: ValueError where there is nothing to resample: one run a size, no answers.
    """
    _check(fit, over, answers)
    over = [unit for unit in UNITS if unit in over]
    rng = np.random.default_rng(seed)
    problem = pose(fit.objective, fit.fitted.log_x, fit.fitted.loss, fit.fitted.trials, fit.fitted.mask)
    theta = _refits(fit, problem, over, answers, num, rng)
    factor = np.ones(len(fit.theta))
    if "runs" in over:
        alone = [_refits(fit, problem, (one,), answers, num, rng) for one in over] if len(over) > 1 else []
        factor = _correction(fit, theta, alone, sandwich(problem, fit.slope, fit.fitted, fit.theta)[1])
    return _as_region(fit, theta, over, factor)


def _refits(fit: Fit, problem: Problem, over, answers, num: int, rng) -> np.ndarray:
    """theta of `num` resampled studies [num P]; weights stay those of the data."""
    parts = []
    for start in range(0, num, BATCH):
        log_x, loss = _replicates(fit, over, answers, min(BATCH, num - start), rng)
        drawn = Problem(kind=problem.kind, log_x=log_x, loss=np.maximum(loss, 1e-4), weights=problem.weights)
        begin = np.repeat(fit.theta[None], len(loss), 0)
        parts.append(minimise(equations(drawn, fit.slope, fit.fitted.n), begin, fit.slope.bounds).theta)
    return np.concatenate(parts)


def _correction(fit: Fit, theta: np.ndarray, alone: list[np.ndarray], dof: np.ndarray) -> np.ndarray:
    """What to stretch draws over runs by [P]: few runs, and (draws over runs and questions, each `alone`) Owen's law.

    The randomness of single answers is in the variance over runs once, over questions once, and over both together
    three times (Owen 2007): V_both - V_runs - V_questions estimates it, and the variance sought holds it once.
    """
    level = (1 + fit.region.confidence) / 2
    few = float((fit.fitted.num_runs / (fit.fitted.num_runs - 1)).mean())
    student = special.stdtrit(dof.min(), level) / special.ndtri(level)
    if not alone:
        return np.full(len(fit.theta), student * np.sqrt(few))
    both, runs, questions = (np.var(_coordinates(fit, draws), 0) for draws in (theta, *alone))
    answers = few * np.maximum(both - runs - questions, 0)
    sought = student**2 * few * runs + np.maximum(questions - answers, 0)
    return np.sqrt(sought / np.maximum(both, 1e-300))


def _check(fit: Fit, over: Sequence[str], answers: Answers | None) -> None:
    unknown = set(over) - set(UNITS)
    if unknown or not over:
        raise ValueError(f"cannot resample over {sorted(unknown) or 'nothing'}; choose from {', '.join(UNITS)}")
    if "runs" in over and (fit.fitted.num_runs < 2).any():
        few = [name for name, runs in zip(fit.fitted.names, fit.fitted.num_runs, strict=True) if runs < 2]
        raise ValueError(f"one run of {', '.join(few)}: nothing to resample; add seeds, or use the profile interval")
    if "questions" in over and answers is None:
        raise ValueError("resampling questions needs their outcomes (outcomes.jsonl of every evaluation)")
    if "steps" in over and len(over) > 1:
        raise ValueError("steps are resampled by themselves only: runs and questions already vary them")


def _replicates(fit: Fit, over, answers, num, rng):
    """log_x and loss [B S T] of `num` resampled studies."""
    curves = fit.fitted
    if "steps" in over:
        return np.broadcast_to(curves.log_x, (num, *curves.loss.shape)), _block_losses(fit, num, rng)
    weights = np.ones((num, *curves.run_loss.shape[:2]))
    if "runs" in over:
        weights = _run_weights(curves, num, rng)
    x = 10**curves.run_log_x
    if "questions" not in over:
        drawn = average(x, curves.run_loss, curves.run_trials, weights)
        return _unpad(drawn, curves)
    num_questions = answers.right.shape[-1]
    draws = rng.multinomial(num_questions, np.full(num_questions, 1 / num_questions), num) / num_questions
    right = answers.right.reshape(-1, num_questions)
    run_loss = (1 - draws.astype(np.float32) @ right.T).reshape(num, *curves.run_loss.shape)
    parts = [average(x, run_loss[b], curves.run_trials, weights[b]) for b in range(num)]
    return _unpad({name: np.stack([part[name] for part in parts]) for name in parts[0]}, curves)


def _unpad(drawn: dict, curves: Curves):
    """A step that no drawn run reached keeps the full mean: leaving it out would change the curve's length."""
    reached = drawn["trials"] > 0
    return np.where(reached, drawn["log_x"], curves.log_x), np.where(reached, drawn["loss"], curves.loss)


def _run_weights(curves: Curves, num: int, rng) -> np.ndarray:
    """How often each run is drawn [B S R]."""
    weights = np.zeros((num, *curves.run_loss.shape[:2]))
    for i, runs in enumerate(curves.num_runs):
        weights[:, i, :runs] = rng.multinomial(runs, np.full(runs, 1 / runs), num)
    return weights


def _block_losses(fit: Fit, num: int, rng) -> np.ndarray:
    """The fitted curve plus its residuals in circular blocks, about the cube root of the curve times two long."""
    curves = fit.fitted
    losses = np.repeat(curves.loss[None], num, 0)
    for i, (model, on) in enumerate(zip(fit.models.values(), curves.mask, strict=True)):
        level = model.E - model.k * curves.log_x[i, on]
        residual = np.log10(curves.loss[i, on]) - level
        length = max(2, round(2 * on.sum() ** (1 / 3)))
        starts = rng.integers(0, on.sum(), (num, -(-int(on.sum()) // length)))
        index = (starts[:, :, None] + np.arange(length)).reshape(num, -1)[:, : on.sum()] % on.sum()
        losses[:, i, on] = 10 ** np.minimum(level + residual[index], 0)
    return losses


def _as_region(fit: Fit, theta: np.ndarray, over: Sequence[str], factor: np.ndarray) -> Region:
    """The replicates, stretched about the fit by `factor` [P] in its coordinates."""
    low, high = fit.slope.bounds.T
    cut_share = (1 - fit.region.confidence) / 2
    cut = np.stack([(theta <= low + 1e-9).mean(0) > cut_share, (theta >= high - 1e-9).mean(0) > cut_share], -1)
    if fit.law == "saturating" and cut[1, 1]:
        cut[0, 1] = True
    at = _coordinates(fit, fit.theta[None])
    theta = _theta(fit, at + factor * (_coordinates(fit, theta) - at))
    basis = f"bootstrap over {' and '.join(over)}, {len(theta)} replicates"
    if "steps" in over:
        basis += " (blocks of the residuals: how much runs differ is left out)"
    return Region(theta=theta, kind="draws", confidence=fit.region.confidence, basis=basis, cut=cut)


def _coordinates(fit: Fit, theta: np.ndarray) -> np.ndarray:
    """theta with K_max as a logarithm where it is positive, as N0 is: relative errors are the even ones."""
    if fit.law != "saturating" or fit.theta[0] <= 0:
        return theta
    return np.concatenate([np.log(np.maximum(theta[:, :1], 1e-12)), theta[:, 1:]], 1)


def _theta(fit: Fit, coordinates: np.ndarray) -> np.ndarray:
    if fit.law != "saturating" or fit.theta[0] <= 0:
        return coordinates
    return np.concatenate([np.exp(coordinates[:, :1]), coordinates[:, 1:]], 1)
