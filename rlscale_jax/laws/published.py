"""The study's published fits, and ours on the same curves beside them (arXiv 2509.25300, Tables 6 and 7)."""

import dataclasses
import pathlib
import time

from rlscale_jax.laws import table as tables
from rlscale_jax.laws.curves import gather
from rlscale_jax.laws.decomposition import decompose
from rlscale_jax.laws.fitting import fit
from rlscale_jax.laws.protocols import Protocol, split

INTRA = {"base": (0, 80), "instruct": (3, 65)}  # points dropped first and last
# (family, resource, protocol): K_max, N0 in 1e9, R2
FITS = {
    ("qwen25_base", "compute", "intra"): (0.135, 13.1, 0.996),
    ("qwen25_base", "compute", "inter"): (0.152, 17.4, 0.994),
    ("qwen25_base", "data", "intra"): (0.135, 11.5, 0.995),
    ("qwen25_base", "data", "inter"): (0.163, 17.0, 0.995),
    ("qwen25_instruct", "compute", "intra"): (0.128, 17.3, 0.997),
    ("qwen25_instruct", "compute", "inter"): (0.144, 28.3, 0.995),
    ("qwen25_instruct", "data", "intra"): (0.133, 17.1, 0.997),
    ("qwen25_instruct", "data", "inter"): (0.148, 27.2, 0.995),
    ("llama3_instruct", "compute", "intra"): (0.089, 11.3, 0.998),
    ("llama3_instruct", "compute", "inter"): (0.074, 8.5, 0.995),
    ("llama3_instruct", "data", "intra"): (0.091, 12.7, 0.998),
    ("llama3_instruct", "data", "inter"): (0.087, 11.8, 0.997),
}
DECOMPOSITION = {"3B": (5109.6, 0.0734), "7B": (3725.6, 0.1882), "14B": (4554.8, 0.2520), "32B": (3576.0, 0.3279),
                 "72B": (5861.6, 0.3084)}  # D0, dL; base, first 30 % of steps  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduced:
    """One published number triple (K_max, N0 in 1e9, R2), ours, and the time of our fit in milliseconds."""

    family: str
    resource: str
    protocol: str
    published: tuple[float, float, float]
    ours: tuple[float, float, float]
    milliseconds: float


def reproduce(directory: str | pathlib.Path) -> list[Reproduced]:
    """Refits every published row whose curves lie in `directory` as FAMILY_RESOURCE.csv, with the published objective.

    Raises: FileNotFoundError where none does.
    """
    rows = []
    for (family, resource, protocol), published in FITS.items():
        path = pathlib.Path(directory) / f"{family}_{resource}.csv"
        if not path.exists():
            continue
        first, last = INTRA[family.rpartition("_")[2]]
        chosen = Protocol(name=protocol, drop_first=first if protocol == "intra" else 0, drop_last=last)
        table = tables.read(path)
        begun = time.perf_counter()
        found = fit(table, resource=resource, objective="published", protocol=chosen)
        spent = 1e3 * (time.perf_counter() - begun)
        ours = (found.parameters["k_max"], found.parameters["n0"] / 1e9, found.r2)
        rows.append(
            Reproduced(
                family=family, resource=resource, protocol=protocol, published=published, ours=ours, milliseconds=spent
            )
        )
    if not rows:
        raise FileNotFoundError(f"{directory} holds none of the study's curves (qwen25_base_compute.csv, ...)")
    return rows


def reproduce_decomposition(path: str | pathlib.Path, *, beta: float | str = 1.0) -> dict[str, tuple[float, float]]:
    """D0 and dL of 3B to 72B from the first 30 % of steps of the base curves against data in `path`."""
    curves = gather(tables.read(path), "data")
    curves = curves.models([i for i, name in enumerate(curves.names) if name in DECOMPOSITION])
    late = round(0.7 * curves.mask.sum(1).min())
    found = decompose(split(curves, Protocol(name="intra", drop_last=late))[0], beta=beta, objective="published")
    return {name: (found.d0[name], found.dl[name]) for name in curves.names}


def markdown(directory: str | pathlib.Path) -> str:
    """Both comparisons as Markdown tables."""
    lines = [
        "| curves | X | protocol | K_max published | ours | N0 (1e9) published | ours | R² published | ours | ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in reproduce(directory):
        pairs = " | ".join(
            f"{p:g} | {o:{form}}" for p, o, form in zip(row.published, row.ours, (".4f", ".2f", ".4f"), strict=True)
        )
        lines.append(f"| {row.family} | {row.resource} | {row.protocol} | {pairs} | {row.milliseconds:.0f} |")
    base = pathlib.Path(directory) / "qwen25_base_data.csv"
    if base.exists():
        lines += ["", "| model | D0 published | beta = 1 | beta fitted | ΔL published | beta = 1 | beta fitted |"]
        lines.append("|---|---|---|---|---|---|---|")
        held, free = reproduce_decomposition(base), reproduce_decomposition(base, beta="fitted")
        for name, (d0, dl) in DECOMPOSITION.items():
            (d0_held, dl_held), (d0_free, dl_free) = held[name], free[name]
            lines.append(
                f"| {name} | {d0:.0f} | {d0_held:.0f} | {d0_free:.0f} | {dl:.4f} | {dl_held:.4f} | {dl_free:.4f} |"
            )
    return "\n".join(lines)
