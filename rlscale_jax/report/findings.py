"""The paper's findings as statements that the data at hand support, contradict or leave undecided, with numbers."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rlscale_jax import laws
from rlscale_jax.laws import Fit, comparison, planner
from rlscale_jax.laws.reuse import Reuse
from rlscale_jax.report.groups import fits_of, groups
from rlscale_jax.report.study import Run
from rlscale_jax.report.sweeps import best_by_budget, mean_curve, varied
from rlscale_jax.report.transfer import changes, suites

SUPPORTED, NOT, UNDECIDED, NO_DATA = "supported", "not supported", "undecided", "no data"
AIC_MARGIN = 2.0  # differences below it do not separate laws
HARMLESS = 0.02  # a change of final loss that counts as "hardly"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A statement, what the data say of it, and the numbers behind the verdict."""

    statement: str
    verdict: str
    evidence: str


def from_curves(
    table: laws.Table, *, objective: str = "robust", reuse: Sequence[Reuse] = ()
) -> dict[str, list[Finding]]:
    """The four findings and the crossing of the two largest sizes, {group of models: findings}, from curves alone.

    Raises: ValueError for curves that cannot be fitted.
    """
    found = {}
    for name, part in groups(table).items():
        fits = fits_of(part, law="saturating", objective=objective, confidence=0.9)
        own = {r: laws.fit(f.fitted, resource=r, law="loglinear", objective=objective) for r, f in fits.items()}
        sized = fits if len(set(part["n_params"])) > 1 else {}
        rivals = {r: comparison.compare(part, resource=r, objective=objective) for r in sized}
        found[name] = [
            efficiency(own), power_law(fits, rivals), saturation(fits, rivals),
            data_reuse({name: list(reuse)} if reuse else {}), crossing(fits.get("compute")),
        ]  # fmt: skip
    return found


def text(found: dict[str, list[Finding]]) -> str:
    """Verdict, statement and numbers, one finding after the other."""
    lines = []
    for group, findings in found.items():
        lines += [f"Findings: {group}"] * (len(found) > 1)
        lines += [f"{one.verdict.upper()}: {one.statement}\n    {one.evidence}" for one in findings]
    return "\n".join(lines)


def to_json(found: dict[str, list[Finding]]) -> dict:
    """{group: [{statement, verdict, evidence}]}."""
    return {group: [dataclasses.asdict(one) for one in findings] for group, findings in found.items()}


def efficiency(own: dict[str, Fit]) -> Finding:
    """Finding 1, from each model's own slope (loglinear fits by resource)."""
    said, verdicts = [], []
    for resource, fit in own.items():
        n, k = fit.fitted.n, np.array([m.k for m in fit.models.values()])
        if len(np.unique(n)) < 2:
            continue
        low, high = fit.k_interval(n)
        rank = _rank_correlation(n, k)
        apart = low[-1] > high[0]
        against = high[-1] < low[0]
        verdicts.append(SUPPORTED if apart and rank > 0.6 else NOT if against else UNDECIDED)
        said.append(
            f"{resource}: k rises from {k[0]:.3f} ({low[0]:.3f} to {high[0]:.3f}) to {k[-1]:.3f} ({low[-1]:.3f} to "
            f"{high[-1]:.3f}), rank correlation with size {rank:.2f}"
        )
    return Finding(
        statement="Larger models learn more efficiently, in compute and in data (k grows with N).",
        verdict=_together(verdicts),
        evidence="; ".join(said) or "one size only",
    )


def power_law(fits: dict[str, Fit], rivals: dict[str, list[comparison.Row]]) -> Finding:
    """Finding 2: fit, and prediction of the largest size and of late training better than the baselines."""
    said, verdicts = [], []
    for resource, rows in rivals.items():
        table = {row.name: row for row in rows}
        ours = table.get("saturating") or rows[0]
        base = {name.removeprefix("baseline: "): row for name, row in table.items() if name.startswith("baseline")}
        late_base, late_name = _least(base, "late")
        size_base, size_name = _least(base, "largest_predicted")
        good = fits[resource].r2_log > 0.95
        late, size = ours.late < late_base, ours.largest_predicted < size_base
        verdicts.append(SUPPORTED if good and late and size else NOT if not (good or late or size) else UNDECIDED)
        said.append(
            f"{resource}: R² (log) {fits[resource].r2_log:.3f}; late half: log RMSE {ours.late:.4f} against "
            f"{late_base:.4f} ({late_name}); largest size predicted: {ours.largest_predicted:.4f} against "
            f"{size_base:.4f} ({size_name}), with its own level calibrated {ours.largest_calibrated:.4f}"
        )
    return Finding(
        statement="Loss follows a power law of the resource, which predicts the largest size and late training.",
        verdict=_together(verdicts),
        evidence="; ".join(said),
    )


def saturation(fits: dict[str, Fit], rivals: dict[str, list[comparison.Row]]) -> Finding:
    """Finding 3: N0 bounded, and the saturating law ahead of laws that do not saturate."""
    said, verdicts = [], []
    for resource, fit in fits.items():
        if fit.law != "saturating" or resource not in rivals:
            continue
        aic = {row.name: row.aic for row in rivals[resource]}
        growing = min(aic[name] for name in ("power", "linear"))
        margin = growing - aic["saturating"]
        bounded = np.isfinite(fit.intervals["n0"][1]) and fit.intervals["n0"][0] > 0
        ahead, behind = margin > AIC_MARGIN, margin < -AIC_MARGIN
        verdicts.append(SUPPORTED if bounded and ahead else NOT if behind and not bounded else UNDECIDED)
        name = min(("power", "linear"), key=lambda law: aic[law])
        said.append(f"{resource}: {fit.notes[0]} AIC of the {name} law less that of the saturating one: {margin:+.1f}")
    return Finding(
        statement="Learning efficiency saturates: k(N) = K_max / (1 + N0 / N).",
        verdict=_together(verdicts),
        evidence="; ".join(said) or "no saturating fit",
    )


