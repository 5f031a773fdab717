"""Curves with a floor: the loss decomposition (intra and inter) and the S-curve beside the log-linear law."""

import dataclasses

import numpy as np

from rlscale_jax import laws
from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.decomposition import Decomposition, decompose
from rlscale_jax.laws.protocols import Protocol, split
from rlscale_jax.laws.sigmoid import sigmoids
from rlscale_jax.report import style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.tables import Table, show

EARLY_SHARE = 0.3  # of the steps, as in the paper's Table 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decomposed:
    """The decomposition fitted to early steps (`early`) and to every step (`whole`) of curves against data."""

    curves: Curves
    early: Decomposition
    whole: Decomposition


def decomposed(table: laws.Table) -> Decomposed | str:
    """Both decompositions, or why there are none."""
    if not table.has("samples"):
        return "the curves have no samples"
    curves = laws.gather(table, "data")
    late = round((1 - EARLY_SHARE) * curves.mask.sum(1).min())
    try:
        early = split(curves, Protocol(name="intra", drop_last=late))[0]
        return Decomposed(curves=curves, early=decompose(early), whole=decompose(curves))
    except ValueError as error:
        return str(error)


def decomposition_picture(found: Decomposed | str, *, name: str, command: str) -> Picture | Missing:
    """The curves with both decompositions; `command` makes what they lack."""
    if isinstance(found, str):
        paper = "Figure 15 and Table 7"
        return Missing(title="Loss decomposition", reason=found, paper=paper, command=command)
    figure, axes = style.canvas(2, width=4.4, height=3.5, sharey=True)
    curves, colors = found.curves, style.size_colors(len(found.curves.n))
    for panel, fit, title in zip(
        axes[0], (found.early, found.whole), ("fitted to the first 30 % of steps", "fitted to every step"), strict=True
    ):
        ends = []
        for i, model in enumerate(curves.names):
            x, loss, _ = curves.points(i)
            panel.plot(x, loss, style.MARKERS[i % 10], ms=2.2, color=colors[i], alpha=0.4)
            grid = np.geomspace(x.min(), x.max(), 200)
            line = fit.loss(model, grid)
            known = x[round(EARLY_SHARE * len(x)) - 1] if fit is found.early else x.max()
            panel.plot(grid[grid <= known], line[grid <= known], "-", color=colors[i])
            panel.plot(grid[grid >= known], line[grid >= known], "--", color=colors[i], lw=1.1)
            ends.append((model, grid[-1], line[-1]))
        style.log_loss_axis(panel, float(curves.loss[curves.mask].min()), float(curves.loss[curves.mask].max()))
        style.end_labels(panel, ends)
        panel.set_title(title)
        panel.set_xlabel("data D (prompts)")
        style.log_axis(panel)
    axes[0, 0].set_ylabel("test loss")
    caption = (
        f"L = L_inf + (N_c / N)^α + ΔL(N) (1 − P). First 30 %: L_inf {found.early.l_inf:.3f}, "
        f"α {found.early.alpha:.2f}, β {found.early.beta:.2f}, R² {found.early.r2:.3f}; "
        f"every step: L_inf {found.whole.l_inf:.3f}, "
        f"α {found.whole.alpha:.2f}, β {found.whole.beta:.2f}, R² {found.whole.r2:.3f}. "
        + " ".join(dict.fromkeys((*found.early.notes, *found.whole.notes)))
    )
    return Picture(name=name, title="Loss decomposition", caption=caption, figure=figure, paper="Figure 15")


def decomposition_table(found: Decomposed, *, name: str) -> Table:
    """D0, dL and the effective slope at D0 of every model, from early and from all steps."""
    rows = [
        (model, show(found.early.d0[model], ".4g"), f"{found.early.dl[model]:.4f}", show(found.whole.d0[model], ".4g"),
         f"{found.whole.dl[model]:.4f}", f"{found.whole.slope_at_d0(model):.3f}")
        for model in found.curves.names
    ]  # fmt: skip
    header = ("model", "D0 (30 %)", "ΔL (30 %)", "D0 (all)", "ΔL (all)", "slope at D0")
    caption = f"Pooled R² {found.early.r2:.3f} (first 30 % of steps), {found.whole.r2:.3f} (all)"
    return Table(name=name, title="Loss decomposition", header=header, rows=rows, caption=caption, paper="Table 7")


def sigmoid_table(curves: Curves, *, name: str) -> Table:
    """Every model's S-curve with its floor, beside the error of its own power law."""
    own = laws.fit(curves, resource=curves.resource, law="loglinear")
    rows = [
        (s.model, f"{s.start:.3f}", f"{s.ceiling:.3f}" + ("" if s.identified else " (extrapolated)"), show(s.middle),
         f"{s.steepness:.2f}", f"{s.log_rmse:.4f}", f"{own.models[s.model].log_rmse:.4f}")
        for s in sigmoids(curves)
    ]  # fmt: skip
    header = (
        "model",
        "pass@1 at first",
        "ceiling",
        f"half at ({curves.resource})",
        "steepness",
        "log RMSE",
        "power law's",
    )
    caption = "R0 + (A - R0) / (1 + (X_mid / X)^B), as in ScaleRL"
    return Table(
        name=name, title=f"S-curves with a floor, {curves.resource}", header=header, rows=rows, caption=caption
    )
