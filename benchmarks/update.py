"""Updates per second, ours and a peer's in turn: python -m benchmarks.update --workload=W3 [--peer=tunix_update]

W3 is a whole GRPO step (rollout, reference, update), W4 and W7 the update alone. The last line is JSON: tokens per
second (every sequence counted with its own prompt), the floor by FLOPs and bytes, compile time, peak memory and, with
a peer, the ratio (> 1: ours is better). Peers need an environment of their own: benchmarks/requirements-peers.txt.
On several CPU cores each is a process with its share of the sequences, joined like the hosts of a pod (`cores`), where
there are enough of them: W3's, not W4's.
W4 and a peer do not fit into 24 GB together, nor W7 and a peer into a GPU: with --apart each turn is a process that
ends before the next begins.
"""

import argparse
import json
import sys

from benchmarks import cores, measure, workloads

PEERS = ("hf_update", "tunix_update", "trl_update")


def main() -> None:
    arguments = _arguments()
    if arguments.threads:
        measure.use_threads(arguments.threads)
    work, surroundings = workloads.UPDATES[arguments.workload], measure.Surroundings()
    threads = arguments.threads or measure.num_cores()
    clock = "cpu" if arguments.threads == 1 else "wall"
    series, *others = (_apart if arguments.apart else _together)(arguments, threads, surroundings)
    from benchmarks import floor

    machine = floor.this_machine(threads)
    bound = work.num_tokens / floor.update_secs(work, machine)
    more = {
        "secs_per_step": round(series.secs(clock), 4),
        "flops_utilization": round(floor.update_flops(work) / series.secs(clock) / machine.flops, 4),
    }
    amount = work.num_tokens
    line = measure.report(arguments.workload, series, amount=amount, unit="tokens/s", floor=bound, clock=clock, **more)
    for theirs in others:
        line = measure.against(line, arguments.peer, theirs, amount=amount)
    print(json.dumps(line))


def _together(arguments, threads: int, surroundings: measure.Surroundings) -> list[measure.Series]:
    with cores.joined(_num_processes(arguments, threads), arguments.workload) as hosts:
        from benchmarks import ours  # JAX reads its environment when it is imported

        work = ours.started(arguments.workload)
        own = cores.Together(work, hosts) if hosts else measure.Contender(work)
        if not arguments.peer:
            return measure.alternate([own], rounds=arguments.rounds)
        with measure.peer(_peer(arguments), threads=threads, surroundings=surroundings) as other:
            return measure.alternate([own, other], rounds=arguments.rounds)


def _num_processes(arguments, threads: int) -> int:
    """One where there is an accelerator: all of its devices are that process's."""
    work = workloads.UPDATES[arguments.workload]
    if cores.platform() != "cpu":
        return 1
    return arguments.data or cores.enough_for(work.num_prompts * work.num_samples, threads)


def _apart(arguments, threads: int, surroundings: measure.Surroundings) -> list[measure.Series]:
    own = [sys.executable, "-m", "benchmarks.ours", arguments.workload]
    commands = [own, _peer(arguments)] if arguments.peer else [own]
    return measure.apart(commands, rounds=arguments.rounds, threads=threads, surroundings=surroundings)


def _peer(arguments) -> list[str]:
    return [arguments.peer_python, "-m", f"benchmarks.peers.{arguments.peer}", arguments.workload]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(workloads.UPDATES), required=True)
    parser.add_argument("--peer", choices=PEERS, default="")
    parser.add_argument("--peer_python", default="python", help="python of the peers' environment")
    parser.add_argument("--threads", type=int, default=0, help="cores in use; 1 counts CPU seconds; 0: all, wall clock")
    parser.add_argument("--data", type=int, default=0, help="on CPUs: processes that share sequences; 0: one a core")
    parser.add_argument("--rounds", type=int, default=5, help="measured repetitions of each contender")
    parser.add_argument("--apart", action="store_true", help="a process for each turn, for what does not fit together")
    arguments = parser.parse_args()
    if arguments.apart and arguments.data > 1:
        parser.error("--apart measures one process at a time: leave --data out")
    return arguments


if __name__ == "__main__":
    main()
