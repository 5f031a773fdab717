"""One use of the fit command: what was asked, and the answer as text for a terminal and as JSON."""

import dataclasses
from collections.abc import Sequence

from rlscale_jax.laws import analysis, families, likelihood, linkage, reuse, summary
from rlscale_jax.laws.backtest import backtest
from rlscale_jax.laws.curves import RESOURCES, gather
from rlscale_jax.laws.decision import decide
from rlscale_jax.laws.fitting import fit
from rlscale_jax.laws.forms import FORMS, fit_form
from rlscale_jax.laws.protocols import Protocol
from rlscale_jax.laws.slopes import LAWS as SLOPES
from rlscale_jax.laws.table import Table, read

REUSE = "reuse"
LAWS = (*SLOPES, *FORMS, REUSE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A fit of `law` to the curves in `paths`, of models whose name has `models` in it ("": all), and what else is
    wanted of it.

    bootstrap: units to resample for intervals (empty: profile); compare: rivals, residuals, sensitivity; joint: the
    linkage of both resources; forecasts: of the curves' ends, made early, against what came; decide: advice for
    `budget` and `target_loss` (0: not asked).
    """

    paths: Sequence[str]
    resource: str
    models: str = ""
    law: str = "saturating"
    objective: str = "robust"
    protocol: Protocol = dataclasses.field(default_factory=Protocol)
    confidence: float = 0.9
    bootstrap: Sequence[str] = ()
    num_bootstrap: int = 1000
    compare: bool = False
    joint: bool = False
    forecasts: bool = False
    decide: bool = False
    budget: float = 0.0
    target_loss: float = 0.0


def answer(request: Request) -> tuple[str, dict]:
    """(text, JSON) for a request.

    Raises: ValueError, FileNotFoundError: curves that cannot be read or fitted, or options that do not go together.
    """
    if request.law == REUSE:
        rows = reuse.reuse(reuse.read(request.paths), confidence=request.confidence)
        return summary.reuse_table(rows), {"law": REUSE, "taus": [dataclasses.asdict(row) for row in rows]}
    table = read(request.paths)
    table = families.matching(table, request.models) if request.models else table
    if request.law in FORMS:
        return _form(request, table)
    found = fit(
        table, resource=request.resource, law=request.law, objective=request.objective, protocol=request.protocol,
        confidence=request.confidence,
    )  # fmt: skip
    if request.bootstrap:
        found = analysis.resampled(found, request.paths, over=request.bootstrap, num=request.num_bootstrap)
    found = dataclasses.replace(found, notes=(*found.notes, *families.warning(table)))
    doubts = analysis.analyse(found, table, rivals=request.compare)
    texts = [summary.text(found), summary.held_out(doubts)]
    result = found.to_json() | doubts.to_json()
    if request.compare:
        texts.append(summary.comparison(doubts))
        result["profile"] = {name: dataclasses.asdict(one) for name, one in likelihood.profiles(found).items()}
    if request.joint:
        links, both = _joint(request, table)
        texts.append(summary.linked(links, both))
        result |= {"linkage": [dataclasses.asdict(link) for link in links], "joint": dataclasses.asdict(both)}
    if request.forecasts:
        rows = backtest(gather(table, request.resource), confidence=request.confidence)
        texts.append(summary.forecasts(rows))
        result["forecasts"] = [dataclasses.asdict(row) | {"held": row.held} for row in rows]
    if request.decide:
        decision = decide(found, budget=request.budget, target_loss=request.target_loss)
        texts.append(summary.decision(decision))
        result["decision"] = decision.to_json()
    return "\n\n".join(filter(None, texts)), result


def _form(request: Request, table: Table) -> tuple[str, dict]:
    unfit = [name for name in ("bootstrap", "compare", "joint", "forecasts", "decide") if getattr(request, name)]
    if unfit:
        raise ValueError(f"--{unfit[0]} goes with a law of k(N), such as --law=saturating, not with {request.law}")
    found = fit_form(
        table, law=request.law, resource=request.resource, objective=request.objective, protocol=request.protocol
    )
    return summary.form(found), found.to_json()


def _joint(request: Request, table: Table) -> tuple[list[linkage.Link], linkage.Joint]:
    missing = [column for column in RESOURCES.values() if not table.has(column)]
    if missing:
        raise ValueError(f"--joint needs both compute_flops and samples in the curves; there is no {missing[0]}")
    compute, data = (gather(table, resource) for resource in RESOURCES)
    both = linkage.joint(
        compute, data, law=request.law, objective=request.objective, protocol=request.protocol
    )  # fmt: skip
    return linkage.links(compute, data), both
