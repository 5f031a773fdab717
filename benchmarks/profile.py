"""Where a step of an update workload spends its time: python -m benchmarks.profile --workload=W4 --out=W4.png

One repetition is traced on one core, after one that compiles. Each operation's own time is put down to the part of the
model whose source it comes from (the compiled program keeps the frames), apart for matrix products and the rest.
"""

import argparse
import collections
import gzip
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator

from benchmarks import measure, workloads

# Function of ours, as the compiled program names it (innermost frame first) -> the part that it belongs to.
PARTS = {
    "Linear.__call__": "projections",
    "causal_attention": "attention",
    "_backward": "attention",
    "shared_prefix_attend": "attention",
    "_behind": "attention",
    "reduce_tokens": "head and loss",
    "score_tokens": "head and loss",
    "_reduce_forward": "head and loss",
    "add_embed_grad": "embedding",
    "embed": "embedding",
    "apply_adamw": "AdamW",
    "global_norm": "gradient norm",
    "RMSNorm.__call__": "norms",
    "rotate": "rotary embedding",
    "Block.__call__": "SwiGLU, residuals",
    "_run_layers": "loop over layers",
}
REST = "the rest"
PROGRAMS = {"jit_step": "", "jit_logprobs": "reference pass"}  # others are the rollout's; "": told by its parts


def main() -> None:
    arguments = _arguments()
    measure.use_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        programs, traces = pathlib.Path(folder) / "programs", pathlib.Path(folder) / "traces"
        flags = f"--xla_dump_to={programs} --xla_dump_hlo_as_text"
        os.environ |= {"RLSCALE_CACHE_DIR": "off", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
        from rlscale_jax.models import runtime  # JAX reads its environment when it is imported

        work = workloads.UPDATES[arguments.workload]
        runtime.start(may_keep_memory=not work.remat, is_small=work.is_small)
        import jax

        from benchmarks import ours

        step = ours.Update(work)
        for _ in range(2):  # the second takes its memory from what the first has freed, as every later one does
            step()
        with jax.profiler.trace(traces):
            step()
        spent = _spent(_operations(programs), next(traces.rglob("*.trace.json.gz")))
    for name, (products, others) in spent.items():
        print(f"{name:20s} products {products:8.3f} s, others {others:8.3f} s")
    _draw(spent, arguments.workload, arguments.out)


def _operations(programs: pathlib.Path) -> dict[tuple[str, str], tuple[str, bool]]:
    """(program, operation) -> its part, and whether it is a matrix product."""
    from rlscale_jax.planning import hlo

    found = {}
    for path in programs.glob("*after_optimizations.txt"):
        text = path.read_text()
        module = re.match(r"HloModule ([\w.-]+)", text)
        frames = _frames(text)
        blocks = hlo.computations(text).items()
        computations = {name: {one.name: one.line for one in hlo.instructions(lines)} for name, lines in blocks}
        products = {name for name, lines in computations.items() if any(" dot(" in line for line in lines.values())}
        loops = {}  # a loop's body -> the computation that the loop is in, and its line there
        for computation, lines in computations.items():
            for line in lines.values():
                if body := re.search(r" body=%([\w.-]+)", line):
                    loops[body[1]] = computation, line
        for computation, lines in computations.items():
            for name, line in lines.items():
                called = re.search(r" fusion\(.* calls=%([\w.-]+)", line)
                is_product = " dot(" in line or bool(called and called[1] in products)
                place, part = computation, _part(frames, line)
                while not part and place in loops:  # the compiler's own operations have no frame: it is the loop's
                    place, outer = loops[place]
                    part = _part(frames, outer)
                found[module[1] if module else "", name] = (part or REST, is_product)
    return found


def _frames(text: str) -> dict[int, tuple[str, int]]:
    """Frame -> the function it is in, and the frame that called it (0: none)."""
    tables = {}
    for name in ("FunctionNames", "FileLocations", "StackFrames"):
        part = re.search(rf"^{name}\n((?:\d+ .*\n)*)", text, re.MULTILINE)
        tables[name] = dict(line.split(" ", 1) for line in (part[1] if part else "").splitlines())
    functions = {key: name.strip('"') for key, name in tables["FunctionNames"].items()}
    places = {key: functions[_number("function_name_id", row)] for key, row in tables["FileLocations"].items()}
    return {
        int(key): (places[_number("file_location_id", row)], int(_number("parent_frame_id", row)) - 1)
        for key, row in tables["StackFrames"].items()
    }


def _number(name: str, row: str) -> str:
    found = re.search(rf"{name}=(\d+)", row)
    return found[1] if found else "0"


def _part(frames: dict[int, tuple[str, int]], line: str) -> str:
    """Of an operation; "" where no frame of its line is in `PARTS`."""
    frame = int(_number("stack_frame_id", line))
    while frame in frames:
        function, frame = frames[frame]
        if part := PARTS.get(function.split(".<locals>")[0]):
            return part
    return ""


def _spent(operations, trace: pathlib.Path) -> dict[str, tuple[float, float]]:
    """Part -> seconds in products and in other operations, the largest part first."""
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    spent = collections.defaultdict(lambda: [0.0, 0.0])
    for event, secs in _own_times(events):
        args = event["args"]
        part, is_product = operations.get((args["hlo_module"], args["hlo_op"]), (REST, False))
        spent[PROGRAMS.get(args["hlo_module"], "rollout") or part][0 if is_product else 1] += secs
    ordered = sorted(spent.items(), key=lambda item: -sum(item[1]))
    return {name: (products, others) for name, (products, others) in ordered}


def _own_times(events) -> Iterator[tuple[dict, float]]:
    """Operations of a trace with their seconds less those of the operations within them (a loop's body)."""
    by_thread = collections.defaultdict(list)
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            by_thread[event["pid"], event["tid"]].append(event)
    for thread in by_thread.values():
        thread.sort(key=lambda event: (event["ts"], -event["dur"]))
        open_events: list[list] = []  # [event, its own time so far]
        for event in thread:
            while open_events and open_events[-1][0]["ts"] + open_events[-1][0]["dur"] <= event["ts"]:
                done, own = open_events.pop()
                yield done, own / 1e6
            if open_events:
                open_events[-1][1] -= event["dur"]
            open_events.append([event, event["dur"]])
        for done, own in open_events:
            yield done, own / 1e6


def _draw(spent: dict[str, tuple[float, float]], workload: str, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(spent)[::-1]
    products, others = ([spent[name][i] for name in names] for i in (0, 1))
    total = sum(products) + sum(others)
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    axes.barh(names, products, color="#35618f", label="matrix products")
    axes.barh(names, others, left=products, color="#e0a44a", label="everything else")
    for row, name in enumerate(names):
        share = sum(spent[name]) / total
        axes.text(sum(spent[name]), row, f" {share:.1%}", va="center", fontsize=8)
    axes.set(xlabel="seconds on one core", title=f"One step of {workload}: {total:.1f} s")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(workloads.UPDATES), required=True)
    parser.add_argument("--out", required=True, help="the picture, a .png")
    return parser.parse_args()


if __name__ == "__main__":
    main()
