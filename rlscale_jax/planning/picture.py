"""The picture of a plan: what fills a chip's memory at each moment, and where an iteration's seconds go."""

from matplotlib.axes import Axes

from rlscale_jax.planning.estimate import Plan
from rlscale_jax.planning.topologies import GIB
from rlscale_jax.report import style
from rlscale_jax.report.figures import Picture

_ORDER = ("weights", "reference", "optimiser", "gradient", "sampler weights", "cache", "prompt cache", "temporaries")
_SHOWN = 0.005  # of a chip's memory; what is less goes with the rest


def picture(plan: Plan) -> Picture:
    """Memory beside time: a bar for every moment, and for every phase. Draw and save it under `style.applied()`."""
    figure, ((memory, time),) = style.canvas(columns=2, width=4.6, height=0.9 + 0.3 * len(plan.moments))
    _memory(memory, plan)
    _time(time, plan)
    return Picture(
        name="plan",
        title="What a chip holds, and what takes the time",
        caption=f"{plan.layout.name}. The dashed line is what the compiler allows on a chip of {plan.pod.name}.",
        figure=figure,
    )


def _memory(axes: Axes, plan: Plan) -> None:
    limit = plan.pod.chip.hbm_bytes
    large = {name for m in plan.moments for name, size in m.parts.items() if size > _SHOWN * limit}
    names = [name for name in _ORDER if name in large]
    colors = dict(zip(_ORDER, style.CATEGORIES, strict=True)) | {"the rest": "#DDDDDD"}
    for row, moment in enumerate(plan.moments):
        parts = {name: moment.parts.get(name, 0) for name in names}
        parts["the rest"] = moment.total - sum(parts.values())
        begin = 0.0
        for name, size in parts.items():
            axes.barh(row, size / GIB, left=begin, height=0.7, color=colors[name], label=None if row else name)
            begin += size / GIB
    axes.axvline(limit / GIB, color=style.INK, linestyle="--")
    axes.set_yticks(range(len(plan.moments)), [moment.name for moment in plan.moments])
    axes.invert_yaxis()
    axes.set_xlabel("GiB a chip")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)


def _time(axes: Axes, plan: Plan) -> None:
    names, secs = list(plan.phases), list(plan.phases.values())
    bars = axes.barh(names, secs, height=0.7, color=style.CATEGORIES[0])
    axes.bar_label(bars, [f"{value:.0f}" if value >= 1 else f"{value:.1f}" for value in secs], padding=3, fontsize=8)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel("expected seconds an iteration")
