"""Forecasts made early in finished curves, against what came: how far off, and how often inside the interval."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from rlscale_jax.laws.curves import MIN_POINTS, Curves
from rlscale_jax.laws.forecast import forecast
from rlscale_jax.laws.objectives import lines

SHARES = (0.25, 0.5)
END_SHARE = 0.08  # of a curve's evaluations, averaged into what came
RECENT = 5  # evaluations that the baseline "last value" averages


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backtest:
    """One run's forecast after a `share` of its steps: `loss` with `low` and `high`, and what came with its error.

    `came` is the mean of the last evaluations, `came_error` its binomial standard error; `last_value` and `line` are
    what the baselines say: the mean of the latest five points, and a log-log line through all points so far.
    """

    model: str
    seed: float
    share: float
    seen: int
    loss: float
    low: float
    high: float
    came: float
    came_error: float
    last_value: float
    line: float

    @property
    def held(self) -> bool:
        """True where what came lies in the interval."""
        return self.low <= self.came <= self.high


def backtest(curves: Curves, *, shares: Sequence[float] = SHARES, confidence: float = 0.9) -> list[Backtest]:
    """Forecasts of the end of every run from the first `shares` of its evaluations, as far as those suffice."""
    rows = []
    for i, name in enumerate(curves.names):
        for seed, log_x, loss, trials in zip(
            curves.seed[i], curves.run_log_x[i], curves.run_loss[i], curves.run_trials[i], strict=True
        ):
            on = np.isfinite(loss)
            seen = [math.ceil(share * on.sum()) for share in shares]
            rows += [
                _one(name, float(seed), share, num, log_x[on], loss[on], trials[on], confidence)
                for share, num in zip(shares, seen, strict=True)
                if num >= MIN_POINTS
            ]
    return rows


def _one(name, seed, share, num, log_x, loss, trials, confidence) -> Backtest:
    end = max(3, round(END_SHARE * len(loss)))
    came, horizon = float(loss[-end:].mean()), float(log_x[-end:].mean())
    points = list(zip(10 ** log_x[:num], loss[:num], strict=True))
    found = forecast(points, 10**horizon, confidence=confidence, trials=float(np.median(trials)))
    k, level = lines(log_x[:num], loss[:num], np.ones(num))
    return Backtest(
        model=name, seed=seed, share=share, seen=num, loss=found.loss, low=found.low, high=found.high, came=came,
        came_error=float(np.sqrt(came * (1 - came) / trials[-end:].sum())),
        last_value=float(loss[:num][-RECENT:].mean()),
        line=float(min(10 ** (level[0] - k * (horizon - log_x[0])), 1.0)),
    )  # fmt: skip


def log_rmse(rows: Sequence[Backtest], what: str) -> float:
    """Root mean square error in log10 loss of `what`: loss, last_value or line."""
    apart = [np.log10(getattr(row, what)) - np.log10(row.came) for row in rows]
    return float(np.sqrt(np.mean(np.square(apart))))
