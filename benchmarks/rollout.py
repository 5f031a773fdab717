"""Rollouts per second, ours and a peer's in turn: python -m benchmarks.rollout --workload=W1 [--peer=hf]

Workloads (random weights, temperature 1, no eos): W1 a small float32 model, 64 prompts of 32 tokens, 128 new; W2 the
Qwen2.5-0.5B shape in float32, 8 prompts of 64, 64 new (about 6 GiB); W5 as W1 but 32 prompts x 8 samples with a limit
for each sample, log-normal of mean 64, longest 512 (a peer's batch runs until its longest ends); W6 the 1.5B shape in
bfloat16 for a GPU, 64 prompts of 256 x 8 samples, 512 new.

The last line is JSON: `value` (useful tokens per second in steady state), secs_per_step (seconds a token step), floor
(tokens per second by FLOPs and bytes at this machine's rates, measured in the same call) and fraction (of it),
compile_secs, peak_rss_gb (on an accelerator also peak_device_gb), what was compiled (num_buckets, num_compilations,
steady_compilations) and, with a peer, peer_value and ratio (> 1: ours is better). The compilation cache is off here,
so that compile_secs is what a first run pays; RLSCALE_CACHE_DIR=DIR turns it on.

On several CPU cores each is a process with its share of the sequences, joined like the hosts of a pod (`cores`).

A peer runs in an environment of its own, in turn with ours: benchmarks/requirements-peers.txt.
"""

import argparse
import json
import os

from benchmarks import cores, measure, peers, workloads
from rlscale_jax.experiment.config import MeshConfig


def main() -> None:
    arguments = _arguments()
    if arguments.threads:
        measure.use_threads(arguments.threads)
    surroundings = measure.Surroundings()
    os.environ.setdefault("RLSCALE_CACHE_DIR", "off")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a peer wants its part of the accelerator
    work, threads = workloads.ROLLOUTS[arguments.workload], arguments.threads or measure.num_cores()
    on_cpu = cores.platform() == "cpu"
    data = arguments.data or (cores.enough_for(work.limits().size, threads) if on_cpu else 1)
    config = MeshConfig(data=data, fsdp=1, tensor=arguments.tensor)
    num_processes = config.data * config.tensor if on_cpu else 1
    with cores.joined(num_processes, arguments.workload, str(config.data), str(config.tensor)) as others:
        line = _measured(arguments, work, config, others, surroundings)
    print(json.dumps(line))


def _measured(arguments, work, config: MeshConfig, others: list[measure.Peer], surroundings) -> dict:
    from rlscale_jax.models import runtime  # JAX reads its environment when it is imported

    runtime.start()
    from benchmarks import floor, ours

    threads = arguments.threads or len(surroundings.cores)
    rollout = ours.Rollout(work, config)
    clock = "cpu" if arguments.threads == 1 else "wall"
    amount = int(work.limits().sum())
    contender = cores.Together(rollout, others) if others else measure.Contender(rollout)
    if arguments.peer:
        command = [arguments.peer_python, "-m", f"benchmarks.peers.{arguments.peer}", arguments.workload]
        with measure.peer(command, threads=threads, surroundings=surroundings) as peer:
            series, theirs = measure.alternate([contender, peer], rounds=arguments.rounds)
    else:
        (series,), theirs = measure.alternate([contender], rounds=arguments.rounds), None
    bound = floor.rollout_secs(work, floor.this_machine(threads))
    more = rollout.steps(series.secs(clock)) | {"threads": threads, "data": config.data, "tensor": config.tensor}
    line = measure.report(
        *(arguments.workload, series), amount=amount, unit="useful tokens/s", floor=amount / bound, clock=clock, **more
    )
    return measure.against(line, arguments.peer, theirs, amount=amount) if theirs else line


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(workloads.ROLLOUTS), required=True)
    parser.add_argument("--peer", choices=tuple(peers.PACKAGES), default="", help="measured in turn with ours")
    python = peers.default_python()
    parser.add_argument("--peer_python", default=python, help=f"python of the peers' environment (here: {python})")
    parser.add_argument("--threads", type=int, default=0, help="cores in use; 1 counts CPU seconds; 0: all, wall clock")
    parser.add_argument("--data", type=int, default=0, help="devices that share the sequences; 0: on CPUs one a core")
    parser.add_argument("--tensor", type=int, default=1, help="devices that share the weights")
    parser.add_argument("--rounds", type=int, default=5, help="measured repetitions of each contender, the median told")
    arguments = parser.parse_args()
    if arguments.peer:
        try:
            peers.check(arguments.peer, arguments.peer_python)
        except ValueError as error:
            parser.error(str(error))
    return arguments


if __name__ == "__main__":
    main()
