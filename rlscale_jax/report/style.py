"""How every figure looks: sizes and colours for print, readable for colour-blind readers, no pyplot state."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

# Okabe and Ito: told apart with every common colour vision.
CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
INK = "#222222"
SETTINGS: dict = {
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "legend.fontsize": 8,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.edgecolor": INK, "text.color": INK, "axes.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.4, "legend.frameon": False,
    "figure.dpi": 100, "savefig.dpi": 200, "pdf.fonttype": 42, "figure.constrained_layout.use": True,
}  # fmt: skip


def applied():
    """The context in which figures are drawn and saved: matplotlib takes settings when an artist is made."""
    return mpl.rc_context(SETTINGS)


def canvas(
    columns: int = 1, rows: int = 1, *, width: float = 3.6, height: float = 2.9, **kwargs
) -> tuple[Figure, np.ndarray]:
    """A figure with axes [rows columns], each `width` x `height` inches."""
    figure = Figure(figsize=(width * columns, height * rows))
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def size_colors(count: int) -> list:
    """Light to dark by rank of size: an order that also survives a black-and-white printer."""
    return list(mpl.colormaps["viridis_r"](np.linspace(0.2, 0.97, max(count, 2))))[:count]


def log_loss_axis(axes: Axes, lowest: float, highest: float) -> None:
    """A logarithmic loss axis with ticks at plain numbers, however little the loss spans."""
    axes.set_yscale("log")
    low, high = lowest * 0.93, min(highest * 1.08, 1.03)
    axes.set_ylim(low, high)
    span = high / low
    if span < 1.6:
        step = 0.02 if span < 1.2 else 0.05
        ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    else:
        ticks = _decade_ticks(low, high, fewest=4)
    axes.set_yticks(ticks, [f"{round(tick, 4):g}".lstrip("0") for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def _decade_ticks(low: float, high: float, *, fewest: int) -> np.ndarray:
    """Plain numbers within [low, high], the coarsest set that has at least `fewest`."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = decades
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        ticks = np.outer(decades, steps).ravel()
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= fewest:
            break
    return ticks


def end_labels(axes: Axes, ends: list[tuple[str, float, float]]) -> None:
    """Names at the ends (name, x, y) of lines in order of size, moved apart where they would overlap."""
    low, high = np.log(axes.get_ylim())
    colors = size_colors(len(ends))
    texts = short([name for name, _, _ in ends])
    previous = -np.inf
    order = sorted(range(len(ends)), key=lambda i: ends[i][2])
    for i in order:
        at = max(np.log(ends[i][2]), previous + 0.045 * (high - low), low)
        previous = at
        axes.annotate(
            texts[i], (ends[i][1], float(np.exp(at))), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=7.5, color=colors[i], annotation_clip=False,
        )  # fmt: skip


def short(names: list[str]) -> list[str]:
    """The names without what they share at both ends, cut at hyphens: qwen2.5-7b-base becomes 7b."""
    parts = [name.split("-") for name in names]
    if len(names) < 2 or min(map(len, parts)) < 2:
        return names
    head = next(i for i in range(len(parts[0]) + 1) if len({tuple(p[: i + 1]) for p in parts}) > 1)
    tail = next(i for i in range(len(parts[0]) + 1) if len({tuple(p[len(p) - i - 1 :]) for p in parts}) > 1)
    return ["-".join(p[head : len(p) - tail]) or "-".join(p) for p in parts]


def log_axis(axes: Axes, *, counts: bool = True) -> None:
    """A logarithmic x axis: plain counts (8k, 1.5B), or powers of ten (FLOPs)."""
    axes.set_xscale("log")
    axis = axes.xaxis
    low, high = axis.get_view_interval()
    if counts and low > 0:
        axis.set_major_locator(FixedLocator(list(_decade_ticks(low, high, fewest=3))))
        axis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axis.set_minor_formatter(NullFormatter())


def count(value: float) -> str:
    """A number of parameters or prompts as people write it: 8.4k, 1.5B; beyond, powers of ten."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if unit <= value < 1000 * unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}" if value < 1e3 else f"$10^{{{np.log10(value):.1f}}}$"
