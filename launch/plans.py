"""Plans the published models on slices of each kind and writes docs/plans.md; what is planned already is kept.

    python launch/plans.py [NAME ...]     NAME: a case below, such as qwen2.5-7b_v5e-8x8; default: all (hours)
    python launch/plans.py --table        plans nothing, writes the table of what is there

Needs libtpu (requirements-tpu.txt). Each plan's numbers are kept in docs/plans/NAME.json, with a fingerprint of every
program that was compiled; the table is made of these.
"""

import json
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from configs import llama3, qwen2_5
from launch import runs

KEPT = ROOT / "docs" / "plans"
QWEN, LLAMA = "configs/qwen2_5.py", "configs/llama3.py"


class Case(NamedTuple):
    """A config on a slice, and the fields that lay it out there."""

    config: str
    slice: str
    tensor: int  # mesh.tensor
    micro: int  # grpo.micro_batch_prompts
    wave: int  # sampling.wave_sequences
    sampler: int = 0  # mesh.sampler_tensor
    remat: str = "full"  # grpo.remat


def _homes() -> dict[str, Case]:
    """Each size on the slice, and in the layout, that its config names."""
    found = {}
    for file, sizes in ((QWEN, qwen2_5.SIZES), (LLAMA, llama3.SIZES)):
        for size, one in sizes.items():
            family = f"llama{one.release}" if isinstance(one, llama3.Size) else "qwen2.5"
            name = f"{family}-{size}_{one.topology.replace(':', '-')}"
            layout = (one.tensor, one.micro_prompts, one.wave, one.sampler, one.remat)
            found[name] = Case(f"{file}:{size}", one.topology, *layout)
    return found


HOMES = _homes()
ELSEWHERE: dict[str, Case] = {
    "qwen2.5-14b_v5e-16x16": Case(f"{QWEN}:14b", "v5e:16x16", 8, 16, 2048, remat="dots"),
    "qwen2.5-32b_v5e-16x16": Case(f"{QWEN}:32b", "v5e:16x16", 8, 64, 1024),
    "qwen2.5-0.5b_v5p-2x2x1": Case(f"{QWEN}:0.5b", "v5p:2x2x1", 2, 8, 4096, remat="dots"),
    "qwen2.5-1.5b_v5p-2x2x1": Case(f"{QWEN}:1.5b", "v5p:2x2x1", 2, 4, 2048, remat="dots"),
    "qwen2.5-3b_v5p-2x2x2": Case(f"{QWEN}:3b", "v5p:2x2x2", 2, 8, 2048, remat="dots"),
    "qwen2.5-7b_v5p-2x2x4": Case(f"{QWEN}:7b", "v5p:2x2x4", 4, 8, 4096, remat="dots"),
    "qwen2.5-14b_v5p-2x4x4": Case(f"{QWEN}:14b", "v5p:2x4x4", 4, 8, 2048),
    "qwen2.5-32b_v5p-4x4x8": Case(f"{QWEN}:32b", "v5p:4x4x8", 4, 32, 4096),
    "qwen2.5-0.5b_v6e-2x4": Case(f"{QWEN}:0.5b", "v6e:2x4", 1, 8, 2048, 2, "dots"),
    "qwen2.5-1.5b_v6e-2x4": Case(f"{QWEN}:1.5b", "v6e:2x4", 2, 4, 1024, remat="dots"),
    "qwen2.5-3b_v6e-4x4": Case(f"{QWEN}:3b", "v6e:4x4", 2, 4, 2048, remat="dots"),
    "qwen2.5-7b_v6e-4x8": Case(f"{QWEN}:7b", "v6e:4x8", 2, 32, 2048, 4),
    "qwen2.5-72b_v6e-16x16": Case(f"{QWEN}:72b", "v6e:16x16", 8, 32, 1024),
    "llama3.2-1b_v5p-2x2x1": Case(f"{LLAMA}:1b", "v5p:2x2x1", 1, 8, 2048, 4, "dots"),
    "llama3.2-3b_v5p-2x2x2": Case(f"{LLAMA}:3b", "v5p:2x2x2", 1, 8, 1024, 8, "dots"),
    "llama3.1-8b_v5p-2x2x4": Case(f"{LLAMA}:8b", "v5p:2x2x4", 2, 8, 2048, 8, "dots"),
    "llama3.2-1b_v6e-2x4": Case(f"{LLAMA}:1b", "v6e:2x4", 2, 4, 1024, 8, "dots"),
    "llama3.2-3b_v6e-4x4": Case(f"{LLAMA}:3b", "v6e:4x4", 2, 4, 512, 8, "dots"),
    "llama3.1-8b_v6e-4x8": Case(f"{LLAMA}:8b", "v6e:4x8", 1, 32, 1024, 8),
    "llama3.1-70b_v6e-16x16": Case(f"{LLAMA}:70b", "v6e:16x16", 4, 64, 1024, 8),
}
CASES = HOMES | ELSEWHERE
HEADER = [
    "model",
    "slice",
    "mesh (data x fsdp x tensor)",
    "fits",
    "fullest moment GiB",
    "of",
    "update GiB",
    "decode GiB",
    "s an iteration",
    "tokens/s/chip",
    "MFU bound",
    "checkpoint GB",
    "save s",
    "chip-hours",
    "compile s",
]


