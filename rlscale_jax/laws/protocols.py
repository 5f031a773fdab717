"""Which points a law is fitted to, and which are kept to test it: full, inter and intra."""

import dataclasses

import numpy as np

from rlscale_jax.laws.curves import MIN_POINTS, Curves

PROTOCOLS = ("full", "inter", "intra")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """full: every point. inter: all models but the `held_out` largest. intra: each curve's early points.

    `drop_first` points (warm-up) leave every fitted curve; `drop_last` points (intra only) are kept for testing.
    """

    name: str = "full"
    drop_first: int = 0
    drop_last: int = 80
    held_out: int = 1

    def __post_init__(self):
        if self.name not in PROTOCOLS:
            raise ValueError(f"protocol {self.name!r} is not one of {', '.join(PROTOCOLS)}")
        for field in ("drop_first", "drop_last", "held_out"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field}={getattr(self, field)} is negative; it counts points or models")


def split(curves: Curves, protocol: Protocol) -> tuple[Curves, Curves]:
    """(fitted, held out): the models and points that the law sees, and those that test it (mask False elsewhere).

    Raises: ValueError where too little is left to fit, naming the model and what to change.
    """
    seen = _ranks(curves) >= protocol.drop_first
    if protocol.name == "inter":
        if protocol.held_out >= len(curves.n):
            raise ValueError(
                f"protocol inter holds out {protocol.held_out} of {len(curves.n)} models: nothing is left to fit"
            )
        last = len(curves.n) - protocol.held_out
        fitted = curves.keep(seen).models(slice(0, last))
        held = curves.models(slice(last, None))
    elif protocol.name == "intra":
        early = _ranks(curves) < curves.mask.sum(1, keepdims=True) - protocol.drop_last
        fitted, held = curves.keep(seen & early), curves.keep(~early)
    else:
        fitted, held = curves.keep(seen), curves.keep(np.zeros_like(curves.mask))
    _check(fitted, curves, protocol)
    return fitted, held


def _ranks(curves: Curves) -> np.ndarray:
    """Position of each point within its curve [S T], padding included."""
    return np.cumsum(curves.mask, 1) - 1


def _check(fitted: Curves, curves: Curves, protocol: Protocol) -> None:
    for name, mask in zip(fitted.names, fitted.mask, strict=True):
        if mask.sum() >= MIN_POINTS:
            continue
        points = int(curves.mask[curves.names.index(name)].sum())
        cut = f"drop_first={protocol.drop_first}"
        if protocol.name == "intra":
            cut += f", drop_last={protocol.drop_last}"
        raise ValueError(
            f"protocol {protocol.name} ({cut}) leaves {int(mask.sum())} of {points} points of {name}; "
            f"at least {MIN_POINTS} are needed, so drop fewer"
        )
