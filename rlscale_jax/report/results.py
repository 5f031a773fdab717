"""The numbers of a study as tables: end losses, fits, rival laws, sensitivity, held-out error, settings."""

import numpy as np

from rlscale_jax import laws
from rlscale_jax.laws import Fit, comparison, holdout, sensitivity
from rlscale_jax.report.study import StudyData
from rlscale_jax.report.sweeps import leaves
from rlscale_jax.report.tables import Table, between, show

# pass@1 on the study's held-out set by size in 1e9 (the paper's Table 4).
PUBLISHED_PASS = {
    "Qwen2.5-Base": {0.5: 0.070, 1.5: 0.116, 3: 0.182, 7: 0.338, 14: 0.450, 32: 0.540, 72: 0.607},
    "Qwen2.5-Instruct": {0.5: 0.078, 1.5: 0.138, 3: 0.216, 7: 0.380, 14: 0.488, 32: 0.590, 72: 0.617},
    "Qwen3": {0.6: 0.178, 1.7: 0.288, 4: 0.418, 8: 0.366, 14: 0.388, 30: 0.528, 32: 0.412, 235: 0.602},
    "GPT-OSS": {20: 0.556, 120: 0.660},
}


def end_losses(tables: dict[str, laws.Table]) -> Table:
    """Test loss at each run's last evaluation, by group: mean, standard deviation and standard error over runs."""
    rows = [row for table in tables.values() for row in _end_rows(table)]
    header = ("model", "N", "test loss", "std", "SEM", "SE of one evaluation", "runs")
    caption = "One run has no standard deviation; SE is the binomial error of the test set"
    title = "Test loss at the end"
    return Table(name="end_losses", title=title, header=header, rows=rows, caption=caption, paper="Table 5")


def _end_rows(table: laws.Table) -> list[tuple[str, ...]]:
    rows = []
    models = sorted(set(table.model.tolist()), key=lambda m: (table["n_params"][table.model == m][0], m))
    for model in models:
        part = table.select(table.model == model)
        seeds = np.nan_to_num(part["seed"])
        last = np.array([part["test_loss"][seeds == s][_order(part, seeds == s)][-1] for s in np.unique(seeds)])
        std = float(last.std(ddof=1)) if len(last) > 1 else float("nan")
        error = np.nanmean(part["test_loss_se"]) if part.has("test_loss_se") else float("nan")
        rows.append(
            (model, show(part["n_params"][0]), f"{last.mean():.4f}", show(std, ".4f"),
             show(std / np.sqrt(len(last)), ".4f"), show(float(error), ".4f"), str(len(last)))
        )  # fmt: skip
    return rows


def _order(part: laws.Table, on: np.ndarray) -> np.ndarray:
    key = part["step"] if part.has("step") else part["samples" if part.has("samples") else "compute_flops"]
    return np.argsort(key[on], kind="stable")


def fits_table(fits: dict[tuple[str, str, str], Fit]) -> Table:
    """K_max, N0 and R² of every fit {(group, resource, protocol): fit} with intervals."""
    rows = []
    for (group, resource, protocol), fit in fits.items():
        if fit.law != "saturating":
            continue
        ends, at = fit.intervals, fit.parameters
        rows.append(
            (group, resource, protocol, show(at["k_max"], ".4f"), between(ends["k_max"], ".3f"), show(at["n0"]),
             between(ends["n0"]), f"{fit.r2:.4f}", f"{fit.r2_log:.4f}")
        )  # fmt: skip
    header = ("models", "X", "protocol", "K_max", "interval", "N0", "interval", "R²", "R² (log)")
    return Table(name="fits", title="Fits of the saturating law", header=header, rows=rows, paper="Table 6",
                 caption="R² in raw loss, pooled over the fitted points around one mean")  # fmt: skip


def rivals_table(rows: list[comparison.Row], *, name: str, resource: str) -> Table:
    """Rival laws and baselines by fit and by held-out error."""
    cells = [
        (r.name, str(r.num_parameters), show(r.log_rmse), show(r.aic), show(r.largest_predicted),
         show(r.largest_calibrated), show(r.late))
        for r in rows
    ]  # fmt: skip
    header = ("k(N)", "parameters", "log RMSE", "AIC − best", "largest size, predicted", "calibrated", "late half")
    caption = "log RMSE in log10 loss; predicted: nothing of the held-out size used, calibrated: its E is"
    return Table(name=name, title=f"Rival laws, {resource}", header=header, rows=cells, caption=caption)


def held_out_table(scores: list[holdout.Score], *, name: str, title: str) -> Table:
    """R² and log-RMSE on held-out points, model by model, predicted apart from calibrated."""
    rows = [(s.model, s.method, s.uses, show(s.r2, ".3f"), f"{s.log_rmse:.4f}", str(s.num_points)) for s in scores]
    return Table(name=name, title=title, header=("model", "by", "uses", "R²", "log RMSE", "points"), rows=rows)


def sensitivity_table(variants: list[sensitivity.Variant], *, name: str, resource: str) -> Table:
    """What the law says when one choice is changed."""
    rows = [
        (
            v.choice,
            v.value,
            show(v.k_max, ".4f"),
            show(v.n0),
            show(v.k_largest, ".4f"),
            show(v.r2, ".4f"),
            v.skipped or "–",
        )
        for v in variants
    ]
    header = ("choice", "value", "K_max", "N0", "k(largest)", "R²", "left out because")
    return Table(name=name, title=f"Sensitivity, {resource}", header=header, rows=rows)


def published_pass(tables: dict[str, laws.Table], *, real: bool) -> Table:
    """pass@1 of the models here, and where they have published sizes (`real`) the paper's Table 4 beside them."""
    rows = [("published", family, f"{size:g}B", f"{value:.3f}") for family, sizes in PUBLISHED_PASS.items()
            for size, value in sizes.items()]  # fmt: skip
    here = [("here", row[0], row[1], f"{1 - float(row[2]):.3f}") for row in end_losses(tables).rows]
    caption = (
        "Published rows are quoted; they compare only on the study's held-out set"
        if real
        else ("A ladder's task is its own: the paper's rows (Qwen3, GPT-OSS) have nothing to compare with here")
    )
    return Table(name="pass_at_1", title="pass@1 at the end", header=("source", "model", "N", "pass@1"),
                 rows=here + (rows if real else []), paper="Table 4", caption=caption)  # fmt: skip


def settings_table(data: StudyData) -> Table | None:
    """The settings of the runs; where they differ between runs, all values."""
    flat = [dict(leaves(run.config)) for run in data.runs if run.config]
    if not flat:
        return None
    rows = []
    for name in flat[0]:
        values = list(dict.fromkeys(str(one.get(name)) for one in flat))
        if name.split(".")[0] in ("grpo", "optimizer", "sampling", "evaluation", "data", "num_steps"):
            rows.append((name, ", ".join(values[:8]) + (" …" if len(values) > 8 else "")))
    return Table(name="settings", title="Settings of the runs", header=("setting", "value"), rows=rows, paper="Table 2")
