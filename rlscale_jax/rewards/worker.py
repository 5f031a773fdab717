"""A grading process: reads one item at a time from its socket, grades it, answers; may be killed at any time.

Started by `pool` as a fresh interpreter, so that it inherits neither JAX nor its threads.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection

from rlscale_jax.rewards import clock, code, dispatch
from rlscale_jax.rewards.verdict import CRASHED

_PR_SET_PDEATHSIG = 1


def main(settings: str) -> None:
    """Serves until the socket closes. settings: JSON with fd, memory_bytes, verifier, allow_weak_sandbox."""
    options = json.loads(settings)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (options["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    verifier = dispatch.load_verifier(options["verifier"]) if options["verifier"] else None
    if options["allow_weak_sandbox"]:
        code.allow_weak_sandbox()
    pipe = Connection(options["fd"])
    clock.report_to(pipe.send_bytes)
    while True:
        try:
            data_source, response, ground_truth = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        if verifier is None:
            dispatch.prepare(data_source)
        pipe.send_bytes(clock.STARTED)
        verdict = dispatch.grade(data_source, response, ground_truth, verifier)
        pipe.send_bytes(json.dumps([verdict.correct, verdict.score, verdict.status, verdict.seconds]).encode())
        if verdict.status == CRASHED:
            return  # a process that ran out of memory is not to be trusted with the next item


if __name__ == "__main__":
    main(sys.argv[1])
