"""What a fit advises, as one record: the best size for a budget, what a loss costs, crossings, marginal values."""

import dataclasses
import math

import numpy as np

from rlscale_jax.laws import planner
from rlscale_jax.laws.result import Fit

ISO_POINTS = 25  # sizes along an iso-loss curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What a loss costs: the least `budget` over the fitted sizes, and the `size` that needs it.

    `by_model` {name: cost}; `iso_loss` [(size, cost)] over the fitted sizes (infinite: never reached).
    """

    loss: float
    size: float
    budget: planner.Interval
    by_model: dict[str, float]
    iso_loss: list[tuple[float, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """`choice` and `marginal` for a budget, `target` for a loss; `crossings` of neighbours in size."""

    resource: str
    choice: planner.Choice | None
    marginal: dict[str, float]
    target: Target | None
    crossings: list[planner.Crossing]

    def to_json(self) -> dict:
        """Plain numbers; what is not finite becomes null."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}


def decide(fit: Fit, *, budget: float, target_loss: float) -> Decision:
    """Answers for `budget` (FLOPs, or prompts where the fit is against data) and for `target_loss`; 0: not asked.

    Raises: ValueError where neither is given, or one is impossible, or the law says nothing between its sizes.
    """
    if not budget and not target_loss:
        raise ValueError("--decide needs --budget=FLOPs (or prompts, with --resource=data) or --target_loss=L")
    if fit.law == "loglinear":
        raise ValueError("law loglinear says nothing of sizes between its models; decide with --law=saturating")
    choice = planner.choose(fit, budget) if budget else None
    names = list(fit.models)
    return Decision(
        resource=fit.resource,
        choice=choice,
        marginal=planner.marginal(fit, fit.models[choice.model].n, budget) if choice else {},
        target=_target(fit, target_loss) if target_loss else None,
        crossings=[c for c in planner.crossings(fit) if names.index(c.larger) == names.index(c.smaller) + 1],
    )


def _target(fit: Fit, loss: float) -> Target:
    size, least = planner.cheapest(fit, loss)
    sizes = np.geomspace(fit.fitted.n.min(), fit.fitted.n.max(), ISO_POINTS)
    costs = planner.cost(fit, loss, fit.fitted.n)
    return Target(
        loss=loss, size=size, budget=least, by_model=dict(zip(fit.models, map(float, costs), strict=True)),
        iso_loss=[(float(n), float(c)) for n, c in zip(sizes, planner.cost(fit, loss, sizes), strict=True)],
    )  # fmt: skip


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
