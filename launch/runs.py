"""Prints the published study's runs of one slice as lines for sweep.sh.

    python launch/runs.py v5e:8x8 > runs.txt
    launch/sweep.sh study --runs=runs.txt --slices=4 --topology=v5e:8x8 ...

Sizes, seeds, the reuse study and the group-size study are those of arXiv 2509.25300; a size belongs to the slice that
its config names.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from configs import llama3, qwen2_5
from rlscale_jax.planning import topologies

SEEDS = (0, 1, 2)
REUSE = (1, 2, 4, 5, 10, 20, 25, 50, 100)  # at 51,200 samples: 100 steps of 512
GROUPS = (4, 16, 32)  # 8 is the main run


def lines(topology: str) -> list[str]:
    """`NAME --config=FILE:variant FLAGS` of every run whose model is at home on this slice."""
    found = []
    for file, sizes, tunings in (
        ("qwen2_5", qwen2_5.SIZES, ("base", "instruct")),
        ("llama3", llama3.SIZES, ("instruct",)),
    ):
        for size in (name for name, one in sizes.items() if one.topology == topology):
            for tuning in tunings:
                found += _runs(file, size, tuning)
    return found


def amount(config: str, topology: str) -> tuple[int, float]:
    """Runs of a size on its slice (`config` is FILE:size), and how many standard runs they amount to."""
    own = [line for line in lines(topology) if f"--config={config}-" in line]
    return len(own), sum(_num_steps(line) / 105 * _flag(line, "grpo.group_size", 8) / 8 for line in own)


def _num_steps(line: str) -> int:
    return _flag(line, "num_steps", qwen2_5.REUSE_TOTAL // 512 if "-reuse" in line else 105)


def _flag(line: str, field: str, default: int) -> int:
    found = re.search(rf"--config\.{field}=(\d+)", line)
    return int(found[1]) if found else default


def _runs(file: str, size: str, tuning: str) -> list[str]:
    name, config = f"{file}-{size}-{tuning}", f"--config=configs/{file}.py:{size}-{tuning}"
    runs = [f"{name}_s{seed} {config} --config.seed={seed}" for seed in SEEDS]
    if (file, size) == ("qwen2_5", "7b"):
        runs += [_reuse(name, config, factor) for factor in REUSE]
        runs += [_groups(name, config, size) for size in GROUPS]
    return runs


def _groups(name: str, config: str, size: int) -> str:
    flags = f"--config.name={name}-g{size} --config.variant=g{size} --config.grpo.group_size={size}"
    return f"{name}-g{size}_s0 {config} {flags}"


def _reuse(name: str, config: str, factor: int) -> str:
    flags = f"--config.data.num_unique={51_200 // factor} --config.data.reuse_factor={factor}"
    return f"{name}-tau{factor}_s0 {config}-reuse --config.name={name}-tau{factor} --config.variant=tau{factor} {flags}"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        topology = topologies.parse(sys.argv[1]).name
    except ValueError as error:
        sys.exit(f"error: {error}")
    found = lines(topology)
    if not found:
        homes = sorted({one.topology for one in (*qwen2_5.SIZES.values(), *llama3.SIZES.values())})
        sys.exit(f"error: no size is at home on {topology}; use one of {', '.join(homes)}")
    print("\n".join(found))


if __name__ == "__main__":
    main()