def data_reuse(rows: dict[str, list[Reuse]]) -> Finding:
    """Finding 4: final loss against the smallest reuse factor."""
    statement = "With D_total fixed, loss hardly depends on reuse up to 25 and degrades visibly at 100."
    if not rows:
        return Finding(statement=statement, verdict=NO_DATA, evidence="no runs with several reuse factors")
    said, verdicts = [], []
    for model, found in rows.items():
        mild = [r for r in found[1:] if r.tau <= 25]
        heavy = [r for r in found if r.tau >= 100]
        harmless = all(r.apart_low < HARMLESS for r in mild)
        hurt = bool(heavy) and heavy[-1].apart_low > 0
        refuted = any(r.apart_low > HARMLESS for r in mild) or (bool(heavy) and heavy[-1].apart_high < 0)
        verdicts.append(SUPPORTED if harmless and hurt and mild else NOT if refuted else UNDECIDED)
        parts = [f"τ = {r.tau:g}: {r.apart:+.4f} ({r.apart_low:+.4f} to {r.apart_high:+.4f})" for r in found[1:]]
        said.append(f"{model}, final loss less that of τ = {found[0].tau:g}: {', '.join(parts)}")
    return Finding(statement=statement, verdict=_together(verdicts), evidence="; ".join(said))


def crossing(fit: Fit | None) -> Finding:
    """Under equal compute the second largest size is ahead of the largest at first."""
    statement = (
        "Under equal compute the second largest size is ahead of the largest at first; their curves cross later."
    )
    if fit is None or len(np.unique(fit.fitted.n)) < 2:
        return Finding(statement=statement, verdict=NO_DATA, evidence="needs two sizes against compute")
    pair = tuple(fit.models)[-2:]
    found = [c for c in planner.crossings(fit) if (c.smaller, c.larger) == pair]
    if not found or np.isnan(found[0].budget.value):
        return Finding(statement=statement, verdict=NOT, evidence=f"{pair[0]} and {pair[1]} do not cross near the data")
    at = found[0].budget
    overlap = fit.fitted.log_x[-1][fit.fitted.mask[-1]].min()
    inside = np.log10(at.value) > overlap
    where = f"{pair[1]} overtakes {pair[0]} at {at.value:.2g} FLOPs ({at.low:.2g} to {at.high:.2g})"
    verdict = SUPPORTED if inside and np.log10(at.low) > overlap else UNDECIDED if inside else NOT
    return Finding(
        statement=statement, verdict=verdict, evidence=f"{where}; its first evaluation is at {10**overlap:.2g}"
    )


def group_size(runs: list[Run]) -> Finding:
    """Larger groups are better per sample, and the best group grows with compute."""
    statement = "A larger rollout group is better per prompt; the best group grows with the compute budget."
    swept = varied(runs, "grpo.group_size")
    if not swept:
        return Finding(statement=statement, verdict=NO_DATA, evidence="no runs with several group sizes")
    said, verdicts = [], []
    for model, values in swept.items():
        final = {g: float(mean_curve(group, "samples")[1][-5:].mean()) for g, group in values.items()}
        rank = _rank_correlation(list(final), list(final.values()))
        best = [g for _, g in best_by_budget({g: mean_curve(group, "flops_paper") for g, group in values.items()})]
        grows = bool(best) and best[-1] > best[0] and best == sorted(best)
        verdicts.append(SUPPORTED if rank < -0.6 and grows else NOT if rank > 0.6 else UNDECIDED)
        ends = ", ".join(f"G = {g:g}: {loss:.3f}" for g, loss in final.items())
        said.append(f"{model}: final loss {ends}; best G as compute grows: {', '.join(f'{g:g}' for g in best) or '–'}")
    return Finding(statement=statement, verdict=_together(verdicts), evidence="; ".join(said))


def transfer(runs: list[Run]) -> Finding:
    """Which suites improve: statement of the paper's section 3.5, as numbers for each suite."""
    statement = "Training transfers within the domain and hardly beyond it."
    named = suites(runs)
    if len(named) < 2:
        return Finding(statement=statement, verdict=NO_DATA, evidence="the runs evaluate fewer than two suites")
    said = []
    for suite, key in named.items():
        moved = [after - before for _, _, before, after in changes(runs, key)]
        if moved:
            said.append(f"{suite}: mean change of loss {np.mean(moved):+.3f} over {len(moved)} models")
    return Finding(
        statement=statement,
        verdict=UNDECIDED,
        evidence="; ".join(said) + " (which suites are in domain is not recorded)",
    )


def _rank_correlation(x, y) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(np.asarray(values))) for values in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if len(ranks[0]) > 1 else 0.0


def _least(rows: dict, field: str) -> tuple[float, str]:
    named = {name: getattr(row, field) for name, row in rows.items() if np.isfinite(getattr(row, field))}
    name = min(named, key=lambda one: named[one]) if named else "no baseline"
    return named.get(name, float("nan")), name


def _together(verdicts: list[str]) -> str:
    """One verdict only where all parts agree."""
    if not verdicts:
        return NO_DATA
    return verdicts[0] if len(set(verdicts)) == 1 else UNDECIDED