def flags(name: str) -> list[str]:
    """Of the plan command, for a case."""
    case = CASES[name]
    fields = {
        "mesh.tensor": case.tensor,
        "mesh.sampler_tensor": case.sampler,
        "grpo.micro_batch_prompts": case.micro,
        "grpo.remat": case.remat,
        "sampling.wave_sequences": case.wave,
    }
    layout = [f"--config.{field}={value}" for field, value in fields.items()]
    return [f"--config={case.config}", f"--topology={case.slice}", *layout]


def plan(name: str) -> None:
    command = [sys.executable, "-m", "rlscale_jax.plan", *flags(name), f"--json={KEPT / f'{name}.json'}"]
    if subprocess.run(command, cwd=ROOT).returncode > 1:
        sys.exit(f"{name}: plan failed")


def row(numbers: dict) -> list[str]:
    gib = 2**30
    totals = {moment["name"]: moment["total_bytes"] / gib for moment in numbers["moments"]}
    return [
        numbers["model"],
        f"{numbers['topology']} ({numbers['accelerator_type']})",
        numbers["layout"],
        "yes" if numbers["fits"] else "no",
        f"{numbers['peak_bytes'] / gib:.1f} ({numbers['peak_moment']})",
        f"{numbers['limit_bytes'] / gib:.1f}",
        f"{totals.get('accumulate', totals.get('step', 0)):.1f}",
        f"{totals['segment']:.1f}",
        f"{numbers['secs_per_iteration']:.0f}",
        f"{numbers['tokens_per_sec_per_chip']:.0f}",
        f"{numbers['mfu_bound']:.0%}",
        f"{numbers['checkpoint_bytes'] / 1e9:.0f}",
        f"{numbers['checkpoint_secs']:.0f}",
        f"{numbers['chip_hours']:.0f}",
        f"{numbers['compile_secs']:.0f}",
    ]


def kept(name: str) -> dict:
    """A case's numbers; empty where it is not planned yet."""
    path = KEPT / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_table() -> None:
    found = {name: numbers for name in CASES if (numbers := kept(name))}
    lines = ["# Plans of the published models", ""]
    lines += [
        "512 prompts x 8 samples, prompts of 2048 and completions of 4096 tokens, all at full length; made by",
        "",
        "    python launch/plans.py",
        "",
        *sorted({note for numbers in found.values() for note in numbers["notes"]}),
        "",
        "Memory is GiB a chip, with everything that the run holds at that moment; seconds and chip-hours include an "
        "evaluation on 500 problems after every iteration.",
        "",
    ]
    lines += _table(HEADER, [row(numbers) for numbers in found.values()])
    missing = [name for name in CASES if name not in found]
    lines += ["", f"Not planned yet: {', '.join(missing)}."] if missing else []
    lines += ["", "## The whole study", "", *_study()]
    (ROOT / "docs" / "plans.md").write_text("\n".join(lines) + "\n")


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]


def _study() -> list[str]:
    """Chip-hours of all runs of `runs.py`, each on the slice that its config names."""
    rows, total, unknown = [], 0.0, []
    for name, (config, topology, *_) in HOMES.items():
        num_runs, num_whole = runs.amount(config, topology)
        numbers = kept(name)
        if numbers:
            hours = num_whole * numbers["chip_hours"]
            total += hours
            cells = [topology, str(num_runs), f"{numbers['chip_hours']:,.0f}", f"{hours:,.0f}"]
            rows.append([name.partition("_")[0], *cells])
        else:
            unknown.append(name.partition("_")[0])
    rows.append(["all", "", "", "", f"{total:,.0f}"])
    table = _table(["model", "slice", "runs", "chip-hours a run", "chip-hours"], rows)
    rest = [f"Without {', '.join(unknown)}, which are not planned yet.", ""] if unknown else []
    return [
        "Every run of `python launch/runs.py SLICE`. A run of other length or group size counts in proportion; "
        "completions that end before their limit make all of it less.",
        "",
        *rest,
        *table,
    ]


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        return write_table()
    names = sys.argv[1:] or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        sys.exit(f"error: no case {unknown[0]!r}; cases: {', '.join(CASES)}")
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (KEPT / f"{name}.json").exists():
            plan(name)
        write_table()


if __name__ == "__main__":
    main()
