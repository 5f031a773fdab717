"""Curves with a floor: the loss decomposition (intra and inter) and the S-curve beside the log-linear law."""

import dataclasses

import numpy as np
from matplotlib.axes import Axes

from rlscale_jax import laws
from rlscale_jax.laws.curves import Curves
from rlscale_jax.laws.decomposition import Decomposition, decompose, with_calibrated
from rlscale_jax.laws.protocols import Protocol, split
from rlscale_jax.laws.sigmoid import sigmoids
from rlscale_jax.report import style
from rlscale_jax.report.figures import Missing, Picture
from rlscale_jax.report.tables import Table, show

EARLY_SHARE = 0.3  # of the steps, as in the paper's Table 7
EARLY_POINTS = 5  # at least: an S-curve through fewer says nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decomposed:
    """The decomposition of curves against data: from early steps (`early`), from every step (`whole`), and from every
    size but the largest, whose D0 and dL are calibrated (`inter`; None where too few sizes are left).

    `num_early`: points of each curve that are early, a `share` of the shortest.
    """

    curves: Curves
    num_early: int
    share: float
    early: Decomposition
    whole: Decomposition
    inter: Decomposition | None


def decomposed(table: laws.Table) -> Decomposed | str:
    """All of them, or why there are none."""
    if not table.has("samples"):
        return "the curves have no samples"
    curves = laws.gather(table, "data")
    shortest = int(curves.mask.sum(1).min())
    num_early = min(max(round(EARLY_SHARE * shortest), EARLY_POINTS), shortest)
    try:
        return Decomposed(
            curves=curves, num_early=num_early, share=num_early / shortest, whole=decompose(curves),
            early=decompose(curves.keep(np.cumsum(curves.mask, 1) <= num_early)), inter=_inter(curves),
        )  # fmt: skip
    except ValueError as error:
        return str(error)


def _inter(curves: Curves) -> Decomposition | None:
    fitted, held = split(curves, Protocol(name="inter"))
    return with_calibrated(decompose(fitted), held) if len(np.unique(fitted.n)) >= 3 else None


def decomposition_picture(found: Decomposed | str, *, name: str, command: str) -> Picture | Missing:
    """The curves with the decompositions of the paper's two settings; `command` makes what they lack."""
    if isinstance(found, str):
        paper = "Figure 15 and Table 7"
        return Missing(title="Loss decomposition", reason=found, paper=paper, command=command)
    figure, axes = style.canvas(2, width=4.4, height=3.5, sharey=True)
    loss = found.curves.loss[found.curves.mask]
    other = found.inter or found.whole
    panels = (
        (found.early, f"fitted to the first {found.share:.0%} of steps"),
        (other, "largest size held out" if found.inter else "fitted to every step"),
    )
    for panel, (fit, title) in zip(axes[0], panels, strict=True):
        ends = _plot_decomposition(panel, found, fit)
        style.log_loss_axis(panel, float(loss.min()), float(loss.max()))
        style.end_labels(panel, ends)
        panel.set_title(title)
        panel.set_xlabel("data D (prompts)")
        style.log_axis(panel, counts=True)
    axes[0, 0].set_ylabel("test loss")
    caption = (
        f"L = L_inf + (N_c / N)^α + ΔL(N) (1 − P). First {found.share:.0%} of steps: {_shared(found.early)}; "
        + (f"largest size held out, its D0 and ΔL calibrated: {_shared(found.inter)}; " if found.inter else "")
        + f"every step: {_shared(found.whole)}. Dashed: not fitted to. "
        + " ".join(dict.fromkeys((*found.early.notes, *other.notes)))
    )
    return Picture(name=name, title="Loss decomposition", caption=caption, figure=figure, paper="Figure 15")


def _shared(fit: Decomposition) -> str:
    return f"L_inf {fit.l_inf:.3f}, α {fit.alpha:.2f}, β {fit.beta:.2f}, R² {fit.r2:.3f}"


def _plot_decomposition(panel: Axes, found: Decomposed, fit: Decomposition) -> list[tuple[str, float, float]]:
    """Points and fitted lines of every model, dashed where the fit has not seen it; where each line ends, by name."""
    curves, ends = found.curves, []
    for i, (model, color) in enumerate(zip(curves.names, style.size_colors(len(curves.n)), strict=True)):
        x, loss, _ = curves.points(i)
        panel.plot(x, loss, style.MARKERS[i % 10], ms=2.2, color=color, alpha=0.4)
        grid = np.geomspace(x.min(), x.max(), 200)
        line = fit.loss(model, grid)
        known = x[found.num_early - 1] if fit is found.early else x.max()
        known = 0.0 if fit is found.inter and curves.n[i] == curves.n.max() else known
        panel.plot(grid[grid <= known], line[grid <= known], "-", color=color)
        panel.plot(grid[grid >= known], line[grid >= known], "--", color=color, lw=1.1)
        ends.append((model, grid[-1], line[-1]))
    return ends


def decomposition_table(found: Decomposed, *, name: str) -> Table:
    """D0, dL and the effective slope at D0 of every model, from early and from all steps."""
    rows = [
        (model, show(found.early.d0[model], ".4g"), f"{found.early.dl[model]:.4f}", show(found.whole.d0[model], ".4g"),
         f"{found.whole.dl[model]:.4f}", f"{found.whole.slope_at_d0(model):.3f}")
        for model in found.curves.names
    ]  # fmt: skip
    early = f"{found.share:.0%}"
    header = ("model", f"D0 ({early})", f"ΔL ({early})", "D0 (all)", "ΔL (all)", "slope at D0")
    caption = f"Pooled R² {found.early.r2:.3f} (first {early} of steps), {found.whole.r2:.3f} (all)"
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
