"""A pod of processes on this machine: each is a host with virtual CPU devices, gloo on loopback between them."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]


def environment(num_devices: int) -> dict[str, str]:
    """Of a command of ours in a process of its own; compiled programs are shared between processes and test runs."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
        "RLSCALE_CACHE_DIR": str(ROOT / ".pytest_cache" / "xla"),
    }


def start(
    num_hosts: int,
    num_devices: int,
    workdir: pathlib.Path,
    *flags: str,
    config: str = "tests/training/tiny.py",
    workdir_flag: str = "",
    own_scratch: pathlib.Path | None = None,
) -> list[subprocess.Popen]:
    """`num_hosts` processes of rlscale_jax.train; their output goes to WORKDIR/host_N.txt.

    `workdir_flag`: a bucket to run in instead of WORKDIR; `own_scratch`: where each host gets a disk of its own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workdir.mkdir(parents=True, exist_ok=True)
    place = workdir_flag or workdir
    command = [sys.executable, "-m", "rlscale_jax.train", f"--config={config}", f"--workdir={place}"]
    processes = []
    for index in range(num_hosts):
        joining = {"RLSCALE_COORDINATOR": f"127.0.0.1:{port}", "RLSCALE_NUM_PROCESSES": str(num_hosts)}
        joining |= {"RLSCALE_PROCESS_ID": str(index)}
        if own_scratch:
            joining["RLSCALE_SCRATCH_DIR"] = str(own_scratch / f"disk_{index}")
        with (workdir / f"host_{index}.txt").open("a") as output:
            processes.append(
                subprocess.Popen(
                    [*command, *flags],
                    cwd=ROOT,
                    env=environment(num_devices) | (joining if num_hosts > 1 else {}),
                    stdout=output,
                    stderr=output,
                )
            )
    return processes


def end(processes: list[subprocess.Popen], timeout_secs: float = 600) -> list[int]:
    """Waits for all and gives their exit statuses; whoever is left after the time is killed."""
    deadline = time.monotonic() + timeout_secs
    try:
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def output(workdir: pathlib.Path) -> str:
    return "\n".join(path.read_text() for path in sorted(workdir.glob("host_*.txt")))
