"""Rollouts per second, ours and a peer's in turn: python -m benchmarks.rollout --workload=W1 [--peer=hf]

The last line is JSON: useful tokens per second (steady state), seconds a step, the floor by FLOPs and bytes, compile
time, peak memory and, with a peer, the ratio (> 1: ours is better). Peers need an environment of their own:
benchmarks/requirements-peers.txt, its python given by --peer_python.
"""

import argparse
import json

from benchmarks import measure, workloads

PEERS = ("hf", "tunix", "llamacpp")


def main() -> None:
    arguments = _arguments()
    if arguments.threads:
        measure.use_threads(arguments.threads)
    work = workloads.ROLLOUTS[arguments.workload]
    from benchmarks import floor, ours  # JAX reads its environment when it is imported

    rollout = ours.Rollout(work)
    clock = "cpu" if arguments.threads == 1 else "wall"
    settings = {"amount": int(work.limits().sum()), "unit": "useful tokens/s", "clock": clock}
    if arguments.peer:
        command = [arguments.peer_python, "-m", f"benchmarks.peers.{arguments.peer}", arguments.workload]
        with measure.peer(command, threads=arguments.threads or measure.num_cores()) as peer:
            series, theirs = measure.alternate([measure.Contender(rollout), peer], rounds=arguments.rounds)
    else:
        (series,), theirs = measure.alternate([measure.Contender(rollout)], rounds=arguments.rounds), None
    bound = floor.rollout_secs(work, floor.this_machine(arguments.threads or measure.num_cores()))
    assert rollout.stats
    steps = rollout.stats.num_steps
    more = {
        "secs_per_step": round(series.secs(clock) / steps, 6),
        "num_steps": steps,
        "num_row_steps": rollout.stats.num_row_steps,
    }
    line = measure.report(arguments.workload, series, floor=settings["amount"] / bound, **settings, **more)
    if theirs:
        line = measure.against(line, arguments.peer, theirs, amount=settings["amount"])
    print(json.dumps(line))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(workloads.ROLLOUTS), required=True)
    parser.add_argument("--peer", choices=PEERS, default="")
    parser.add_argument("--peer_python", default="python", help="python of the peers' environment")
    parser.add_argument("--threads", type=int, default=0, help="cores in use; 1 counts CPU seconds; 0: all, wall clock")
    parser.add_argument("--rounds", type=int, default=5, help="measured repetitions of each contender")
    return parser.parse_args()


if __name__ == "__main__":
    main()
