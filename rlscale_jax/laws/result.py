"""The outcome of a fit: what it says, how well, how surely, and what it cannot say."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import special

from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.levels import Levels
from rlscale_jax.laws.protocols import Protocol
from rlscale_jax.laws.slopes import Slope

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFit:
    """One model under the law: `r2` in raw loss around its own mean, `log_rmse` in log10 loss."""

    n: float
    k: float
    E: float
    r2: float
    log_rmse: float
    num_points: int
    num_runs: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region:
    """What is known of theta: points [M P], what they rest on, and whether the box cut them off.

    `kind` "set": points of a confidence set, whose range is the interval; "draws": bootstrap replicates, whose
    quantiles are. `cut` [P 2] True where that bound is reached: the data do not limit the parameter on that side.
    `share(directions [D P])` [D]: how much of the set's width is the interval of each linear combination of theta.
    """

    theta: np.ndarray
    kind: str
    confidence: float
    basis: str
    cut: np.ndarray
    share: Callable[[np.ndarray], np.ndarray] = lambda directions: np.ones(len(directions))

    def around(self, middle: np.ndarray, values: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) about `middle` [D] of quantities `values` [M D] that change with theta as `directions` [D P]."""
        low, high = self.ends(values)
        share = self.share(directions)
        return middle - share * (middle - low), middle + share * (high - middle)

    def ends(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) of a quantity computed at every point, values [M ..]."""
        if self.kind == "set":
            return values.min(0), values.max(0)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail], axis=0)
        return low, high


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted law: log10 L = -k(n) log10 x + E(n), with x in FLOPs ("compute") or prompts ("data")."""

    resource: str
    law: str
    objective: str
    protocol: Protocol
    slope: Slope
    theta: np.ndarray
    levels: Levels
    models: dict[str, ModelFit]
    r2: float
    r2_log: float
    converged: bool
    region: Region
    notes: tuple[str, ...]
    fitted: Curves
    held: Curves

    @property
    def parameters(self) -> dict[str, float]:
        """The law's parameters by their published names (n0 in parameters)."""
        return self.slope.public(self.theta)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Each parameter's (low, high) at the region's confidence; infinite where the data set no limit."""
        ends = self.region.around(self.theta, self.region.theta, np.eye(len(self.theta)))
        low, high = map(self.slope.public, ends)
        result = {}
        for i, name in enumerate(low):
            floor = 0.0 if self.slope.names[i].startswith("log_") else -np.inf
            cut_low, cut_high = self.region.cut[i]
            result[name] = (floor if cut_low else low[name], np.inf if cut_high else high[name])
        return result

    def k(self, n) -> np.ndarray:
        """Slope at sizes n (parameters), any shape."""
        n = np.asarray(n, float)
        return self.slope.k(self.theta, n.ravel()).reshape(n.shape)

    def k_interval(self, n) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) of k at sizes n."""
        n = np.asarray(n, float)
        k, directions = self.slope.evaluate(self.theta, n.ravel())
        low, high = self.region.around(k, self.slope.k(self.region.theta, n.ravel()), directions)
        return low.reshape(n.shape), high.reshape(n.shape)

    def E(self, n) -> np.ndarray:
        """Intercept at sizes n: the fitted one at fitted sizes, elsewhere carried on by `levels`."""
        n = np.asarray(n, float)
        return self.levels.E(n, self.k(n))

    def predict(self, n, x) -> np.ndarray:
        """Test loss at sizes n and resource x (FLOPs or prompts), broadcast; never above 1."""
        return np.minimum(10 ** (self.E(n) - self.k(n) * np.log10(np.asarray(x, float))), 1.0)

    def predict_interval(self, n, x) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) of the curve at n, x: from k(N), and beyond the fitted sizes from the level carried on."""
        n, x = np.broadcast_arrays(np.asarray(n, float), np.asarray(x, float))
        k = self.slope.k(self.region.theta, n.ravel()).reshape(-1, *n.shape)
        middle = self.levels.E(n, self.k(n)) - self.k(n) * np.log10(x)
        low, high = self.region.ends(self.levels.E(n, k) - k * np.log10(x))
        reach = special.stdtrit(self.levels.num_checks, (1 + self.region.confidence) / 2) * self.levels.error(n)
        low, high = middle - np.hypot(middle - low, reach), middle + np.hypot(high - middle, reach)
        return np.minimum(10**low, 1.0), np.minimum(10**high, 1.0)

    def to_json(self) -> dict:
        """Plain numbers and names for `fits.json`; infinite ends of intervals become null."""
        low, high = self.k_interval(self.fitted.n)
        models = {
            name: dataclasses.asdict(m) | {"r2": _finite(m.r2), "k_interval": _ends((low[i], high[i]))}
            for i, (name, m) in enumerate(self.models.items())
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "resource": self.resource,
            "law": self.law,
            "objective": self.objective,
            "protocol": dataclasses.asdict(self.protocol),
            "k_max": self.parameters.get("k_max"),
            "n0": self.parameters.get("n0"),
            "r2": _finite(self.r2),
            "r2_log": _finite(self.r2_log),
            "parameters": self.parameters,
            "intervals": {name: _ends(ends) for name, ends in self.intervals.items()},
            "confidence": self.region.confidence,
            "interval_basis": self.region.basis,
            "models": models,
            "converged": self.converged,
            "notes": list(self.notes),
        }


def _ends(ends) -> list[float | None]:
    return [_finite(v) for v in ends]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
