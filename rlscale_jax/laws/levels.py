"""E(N) between and beyond the fitted sizes, where Eq. 1 leaves it free.

A curve's level is best known at the middle of its data, so that is what is interpolated: log10 L there and
log10 X there, each a monotone cubic (PCHIP) in log N; beyond the sizes, a straight line through the nearest three.
E(N) = level(N) + k(N) log10 X(N) then equals the fitted E at every fitted size.
"""

import dataclasses

import numpy as np
from scipy.interpolate import PchipInterpolator

NEAREST = 3
UNKNOWN = 1.0  # decades of loss per decade of size: one size says nothing of others


@dataclasses.dataclass(frozen=True, kw_only=True)
class Levels:
    """Anchors [A], sizes strictly rising: `log_n` (log10), `log_x` and `log_loss` at the middle of each curve."""

    log_n: np.ndarray
    log_x: np.ndarray
    log_loss: np.ndarray

    def E(self, n: np.ndarray, k: np.ndarray) -> np.ndarray:
        """E at sizes n [..] whose slopes are k [..]."""
        where = np.log10(n)
        return self._at(where, self.log_loss) + k * self._at(where, self.log_x)

    def error(self, n: np.ndarray) -> np.ndarray:
        """Standard deviation of log10 L at sizes n [..] from carrying the level on: 0 within the sizes.

        It is what the same rule would have erred by for each known size from the smaller ones, per decade of size.
        """
        where = np.log10(n)
        beyond = np.maximum(np.maximum(where - self.log_n[-1], self.log_n[0] - where), 0)
        return np.where(beyond > 0, beyond * self._error_per_decade(), 0.0)

    @property
    def num_checks(self) -> int:
        """Sizes that the rule could be tried on (at least 1)."""
        return max(len(self.log_n) - 2, 1)

    def _error_per_decade(self) -> float:
        n, y = self.log_n, self.log_loss
        if len(n) < 2:
            return UNKNOWN
        if len(n) == 2:
            return float(abs((y[1] - y[0]) / (n[1] - n[0])))
        rates = []
        for i in range(2, len(n)):
            first = max(i - NEAREST, 0)
            guess = _line(n[first:i], y[first:i], y[i - 1], n[i - 1])(n[i])
            rates.append((guess - y[i]) / (n[i] - n[i - 1]))
        return float(np.sqrt(np.mean(np.square(rates))))

    def _at(self, where: np.ndarray, values: np.ndarray) -> np.ndarray:
        if len(values) == 1:
            return np.broadcast_to(values[0], where.shape).copy()
        inside = np.clip(where, self.log_n[0], self.log_n[-1])
        middle = PchipInterpolator(self.log_n, values)(inside)
        low = _line(self.log_n[:NEAREST], values[:NEAREST], values[0], self.log_n[0])
        high = _line(self.log_n[-NEAREST:], values[-NEAREST:], values[-1], self.log_n[-1])
        return (
            middle
            + np.where(where < inside, low(where) - values[0], 0)
            + np.where(where > inside, high(where) - values[-1], 0)
        )


def anchor(n: np.ndarray, k: np.ndarray, E: np.ndarray, log_x: np.ndarray) -> Levels:
    """Levels from sizes n, slopes k, intercepts E and middles log_x, each [S]; models of one size are averaged."""
    sizes = np.unique(n)
    values = np.stack([log_x, E - k * log_x], -1)
    mean = np.array([values[n == size].mean(0) for size in sizes])
    return Levels(log_n=np.log10(sizes), log_x=mean[:, 0], log_loss=mean[:, 1])


def _line(x: np.ndarray, y: np.ndarray, level: float, at: float):
    """The least-squares slope of (x, y), as a line through (at, level): no jump at the last size."""
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return lambda where: level + slope * (where - at)
