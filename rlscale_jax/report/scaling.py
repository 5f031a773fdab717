"""The scaling figures: test loss against compute and data with fit and forecast, and k(N) with its interval."""

import numpy as np
from matplotlib.axes import Axes

from rlscale_jax.laws import Fit
from rlscale_jax.report import style
from rlscale_jax.report.figures import Picture

AXIS = {"compute": "compute C (FLOPs)", "data": "data D (prompts)"}
FORECAST = 3.0  # how far beyond the data, as a factor of the resource, a law is drawn


def loss_figure(fit: Fit) -> Picture:
    """Test loss of every model against the resource, with the fitted law and its forecast."""
    figure, axes = style.canvas(width=5.6, height=3.9)
    plot_loss(axes[0, 0], fit)
    where = {"compute": "Figure 2", "data": "Figures 3 and 4"}[fit.resource]
    caption = (
        f"Test loss (1 − pass@1) against {AXIS[fit.resource]}; points are means over runs, lines the {fit.law} law "
        f"({fit.objective} objective, protocol {fit.protocol.name}); dashed: forecast beyond the data that it saw, "
        f"with the {100 * fit.region.confidence:.0f} % interval of k(N). Hollow points were kept from the fit. "
        f"Pooled R² {fit.r2:.3f}."
    )
    name = f"loss_{fit.resource}" + ("" if fit.protocol.name == "full" else f"_{fit.protocol.name}")
    return Picture(name=name, title=f"Loss against {fit.resource}", caption=caption, figure=figure, paper=where)


def plot_loss(axes: Axes, fit: Fit) -> None:
    """Draws points, fitted lines and forecasts of every model of the fit."""
    seen, held = fit.fitted, fit.held
    names = list(dict.fromkeys([*seen.names, *held.names]))
    colors = dict(zip(names, style.size_colors(len(names)), strict=True))
    lowest, highest = 1.0, 0.0
    for i, name in enumerate(names):
        x, loss, n = _together(fit, name)
        for curves, face in ((seen, colors[name]), (held, "none")):
            if name in curves.names:
                px, py, _ = curves.points(curves.names.index(name))
                axes.plot(px, py, style.MARKERS[i % 10], ms=2.6, mfc=face, mec=colors[name], mew=0.5, alpha=0.6)
        end = _draw_law(axes, fit, name, n, x, colors[name])
        axes.annotate(name, end, xytext=(3, 0), textcoords="offset points", va="center", fontsize=8, color=colors[name])
        lowest, highest = min(lowest, loss.min(), end[1]), max(highest, loss.max())
    style.log_loss_axis(axes, lowest, highest)
    axes.set_xlabel(AXIS[fit.resource])
    axes.set_ylabel("test loss L")
    style.log_axis(axes)


def _together(fit: Fit, name: str) -> tuple[np.ndarray, np.ndarray, float]:
    parts = [(c, c.names.index(name)) for c in (fit.fitted, fit.held) if name in c.names]
    points = [c.points(row) for c, row in parts]
    return np.concatenate([p[0] for p in points]), np.concatenate([p[1] for p in points]), parts[0][0].n[parts[0][1]]


def _draw_law(axes: Axes, fit: Fit, name: str, n: float, x: np.ndarray, color) -> tuple[float, float]:
    """The fitted line over the points seen, dashed beyond; returns where the forecast ends."""
    known = fit.fitted.points(fit.fitted.names.index(name))[0] if name in fit.models else np.array([x.min()])
    grid = np.geomspace(x.min(), x.max() * FORECAST, 200)
    loss = model_loss(fit, name, n, grid)
    inside = grid <= known.max()
    axes.plot(grid[inside], loss[inside], "-", color=color)
    axes.plot(grid[~inside], loss[~inside], "--", color=color, lw=1.1)
    low, high = fit.predict_interval(n, grid)
    shift = loss / fit.predict(n, grid)
    axes.fill_between(grid[~inside], (low * shift)[~inside], (high * shift)[~inside], color=color, alpha=0.15, lw=0)
    return grid[-1], loss[-1]


def model_loss(fit: Fit, name: str, n: float, x: np.ndarray) -> np.ndarray:
    """The law's loss for a model: with its own E where it was fitted, else with E carried on from the sizes."""
    if name not in fit.models:
        return fit.predict(n, x)
    return np.minimum(10 ** (fit.models[name].E - fit.models[name].k * np.log10(x)), 1.0)


def slope_figure(fits: dict[str, Fit], own: dict[str, Fit]) -> Picture:
    """k(N) with its interval for each resource, over each model's own slope.

    Args: fits and own (loglinear: k free for each model) by resource.
    """
    figure, axes = style.canvas(len(fits), width=3.8, sharey=True)
    for panel, resource in zip(axes[0], fits, strict=True):
        _plot_slopes(panel, fits[resource], own[resource])
        panel.set_title(f"k for {resource}")
    axes[0, 0].set_ylabel("learning efficiency k")
    fit = next(iter(fits.values()))
    notes = " ".join(f"{r}: {f.notes[0]}" for r, f in fits.items() if f.law == "saturating" and f.notes)
    caption = (
        f"Slope of log loss against log resource. Points: each model by itself with its "
        f"{100 * fit.region.confidence:.0f} % interval; line and band: the {fit.law} law. "
        f"Dotted: beyond the fitted sizes. {notes}"
    )
    return Picture(
        name="k_of_n", title="Learning efficiency k(N)", caption=caption, figure=figure, paper="Figures 1 and 5"
    )


def _plot_slopes(axes: Axes, fit: Fit, own: Fit) -> None:
    n = own.fitted.n
    k = np.array([m.k for m in own.models.values()])
    low, high = own.k_interval(n)
    error = np.stack([k - low, high - k])
    axes.errorbar(n, k, error, fmt="o", ms=4, color=style.INK, ecolor="#888888", elinewidth=1, capsize=2, zorder=3)
    grid = np.geomspace(n.min() / 2, n.max() * 3, 200)
    inside = (grid >= fit.fitted.n.min()) & (grid <= fit.fitted.n.max())
    color = style.CATEGORIES[0]
    axes.plot(grid, np.where(inside, fit.k(grid), np.nan), "-", color=color)
    axes.plot(grid, np.where(inside, np.nan, fit.k(grid)), ":", color=color)
    axes.fill_between(grid, *fit.k_interval(grid), color=color, alpha=0.15, lw=0)
    if fit.law == "saturating" and np.isfinite(fit.intervals["k_max"][1]):
        axes.axhline(fit.parameters["k_max"], color=color, lw=0.8, ls="--")
        axes.annotate(
            "$K_{max}$", (grid[0], fit.parameters["k_max"]), xytext=(2, 2), textcoords="offset points", color=color
        )
    axes.set_xlabel("model size N (parameters)")
    axes.set_ylim(min(0.0, 1.1 * low.min()), max(1.6 * high.max(), 1e-6))
    style.log_axis(axes)
