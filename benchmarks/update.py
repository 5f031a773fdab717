"""Updates per second, ours and a peer's in turn: python -m benchmarks.update --workload=W3 [--peer=tunix_update]

W3 is a whole GRPO step (rollout, reference, update), W4 and W7 the update alone. The last line is JSON: tokens per
second (every sequence counted with its own prompt), the floor by FLOPs and bytes, compile time, peak memory and, with
a peer, the ratio (> 1: ours is better). Peers need an environment of their own: benchmarks/requirements-peers.txt.
"""

import argparse
import json

from benchmarks import measure, workloads

PEERS = ("hf_update", "tunix_update", "trl_update")


def main() -> None:
    arguments = _arguments()
    if arguments.threads:
        measure.use_threads(arguments.threads)
    work = workloads.UPDATES[arguments.workload]
    from rlscale_jax.models import runtime  # JAX reads its environment when it is imported

    measure.use_devices(arguments.data)
    runtime.start()
    threads = arguments.threads or measure.num_cores()
    from benchmarks import floor, ours

    clock = "cpu" if arguments.threads == 1 else "wall"
    contender = measure.Contender(ours.Update(work))
    if arguments.peer:
        command = [arguments.peer_python, "-m", f"benchmarks.peers.{arguments.peer}", arguments.workload]
        with measure.peer(command, threads=threads) as peer:
            series, theirs = measure.alternate([contender, peer], rounds=arguments.rounds)
    else:
        (series,), theirs = measure.alternate([contender], rounds=arguments.rounds), None
    machine = floor.this_machine(threads)
    bound = work.num_tokens / floor.update_secs(work, machine)
    more = {
        "secs_per_step": round(series.secs(clock), 4),
        "flops_utilization": round(floor.update_flops(work) / series.secs(clock) / machine.flops, 4),
    }
    amount = work.num_tokens
    line = measure.report(arguments.workload, series, amount=amount, unit="tokens/s", floor=bound, clock=clock, **more)
    if theirs:
        line = measure.against(line, arguments.peer, theirs, amount=amount)
    print(json.dumps(line))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(workloads.UPDATES), required=True)
    parser.add_argument("--peer", choices=PEERS, default="")
    parser.add_argument("--peer_python", default="python", help="python of the peers' environment")
    parser.add_argument("--threads", type=int, default=0, help="cores in use; 1 counts CPU seconds; 0: all, wall clock")
    parser.add_argument("--data", type=int, default=1, help="virtual devices that the rows of ours are split over")
    parser.add_argument("--rounds", type=int, default=5, help="measured repetitions of each contender")
    return parser.parse_args()


if __name__ == "__main__":
    main()
