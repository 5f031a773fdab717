"""The paper's findings as statements that the data at hand support, contradict or leave undecided, with numbers."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rlscale_jax import laws
from rlscale_jax.laws import Fit, comparison, holdout, planner
from rlscale_jax.laws.families import groups
from rlscale_jax.laws.reuse import Reuse
from rlscale_jax.report.groups import fits_of
from rlscale_jax.report.study import Run
from rlscale_jax.report.sweeps import best_by_budget, final, mean_curve, varied
from rlscale_jax.report.transfer import changes, in_domain, suites

SUPPORTED, NOT, UNDECIDED, NO_DATA = "supported", "not supported", "undecided", "no data"
AIC_MARGIN = 2.0  # differences below it do not separate laws
HARMLESS = 0.02  # a change of final loss that counts as "hardly"
UNBOUNDED = ("power", "log", "linear")  # laws of k(N) that do not saturate
LATE_SHARES = (0.5, 0.75)  # of each curve, predicted from the rest; the paper's base fits keep about the first quarter
GOOD_FIT, BAD_FIT = 0.95, 0.5  # R² in log loss
TIE = 0.1  # relative difference of two errors that decides nothing
REACH = 1.645  # standard errors, 90 % two-sided


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
        alone = ", one run a size" if (fit.fitted.num_runs < 2).all() else ""
        said.append(
            f"{resource}: k goes from {k[0]:.3f} ({low[0]:.3f} to {high[0]:.3f}) to {k[-1]:.3f} ({low[-1]:.3f} to "
            f"{high[-1]:.3f}), rank correlation with size {rank:.2f}{alone}"
        )
    return Finding(
        statement="Larger models learn more efficiently, in compute and in data (k grows with N).",
        verdict=_together(verdicts),
        evidence="; ".join(said) or "one size only",
    )


def power_law(fits: dict[str, Fit], rivals: dict[str, list[comparison.Row]]) -> Finding:
    """Finding 2: fit, and prediction of the largest size and of late training better than the baselines."""
    said, verdicts = [], []
    for resource, fit in fits.items():
        table = {row.name: row for row in rivals.get(resource, [])}
        ours = table.get(fit.law)
        parts = [_beats(*_late_errors(fit, share)) for share in LATE_SHARES]
        words = [f"R² (log) {fit.r2_log:.3f}"]
        for share, part in zip(LATE_SHARES, parts, strict=True):
            words.append(f"last {share:.0%} of steps from the rest: {part.words}")
        if ours and np.isfinite(ours.largest_predicted):
            base = {name.removeprefix("baseline: "): row for name, row in table.items() if name.startswith("baseline")}
            # E is free in the law, so its word on another size is the slope: the level is calibrated, as published.
            slopes = {name: base[name].largest_calibrated for name in ("constant", "slope of the largest fitted size")}
            parts.append(_beats(ours.largest_calibrated, slopes))
            whole = _beats(
                ours.largest_predicted, {"largest fitted size": base["largest fitted size"].largest_predicted}
            )
            words.append(f"slope of the largest size: {parts[-1].words}; its level too: {whole.words}")
        good = [fit.r2_log > GOOD_FIT, *(part.better for part in parts)]
        bad = fit.r2_log < BAD_FIT or all(part.worse for part in parts)
        verdicts.append(SUPPORTED if all(good) and len(good) > 3 else NOT if bad else UNDECIDED)
        said.append(f"{resource}: " + "; ".join(words))
    return Finding(
        statement="Loss follows a power law of the resource, which predicts the largest size and late training.",
        verdict=_together(verdicts),
        evidence=" ".join(said) + " (log RMSE, law against the best baseline)" if said else "no fit",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Contest:
    better: bool
    worse: bool
    words: str


def _beats(ours: float, others: dict[str, float]) -> _Contest:
    """Whether an error is clearly below or above the least of others: differences under a tenth are a tie."""
    known = {name: error for name, error in others.items() if np.isfinite(error)}
    if not known or not np.isfinite(ours):
        return _Contest(better=False, worse=False, words="too few points or sizes")
    name = min(known, key=lambda one: known[one])
    words = f"{ours:.4f} against {known[name]:.4f} ({name})"
    return _Contest(better=ours < (1 - TIE) * known[name], worse=ours > (1 + TIE) * known[name], words=words)


def _late_errors(fit: Fit, share: float) -> tuple[float, dict[str, float]]:
    """(the law's, {baseline: its}) log RMSE on the last `share` of each curve, from the points before.

    A line of a model's own is a power law too and so no baseline here.
    """
    last = int(share * fit.fitted.mask.sum(1).min())
    if fit.fitted.mask.sum(1).min() - last < laws.MIN_POINTS:
        return float("nan"), {}
    early = laws.Protocol(name="intra", drop_last=last)
    scores = holdout.score(
        laws.fit(fit.fitted, resource=fit.resource, law=fit.law, objective=fit.objective, protocol=early)
    )
    others = {name: holdout.pooled_log_rmse(scores, name, "predicted") for name in ("last value", "constant")}
    return holdout.pooled_log_rmse(scores, fit.law, "predicted"), others


def saturation(fits: dict[str, Fit], rivals: dict[str, list[comparison.Row]]) -> Finding:
    """Finding 3: N0 bounded, and the saturating law ahead of laws that do not saturate."""
    said, verdicts = [], []
    for resource, fit in fits.items():
        if fit.law != "saturating" or resource not in rivals:
            continue
        aic = {row.name: row.aic for row in rivals[resource]}
        name = min(UNBOUNDED, key=lambda law: aic[law])
        margin = aic[name] - aic["saturating"]
        bounded = np.isfinite(fit.intervals["n0"][1]) and fit.intervals["n0"][0] > 0
        ahead, behind = margin > AIC_MARGIN, margin < -AIC_MARGIN
        verdicts.append(SUPPORTED if bounded and ahead else NOT if behind and not bounded else UNDECIDED)
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
        harmless = all(r.apart_high < HARMLESS for r in mild)
        hurt = bool(heavy) and heavy[-1].apart_low > 0
        refuted = any(r.apart_low > HARMLESS for r in mild) or (bool(heavy) and heavy[-1].apart_high < 0)
        verdicts.append(SUPPORTED if harmless and hurt and mild else NOT if refuted else UNDECIDED)
        parts = [f"τ = {r.tau:g}: {r.apart:+.4f} ({r.apart_low:+.4f} to {r.apart_high:+.4f})" for r in found[1:]]
        said.append(f"{model}, final loss less that of τ = {found[0].tau:g}: {', '.join(parts)}")
    return Finding(statement=statement, verdict=_together(verdicts), evidence="; ".join(said))


def crossing(fit: Fit | None) -> Finding:
    """Under equal compute the second largest size is ahead of the largest at first: by the points, and by the law."""
    statement = (
        "Under equal compute the second largest size is ahead of the largest at first; their curves cross later."
    )
    if fit is None or len(np.unique(fit.fitted.n)) < 2:
        return Finding(statement=statement, verdict=NO_DATA, evidence="needs two sizes against compute")
    pair = tuple(fit.models)[-2:]
    ends = _ahead(fit.fitted)
    if ends is None:
        return Finding(statement=statement, verdict=NO_DATA, evidence=f"{pair[0]} and {pair[1]} share too few budgets")
    (first, first_error), (last, last_error) = ends
    at = next(c.budget for c in planner.crossings(fit) if (c.smaller, c.larger) == pair)
    law = f"{pair[1]} overtakes at {at.value:.2g} FLOPs" if np.isfinite(at.value) else "no crossing near the data"
    behind, ahead = first > REACH * first_error, last < -REACH * last_error
    refuted = first < -REACH * first_error
    return Finding(
        statement=statement,
        verdict=SUPPORTED if behind and ahead else NOT if refuted else UNDECIDED,
        evidence=f"log10 loss of {pair[1]} less that of {pair[0]} at equal compute, over the first third of budgets "
        f"that both have spent: {first:+.4f} ± {REACH * first_error:.4f}, over the last third: {last:+.4f} ± "
        f"{REACH * last_error:.4f} (90 %); by the law: {law}",
    )


def _ahead(curves: laws.Curves) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Mean log10 loss of the largest model less the second largest's, with its error, over the first and the last third
    (in log) of the budgets that both have spent; None where either has fewer than 3 points in one."""
    points = []
    for row in (-2, -1):
        x, loss, _ = curves.points(row)
        order = np.argsort(x)
        points.append((np.log10(x)[order], np.log10(loss)[order]))
    low, high = max(u[0] for u, _ in points), min(u[-1] for u, _ in points)
    thirds = []
    for start in (low, high - (high - low) / 3):
        stop = start + (high - low) / 3
        inside = [(u >= start) & (u <= stop) for u, _ in points]
        if high <= low or min(on.sum() for on in inside) < laws.MIN_POINTS:
            return None
        # A line through each model's points in the window, at its middle: the points lie at different budgets.
        fits = [_at_middle(u[on], z[on], (start + stop) / 2) for (u, z), on in zip(points, inside, strict=True)]
        thirds.append((float(fits[1][0] - fits[0][0]), float(np.hypot(fits[0][1], fits[1][1]))))
    return thirds[0], thirds[1]


def _at_middle(u: np.ndarray, z: np.ndarray, at: float) -> tuple[float, float]:
    """(value, standard error) of a least-squares line at `at`; neighbouring points count by their correlation."""
    slope, level = np.polyfit(u - at, z, 1)
    residual = z - level - slope * (u - at)
    worth = max(comparison.effective_points(residual), 3.0)
    leverage = 1 / worth + (u.mean() - at) ** 2 / max(((u - u.mean()) ** 2).mean() * worth, 1e-12)
    return float(level), float(residual.std() * np.sqrt(len(u) / max(len(u) - 2, 1) * leverage))


def group_size(runs: list[Run]) -> Finding:
    """Larger groups are better per sample, and the best group grows with compute."""
    statement = "A larger rollout group is better per prompt; the best group grows with the compute budget."
    swept = varied(runs, "grpo.group_size")
    if not swept:
        return Finding(statement=statement, verdict=NO_DATA, evidence="no runs with several group sizes")
    said, verdicts = [], []
    for model, values in swept.items():
        ends = {g: final(group) for g, group in values.items()}
        few, many = ends[min(ends)], ends[max(ends)]
        gain, error = few.loss - many.loss, REACH * float(np.hypot(few.error, many.error))
        best = [g for _, g in best_by_budget({g: mean_curve(group, "flops_paper") for g, group in values.items()})]
        grows = bool(best) and best[-1] > best[0] and best == sorted(best)
        verdicts.append(SUPPORTED if gain > error and grows else NOT if gain < -error else UNDECIDED)
        losses = ", ".join(f"G = {g:g}: {end.loss:.3f} ± {REACH * end.error:.3f}" for g, end in ends.items())
        said.append(
            f"{model}: final loss {losses}; best G as compute grows: {', '.join(f'{g:g}' for g in best) or '–'}"
        )
    return Finding(statement=statement, verdict=_together(verdicts), evidence="; ".join(said))


def transfer(runs: list[Run]) -> Finding:
    """The paper's section 3.5, from the mean change of loss on suites of the trained domain and of others."""
    statement = "Training transfers within the domain and hardly beyond it."
    named = suites(runs)
    if len(named) < 2:
        return Finding(statement=statement, verdict=NO_DATA, evidence="the runs evaluate fewer than two suites")
    moved = {suite: [after - before for _, _, before, after in changes(runs, key)] for suite, key in named.items()}
    means = {suite: float(np.mean(values)) for suite, values in moved.items() if values}
    inside = [value for suite, value in means.items() if in_domain(suite)]
    outside = [value for suite, value in means.items() if not in_domain(suite)]
    said = [
        f"{suite}{'' if in_domain(suite) else ' (other domain)'}: {value:+.3f} over {len(moved[suite])} models"
        for suite, value in means.items()
    ]
    verdict = UNDECIDED
    if inside and outside:
        here, there = float(np.mean(inside)), float(np.mean(outside))
        learned, carried = here < -HARMLESS, there < -HARMLESS and there < here / 2
        verdict = SUPPORTED if learned and there > -HARMLESS else NOT if carried or not learned else UNDECIDED
    return Finding(statement=statement, verdict=verdict, evidence="mean change of loss on " + "; ".join(said))


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
