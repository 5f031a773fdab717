"""Predicted against measured seconds on this machine: python -m benchmarks.prediction

The planner's own count of FLOPs and bytes, over this machine's rates, times kernel efficiencies that are measured
once, on a calibration model that is none of the workloads (another width, depth and batch). One JSON line a workload:
predicted and measured seconds of one repetition and their ratio; "within" says whether they are 25 % apart at most.
"""

import argparse
import dataclasses
import json

from benchmarks import measure, workloads

SHAPE = workloads.Shape(
    vocab_size=384, hidden_size=192, num_layers=3, num_heads=3, num_kv_heads=1, intermediate_size=768
)
CALIBRATION = {
    "decode": workloads.Rollout(shape=SHAPE, num_prompts=96, num_samples=1, prompt_tokens=16, new_tokens=96),
    "arithmetic": workloads.Update(
        shape=SHAPE, num_prompts=48, num_samples=1, prompt_tokens=1, new_tokens=127, with_rollout=False
    ),
}
TOLERANCE = 0.25


def main() -> None:
    arguments = _arguments()
    if arguments.threads:
        measure.use_threads(arguments.threads)
    from rlscale_jax.models import runtime  # JAX reads its environment when it is imported

    runtime.start()
    from benchmarks import floor
    from benchmarks.planned import predicted_secs
    from rlscale_jax.planning.roofline import Efficiency

    machine = floor.this_machine(arguments.threads or measure.num_cores())
    whole = Efficiency(arithmetic=1.0, decode=1.0, memory=1.0, links=1.0)
    shares = {
        name: predicted_secs(work, machine, whole) / _measured_secs(work, arguments)
        for name, work in CALIBRATION.items()
    }
    efficiency = dataclasses.replace(whole, memory=0.8, **shares)
    rates = {"gflops": machine.flops / 1e9, "gbytes": machine.bytes / 1e9, **shares}
    print(json.dumps({"efficiency": {name: round(value, 3) for name, value in rates.items()}}))
    for name in arguments.workloads.split(","):
        work = workloads.ROLLOUTS.get(name) or workloads.UPDATES[name]
        predicted, measured = predicted_secs(work, machine, efficiency), _measured_secs(work, arguments)
        line = {"workload": name, "predicted_secs": round(predicted, 4), "measured_secs": round(measured, 4)}
        line |= {"ratio": round(predicted / measured, 3), "within": abs(predicted / measured - 1) <= TOLERANCE}
        print(json.dumps(line), flush=True)


def _measured_secs(work: workloads.Rollout | workloads.Update, arguments: argparse.Namespace) -> float:
    from benchmarks import ours
    from rlscale_jax.experiment.config import MeshConfig

    repeated = ours.Rollout(work, MeshConfig()) if isinstance(work, workloads.Rollout) else ours.Update(work)
    (series,) = measure.alternate([measure.Contender(repeated)], rounds=arguments.rounds)
    return series.secs("cpu" if arguments.threads == 1 else "wall")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default="W1,W3", help="of benchmarks/workloads.py, all completions alike")
    parser.add_argument("--threads", type=int, default=0, help="cores in use; 1 counts CPU seconds; 0: all, wall clock")
    parser.add_argument("--rounds", type=int, default=5, help="measured repetitions of each workload")
    return parser.parse_args()


if __name__ == "__main__":
    main()
