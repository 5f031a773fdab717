"""The scaling figures: test loss against a resource with fit and forecast, k(N), final loss against size."""

import numpy as np
from matplotlib.axes import Axes

from rlscale_jax.laws import Curves, Fit
from rlscale_jax.laws.families import PLAIN
from rlscale_jax.report import style
from rlscale_jax.report.figures import Picture

AXIS = {"compute": "compute C (FLOPs)", "data": "data D (prompts)"}
FORECAST = 3.0  # how far beyond the data, as a factor of the resource, a law is drawn
PROTOCOLS = {"full": "all points", "inter": "largest size held out", "intra": "late points held out"}


def loss_figure(fits: list[Fit], *, name: str, paper: str, label: str = "") -> Picture:
    """Test loss of every model against the resource, a panel for each fit, with the law and its forecast.

    `label` ends the title where there are several groups of models.
    """
    figure, axes = style.canvas(len(fits), width=5.4 if len(fits) == 1 else 4.6, height=3.7, sharey=True)
    ends = [plot_loss(panel, fit) for panel, fit in zip(axes[0], fits, strict=True)]
    points = np.concatenate([part.loss[part.mask] for fit in fits for part in (fit.fitted, fit.held)])
    lowest = min(points.min(), *(y for end in ends for _, _, y in end))
    for panel, fit, end in zip(axes[0], fits, ends, strict=True):
        style.log_loss_axis(panel, lowest, points.max())
        style.end_labels(panel, end)
        if len(fits) > 1:
            panel.set_title(PROTOCOLS[fit.protocol.name])
    axes[0, 0].set_ylabel("test loss L = 1 − pass@1")
    fit = fits[0]
    r2 = ", ".join(f"{f.r2:.3f} ({PROTOCOLS[f.protocol.name]})" for f in fits)
    caption = (
        f"Test loss against {AXIS[fit.resource]}. Points: means over runs (hollow: kept from the fit). Lines: the "
        f"{fit.law} law, {fit.objective} objective; dashed beyond the points it saw, with the "
        f"{100 * fit.region.confidence:.0f} % interval of k(N). Pooled R² of the fitted points: {r2}."
    )
    title = f"Test loss against {fit.resource}{label}"
    return Picture(name=name, title=title, caption=caption, figure=figure, paper=paper)


def plot_loss(axes: Axes, fit: Fit) -> list[tuple[str, float, float]]:
    """Draws points, fitted lines and forecasts of every model; returns where each line ends, by name."""
    names = list(dict.fromkeys([*fit.fitted.names, *fit.held.names]))
    ends = []
    for i, (name, color) in enumerate(zip(names, style.size_colors(len(names)), strict=True)):
        for curves, face in ((fit.fitted, color), (fit.held, "none")):
            if name in curves.names:
                x, loss, _ = curves.points(curves.names.index(name))
                axes.plot(x, loss, style.MARKERS[i % 10], ms=2.6, mfc=face, mec=color, mew=0.5, alpha=0.6)
        x, n = _together(fit, name)
        ends.append((name, *_draw_law(axes, fit, name, n, x, color)))
    axes.set_xlabel(AXIS[fit.resource])
    style.log_axis(axes, counts=fit.resource == "data")
    return ends


def _together(fit: Fit, name: str) -> tuple[np.ndarray, float]:
    """All resources of a model's points, fitted and held out, and its size."""
    parts = [(c, c.names.index(name)) for c in (fit.fitted, fit.held) if name in c.names]
    return np.concatenate([c.points(row)[0] for c, row in parts]), parts[0][0].n[parts[0][1]]


def _draw_law(axes: Axes, fit: Fit, name: str, n: float, x: np.ndarray, color) -> tuple[float, float]:
    """The fitted line over the points seen, dashed beyond; returns where the forecast ends."""
    known = fit.fitted.points(fit.fitted.names.index(name))[0].max() if name in fit.models else 0.0
    reach = x.max() * (FORECAST if fit.protocol.name == "full" else 1.0)
    grid = np.unique(np.append(np.geomspace(x.min(), reach, 200), min(max(known, x.min()), reach)))
    loss, inside = model_loss(fit, name, n, grid), grid <= known
    axes.plot(grid[inside], loss[inside], "-", color=color)
    axes.plot(grid[grid >= known], loss[grid >= known], "--", color=color, lw=1.1)
    low, high = fit.predict_interval(n, grid)
    shift = loss / fit.predict(n, grid)
    axes.fill_between(grid, low * shift, high * shift, where=grid >= known, color=color, alpha=0.15, lw=0)
    return grid[-1], loss[-1]


def model_loss(fit: Fit, name: str, n: float, x: np.ndarray) -> np.ndarray:
    """The law's loss for a model: with its own E where it was fitted, else with E carried on from the sizes."""
    if name not in fit.models:
        return fit.predict(n, x)
    return np.minimum(10 ** (fit.models[name].E - fit.models[name].k * np.log10(x)), 1.0)


