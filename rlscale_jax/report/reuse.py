"""Data reuse: the set-up of the study, loss for each reuse factor at the same number of prompts, and how far apart."""

import numpy as np

from rlscale_jax import laws
from rlscale_jax.laws.reuse import Reuse, reuse
from rlscale_jax.report import commands, style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.study import Run, StudyData
from rlscale_jax.report.sweeps import mean_curve, plot_values, varied
from rlscale_jax.report.tables import Table, between, show

FIELD = "data.reuse_factor"


def reuse_rows(runs: list[Run]) -> dict[str, list[Reuse]]:
    """{model: reuse analysis} of models whose runs differ in data.reuse_factor and reach the same D_total."""
    found = {}
    for model, values in varied(runs, FIELD).items():
        curves = {tau: mean_curve(group, "samples") for tau, group in values.items()}
        reach = max((x.max() for x, _ in curves.values() if len(x)), default=0.0)
        whole = {t: c for t, c in curves.items() if len(c[0]) >= laws.MIN_POINTS and c[0].max() >= 0.9 * reach}
        if len(whole) > 1:
            found[model] = reuse(whole)
    return found


def reuse_items(data: StudyData) -> list[Picture | Missing | Table]:
    """The set-up, and for each model that was swept the curves and their table; gaps in words."""
    swept = varied(data.runs, FIELD)
    papers = {"base": "Figures 7 and 8", "instruct": "Figure 10"}
    items: list[Picture | Missing | Table] = []
    if swept:
        items.append(_schedule_picture(next(iter(swept.values()))))
    rows = reuse_rows(data.runs)
    for model, values in swept.items():
        items.append(_picture(model, values))
        if model in rows:
            items.append(_table(model, rows[model], values))
    for start, paper in papers.items():
        if not any(("instruct" in model) == (start == "instruct") for model in swept):
            title = "Data reuse" + (", instruct" if start == "instruct" else "")
            items.append(Missing(title=title, reason="no runs with several reuse factors", paper=paper,
                                 command=commands.command("reuse", data, start=start)))  # fmt: skip
    return items


def _picture(model: str, values: dict[float, list[Run]]) -> Picture:
    figure, axes = style.canvas(width=5.2, height=3.6)
    plot_values(axes[0, 0], {tau: mean_curve(group, "samples") for tau, group in values.items()}, "τ = {:g}")
    axes[0, 0].set_xlabel("data D (prompts, repeats counted)")
    axes[0, 0].set_ylabel("test loss")
    axes[0, 0].legend(ncols=2)
    caption = f"{model}: the same number of prompts in all, each unique prompt seen τ times; lines are power laws."
    paper = "Figure 10" if "instruct" in model else "Figure 8"
    return Picture(name=f"reuse_{model.replace(' ', '_')}", title=f"Data reuse, {model}", caption=caption,
                   figure=figure, paper=paper)  # fmt: skip


def _schedule_picture(values: dict[float, list[Run]]) -> Picture:
    """How each run walks its subset: difficulty rises within an epoch and starts again."""
    figure, axes = style.canvas(width=5.2, height=0.5 + 0.45 * len(values))
    panel = axes[0, 0]
    progress = np.linspace(0, 1, 4000, endpoint=False)
    for row, (tau, group) in enumerate(values.items()):
        unique = group[0].setting("data.num_unique")
        difficulty = row + 0.8 * ((progress * tau) % 1)
        panel.fill_between(progress, row, difficulty, color=style.CATEGORIES[0], alpha=0.6, lw=0)
        named = f"τ = {tau:g}, {unique if unique else 'all'} unique"
        panel.annotate(named, (1.01, row + 0.2), annotation_clip=False, fontsize=8)
    panel.set_yticks([])
    panel.set_xlim(0, 1)
    panel.grid(False)
    panel.set_xlabel("share of training")
    panel.set_ylabel("difficulty")
    return Picture(name="reuse_setup", title="Set-up of the reuse study", figure=figure, paper="Figure 7",
                   caption="Each run repeats its own subset τ times, easy to hard in every epoch.")  # fmt: skip


def _table(model: str, rows: list[Reuse], values: dict[float, list[Run]]) -> Table:
    """Slope, final loss and its difference to the smallest factor, for each reuse factor."""
    return Table(
        name=f"reuse_{model.replace(' ', '_')}", title=f"Data reuse, {model}",
        header=("τ", "k", "E", "final loss", "difference to the smallest τ", "90 % interval", "runs"),
        rows=[
            (show(r.tau), f"{r.k:.4f} ± {r.k_error:.4f}", f"{r.E:.3f}", f"{r.final:.4f} ± {r.final_error:.4f}",
             f"{r.apart:+.4f}", between((r.apart_low, r.apart_high), "+.4f"), str(len(values[r.tau])))
            for r in rows
        ],
        caption="Errors are standard errors",
    )  # fmt: skip
