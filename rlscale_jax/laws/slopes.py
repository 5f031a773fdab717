"""How the slope k depends on model size: the saturating law of Eq. 2, and its rivals.

Every law maps parameters theta [.. P] and sizes n [S] to k [.. S], with its Jacobian [.. S P]. Scales (N0) are
fitted as natural logarithms, so that steps are relative; `public` turns theta into the published parameters.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

PUBLISHED_BOUNDS = {"k_max": (0.0, 2.0), "n0": (0.1e9, 100e9)}
PUBLISHED_RANGE = (0.5e9, 72e9)  # the sizes those bounds were chosen for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slope:
    """A family k(n; theta).

    `names` are theta's; `evaluate(theta [.. P], n [S]) -> (k [.. S], dk [.. S P])`; `starts(n [S], k [S])` gives
    the starting points [A P] of a deterministic multi-start from the models' own slopes; `bounds` [P 2].
    """

    name: str
    names: tuple[str, ...]
    evaluate: Callable
    starts: Callable
    bounds: np.ndarray

    def k(self, theta: np.ndarray, n) -> np.ndarray:
        """k(n) for theta [.. P] and sizes n [S]."""
        return self.evaluate(np.asarray(theta, float), np.atleast_1d(np.asarray(n, float)))[0]

    def public(self, theta: np.ndarray) -> dict[str, float]:
        """theta [P] under its published names, scales as parameters (not logarithms)."""
        pairs = zip(self.names, np.asarray(theta), strict=True)
        return {name.removeprefix("log_"): float(np.exp(v) if name.startswith("log_") else v) for name, v in pairs}


def build(name: str, n: np.ndarray, *, objective: str) -> Slope:
    """The law `name` for models of sizes `n` [S] (parameters), with bounds that fit the objective and the sizes.

    Raises: ValueError for an unknown law or more parameters than sizes.
    """
    if name not in LAWS:
        raise ValueError(f"law {name!r} is not one of {', '.join(LAWS)}")
    slope = LAWS[name](np.asarray(n, float), objective)
    if name != "loglinear" and len(slope.names) > len(np.unique(n)):
        raise ValueError(
            f"law {name!r} has {len(slope.names)} parameters ({', '.join(slope.names)}) for {len(np.unique(n))} model "
            "size(s); add sizes, or fit --law=loglinear (a slope for each model) or --law=constant"
        )
    return slope


def _saturating(n: np.ndarray, objective: str) -> Slope:
    """k = K_max / (1 + N0 / n) (Eq. 2)."""

    def evaluate(theta, n):
        half = 1 / (1 + np.exp(np.clip(theta[..., 1:] - np.log(n), -200, 200)))
        k = theta[..., :1] * half
        return k, np.stack([half, -k * (1 - half)], -1)

    def starts(n, k):
        scales = np.log(np.geomspace(n.min() / 5, n.max() * 5, 5))
        half = 1 / (1 + np.exp(scales[:, None] - np.log(n)))
        return np.stack([(half @ k) / (half**2).sum(1), scales], -1)

    low, high = _scale_bounds(n, objective)
    top = PUBLISHED_BOUNDS["k_max"] if objective == "published" else (-10.0, 10.0)
    return Slope(
        name="saturating",
        names=("k_max", "log_n0"),
        evaluate=evaluate,
        starts=starts,
        bounds=np.array([top, (np.log(low), np.log(high))]),
    )


def _scale_bounds(n: np.ndarray, objective: str) -> tuple[float, float]:
    """Range of N0: the published one at the published scale, else one relative to the sizes at hand."""
    if objective != "published":
        return n.min() / 100, n.max() * 100
    low, high = PUBLISHED_BOUNDS["n0"]
    if low <= n.max() <= 1e3 * high:
        return low, high
    return n.min() * low / PUBLISHED_RANGE[0], n.max() * high / PUBLISHED_RANGE[1]


def _power(n: np.ndarray, objective: str) -> Slope:
    """k = k_ref (n / n_ref)^beta, with n_ref the geometric mean of the sizes."""
    reference = np.log(n).mean()

    def evaluate(theta, n):
        log_n = np.log(n) - reference
        power = np.exp(np.clip(theta[..., 1:] * log_n, -200, 200))
        return theta[..., :1] * power, np.stack([power, theta[..., :1] * power * log_n], -1)

    def starts(n, k):
        return np.array([[np.mean(k), beta] for beta in (0.0, 0.3, 1.0)])

    bounds = np.array([(-10.0, 10.0), (-3.0, 3.0)])
    return Slope(name="power", names=("k_ref", "beta"), evaluate=evaluate, starts=starts, bounds=bounds)


def _affine(name: str, feature: Callable) -> Callable:
    """k = a + b f(n): `feature` maps (n, reference sizes) to f."""

    def make(n: np.ndarray, objective: str) -> Slope:
        fitted = n

        def evaluate(theta, n):
            f = feature(n, fitted)
            k = theta[..., :1] + theta[..., 1:] * f
            return k, np.broadcast_to(np.stack([np.ones_like(f), f], -1), (*k.shape, 2))

        def starts(n, k):
            return np.array([[np.mean(k), 0.0]])

        bounds = np.array([(-20.0, 20.0)] * 2)
        return Slope(name=name, names=("a", "b"), evaluate=evaluate, starts=starts, bounds=bounds)

    return make


def _constant(n: np.ndarray, objective: str) -> Slope:
    """k the same for every size."""

    def evaluate(theta, n):
        k = np.broadcast_to(theta, (*theta.shape[:-1], len(n)))
        return k, np.ones((*k.shape, 1))

    def starts(n, k):
        return np.array([[np.mean(k)]])

    return Slope(name="constant", names=("k",), evaluate=evaluate, starts=starts, bounds=np.array([(-20.0, 20.0)]))


def _loglinear(n: np.ndarray, objective: str) -> Slope:
    """A free k for each model: no statement about sizes between or beyond them (NaN there)."""
    fitted = np.asarray(n, float)

    def evaluate(theta, n):
        same = n[:, None] == fitted
        pick = np.where(same.any(1, keepdims=True), same / np.maximum(same.sum(1, keepdims=True), 1), np.nan)
        if np.array_equal(n, fitted):
            pick = np.eye(len(fitted))
        return theta @ pick.T, np.broadcast_to(pick, (*theta.shape[:-1], *pick.shape))

    def starts(n, k):
        return np.asarray(k)[None]

    bounds = np.array([(-20.0, 20.0)] * len(fitted))
    names = tuple(f"k_{i}" for i in range(len(fitted)))
    return Slope(name="loglinear", names=names, evaluate=evaluate, starts=starts, bounds=bounds)


LAWS: dict[str, Callable] = {
    "saturating": _saturating,
    "power": _power,
    "linear": _affine("linear", lambda n, fitted: n / fitted.max()),
    "log": _affine("log", lambda n, fitted: np.log10(n) - np.log10(fitted).mean()),
    "constant": _constant,
    "loglinear": _loglinear,
}