def slope_figure(fits: dict[str, Fit], own: dict[str, Fit], *, name: str, paper: str, label: str = "") -> Picture:
    """k(N) with its interval for each resource, over each model's own slope; a held-out size is marked as predicted.

    Args: fits and own (loglinear: k free for each model) by resource.
    """
    figure, axes = style.canvas(len(fits), width=3.7, height=3.0, sharey=True, sharex=True)
    for panel, resource in zip(axes[0], fits, strict=True):
        _plot_slopes(panel, fits[resource], own[resource])
        panel.set_title(f"against {resource}")
    axes[0, 0].set_ylabel("learning efficiency k")
    axes[0, 0].legend(loc="upper left")
    top = max(panel.get_ylim()[1] for panel in axes[0])
    axes[0, 0].set_ylim(axes[0, 0].get_ylim()[0], top)
    fit = next(iter(fits.values()))
    notes = " ".join(f"{r}: {f.notes[0]}" for r, f in fits.items() if f.law == "saturating" and f.notes)
    caption = (
        f"Slope k of log L against log resource. Points: each model by itself; line and band: the {fit.law} law, "
        f"dotted beyond the sizes it was fitted to; all with {100 * fit.region.confidence:.0f} % intervals. {notes}"
    )
    title = "Learning efficiency k(N)" + (": largest size predicted" if fit.protocol.name == "inter" else "") + label
    return Picture(name=name, title=title, caption=caption, figure=figure, paper=paper)


def _plot_slopes(axes: Axes, fit: Fit, own: Fit) -> None:
    n, color = own.fitted.n, style.CATEGORIES[0]
    k = np.array([m.k for m in own.models.values()])
    low, high = own.k_interval(n)
    axes.errorbar(n, k, np.maximum([k - low, high - k], 0), fmt="o", ms=4, color=style.INK, ecolor="#777777",
                  elinewidth=1, capsize=2, zorder=3, label="each model by itself")  # fmt: skip
    grid = np.geomspace(n.min() / 2, n.max() * 2, 300)
    inside = (grid >= fit.fitted.n.min()) & (grid <= fit.fitted.n.max())
    axes.plot(grid, np.where(inside, fit.k(grid), np.nan), "-", color=color, label=f"{fit.law} law")
    axes.plot(grid, np.where(inside, np.nan, fit.k(grid)), ":", color=color)
    axes.fill_between(grid, *fit.k_interval(grid), color=color, alpha=0.15, lw=0)
    if fit.protocol.name == "inter":
        held = fit.held.n
        axes.plot(held, fit.k(held), "D", ms=6, mfc="none", mec=style.CATEGORIES[1], mew=1.4, label="predicted")
    if fit.law == "saturating" and np.isfinite(fit.intervals["k_max"][1]):
        axes.axhline(fit.parameters["k_max"], color=color, lw=0.8, ls="--")
        axes.annotate("$K_{max}$", (1, fit.parameters["k_max"]), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                      textcoords="offset points", color=color, ha="right")  # fmt: skip
    axes.set_xlabel("model size N (parameters)")
    shown = max(1.25 * high.max(), 1.1 * fit.k_interval(n)[1].max(), 1e-6)
    if fit.law == "saturating" and fit.parameters["k_max"] < 2.5 * shown:
        shown = max(shown, 1.12 * fit.parameters["k_max"])
    axes.set_ylim(min(0.0, 1.1 * low.min()), max(shown, axes.get_ylim()[0]))
    style.log_axis(axes)


def final_figure(fits: dict[str, Fit], *, others: dict[str, list[tuple[float, float]]], name: str) -> Picture:
    """Final test loss against model size for each group, beside published models `others` {family: (N, loss)}."""
    figure, axes = style.canvas(width=4.6, height=3.3)
    panel = axes[0, 0]
    for i, (group, fit) in enumerate(fits.items()):
        label = group if not others else "here" if group == PLAIN else f"{group} (here)"
        loss, error = np.array([_last(fit.fitted, row) for row in range(len(fit.fitted.n))]).T
        panel.errorbar(fit.fitted.n, loss, 1.645 * error, ls="-", marker=style.MARKERS[i % 10], ms=5, capsize=2,
                       elinewidth=0.8, color=style.CATEGORIES[i % 8], label=label)  # fmt: skip
    for j, (family, points) in enumerate(others.items(), len(fits)):
        look = {"marker": style.MARKERS[j % 10], "color": style.CATEGORIES[j % 8], "mfc": "none", "ls": "none"}
        panel.plot(*np.array(points).T, ms=5, label=f"{family} (published)", **look)
    panel.set_xlabel("model size N (parameters)")
    panel.set_ylabel("final test loss")
    style.log_axis(panel)
    panel.legend()
    caption = (
        "Test loss at the end of training (mean of the last five evaluations) against model size, with the 90 % "
        "interval over the questions of the test set."
    )
    return Picture(name=name, title="Final loss against size", caption=caption, figure=figure, paper="Figure 14")


def _last(curves: Curves, row: int) -> tuple[float, float]:
    """One model's loss at the end and its binomial standard error, of one evaluation (the questions are the same)."""
    _, loss, _ = curves.points(row)
    end = float(loss[-5:].mean())
    return end, float(np.sqrt(end * (1 - end) / curves.trials[row, curves.mask[row]][-1]))
