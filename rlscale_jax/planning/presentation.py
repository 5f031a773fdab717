"""A plan as a table for the terminal, as JSON, and as one HTML page."""

import dataclasses
import html as markup
import json
from typing import Any

from rlscale_jax.planning import picture
from rlscale_jax.planning.estimate import Moment, Plan
from rlscale_jax.planning.topologies import GIB
from rlscale_jax.report import page, style

Rows = list[list[str]]
_SHOWN = 0.005 * GIB  # smaller parts of a moment are not worth a column's text


def summary(plan: Plan) -> Rows:
    """What one wants to know first."""
    pod, peak = plan.pod, plan.peak
    rows = [
        ["fits", "yes" if plan.fits else "NO"],
        ["slice", f"{pod.name} ({pod.accelerator_type}): {pod.num_chips} chips, {pod.num_hosts} hosts"],
        ["layout (data x fsdp x tensor)", plan.layout.name],
        ["fullest moment", f"{peak.name}: {_gib(peak.total)} of {_gib(pod.chip.hbm_bytes)} GiB a chip {peak.over}"],
        [
            "seconds an iteration",
            f"{plan.iteration_secs:.0f} expected; rollout and update at the roofline {plan.floor_secs:.0f}",
        ],
        ["sampled tokens/s/chip", f"{plan.tokens_per_chip_sec:.0f}"],
        ["update's MFU at the roofline", f"{plan.mfu_bound:.0%}"],
        ["checkpoint", f"{plan.checkpoint_bytes / 1e9:.1f} GB, {plan.checkpoint_secs:.0f} s to the bucket"],
        ["whole run", f"{plan.chip_hours / pod.num_chips:.1f} h, {plan.chip_hours:.0f} chip-hours"],
    ]
    price = plan.assumptions.price_per_chip_hour
    return [*rows, ["cost", f"{plan.chip_hours * price:.0f}"]] if price else rows


def moments(plan: Plan) -> Rows:
    """Memory at each moment; GiB a chip."""
    header = ["while running", "runs", "GiB a chip", "of which", "compiled in s"]
    rows = [[m.name, f"{m.runs:g}", m.over or _gib(m.total), _parts(m), f"{m.compile_secs:.0f}"] for m in plan.moments]
    return [header, *rows]


def times(plan: Plan) -> Rows:
    """One run of each program at the roofline: FLOPs and bytes of a chip, and the seconds that they take."""
    header = ["program", "TFLOP a chip", "memory GB", "by formula", "links GB", "arithmetic s", "memory s", "links s"]
    header += ["bound by"]
    chips = plan.pod.num_chips
    rows = [
        [
            m.name,
            f"{m.flops / chips / 1e12:.3g}",
            f"{m.memory_bytes / 1e9:.3g}",
            f"{m.formula_bytes / 1e9:.3g}",
            f"{sum(one.bytes_sent for one in m.traffic) / 1e9:.3g}",
            *(f"{secs:.3g}" for secs in (m.cost.arithmetic, m.cost.memory, m.cost.links)),
            m.cost.bound_by,
        ]
        for m in plan.moments
    ]
    return [header, *rows]


def phases(plan: Plan) -> Rows:
    return [["phase", "seconds an iteration"], *([name, f"{secs:.1f}"] for name, secs in plan.phases.items())]


def transfers(plan: Plan) -> Rows:
    """Collectives of one run of each program."""
    header = ["program", "collective", "over", "times", "GiB a chip"]
    rows = [
        [m.name, one.kind, f"{one.axes} ({one.group})", f"{one.count:g}", f"{one.bytes_sent / GIB:.2f}"]
        for m in plan.moments
        for one in sorted(m.traffic, key=lambda one: -one.bytes_sent)
        if one.bytes_sent > _SHOWN
    ]
    return [header, *rows]


def text(rows: Rows) -> str:
    """Aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def html(plan: Plan, *, title: str, notes: list[str], runners_up: list[tuple[str, Plan]]) -> str:
    with style.applied():
        drawn = page.picture(picture.picture(plan))
    sections = [("", table([["", ""], *summary(plan)]) + page.paragraphs(notes) + drawn)]
    named = {
        "Memory at each moment": moments(plan),
        "One iteration": phases(plan),
        "Roofline of each program": times(plan),
        "Collectives": transfers(plan),
    }
    sections += [(name, table(rows)) for name, rows in named.items()]
    if runners_up:
        sections.append(("Layouts tried", table(_comparison(runners_up))))
    return page.page(title, sections)


def table(rows: Rows) -> str:
    """An HTML table; the first row is its head."""

    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{markup.escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"

    return f"<table>{line(rows[0], 'th')}{''.join(line(row, 'td') for row in rows[1:])}</table>\n"


def _comparison(tried: list[tuple[str, Plan]]) -> Rows:
    rows = [[name, "yes" if p.fits else "no", _gib(p.peak.total), f"{p.iteration_secs:.0f}"] for name, p in tried]
    return [["layout", "fits", "GiB a chip", "seconds an iteration"], *rows]


def to_json(plan: Plan, *, notes: list[str], runners_up: list[tuple[str, Plan]]) -> str:
    """`fits` first; bytes, seconds, FLOPs as numbers."""
    best: dict[str, Any] = {"fits": plan.fits, "notes": notes, **_numbers(plan)}
    best["tried"] = [{**_numbers(p), "layout": name, "fits": p.fits} for name, p in runners_up]
    return json.dumps(best, indent=1) + "\n"


def _numbers(plan: Plan) -> dict[str, Any]:
    pod = plan.pod
    return {
        "model": plan.experiment.model.name,
        "topology": pod.name,
        "accelerator_type": pod.accelerator_type,
        "num_chips": pod.num_chips,
        "layout": plan.layout.name,
        "limit_bytes": pod.chip.hbm_bytes,
        "peak_bytes": plan.peak.total,
        "peak_moment": plan.peak.name,
        "secs_per_iteration": plan.iteration_secs,
        "roofline_secs_per_iteration": plan.floor_secs,
        "tokens_per_sec_per_chip": plan.tokens_per_chip_sec,
        "mfu_bound": plan.mfu_bound,
        "checkpoint_bytes": plan.checkpoint_bytes,
        "checkpoint_secs": plan.checkpoint_secs,
        "chip_hours": plan.chip_hours,
        "cost": plan.chip_hours * plan.assumptions.price_per_chip_hour,
        "phases": plan.phases,
        "compile_secs": sum(m.compile_secs for m in plan.moments),
        "moments": [_moment(m) for m in plan.moments],
    }


def _moment(moment: Moment) -> dict[str, Any]:
    return {
        "name": moment.name,
        "fingerprint": moment.fingerprint,
        "runs": moment.runs,
        "over": moment.over,
        "bytes": moment.parts,
        "total_bytes": moment.total,
        "compile_secs": moment.compile_secs,
        "flops": moment.flops,
        "memory_bytes": moment.memory_bytes,
        "memory_bytes_by_formula": moment.formula_bytes,
        "roofline_secs": dataclasses.asdict(moment.cost),
        "bound_by": moment.cost.bound_by,
        "collectives": [dataclasses.asdict(one) for one in moment.traffic],
    }


def _parts(moment: Moment) -> str:
    shown = {name: size for name, size in moment.parts.items() if size > _SHOWN}
    return ", ".join(f"{name} {_gib(size)}" for name, size in sorted(shown.items(), key=lambda pair: -pair[1]))


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"
