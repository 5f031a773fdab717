"""Runs a candidate program in a process that can neither reach the machine nor report success.

Our side of the pipe: sends the code, calls its functions by name, takes back plain data. What the kernel
grants is measured in every sandbox (`Candidate.missing`), never assumed.
"""

import contextlib
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from rlscale_jax.rewards import plain

MAX_REPLY_BYTES = 1 << 20
_HERE = pathlib.Path(__file__).parent


@dataclass(frozen=True)
class Limits:
    wall_secs: float = 4.0  # for the whole life of one candidate
    cpu_secs: int = 4
    memory_bytes: int = 512 << 20


class Raised(Exception):
    """The candidate's code raised: (type, text)."""


class Ended(BaseException):
    """The sandbox is gone. No Exception, so that no test can swallow it. `timed_out` tells why."""

    def __init__(self, reason: str, *, timed_out: bool = False):
        super().__init__(reason)
        self.timed_out = timed_out


class Candidate:
    """One program in its sandbox; a context manager that leaves no process and no file behind.

    missing: "" where everything promised holds (own namespaces for files, network and processes, no
        privileges, limits); else what the kernel refused. Then only limits and the user `nobody` are left.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.deadline = time.monotonic() + limits.wall_secs
        self.directory = tempfile.TemporaryDirectory(prefix="candidate-", ignore_cleanup_errors=True)
        os.chmod(self.directory.name, 0o777)
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_HERE / "cell.py")]
        with theirs:
            arguments = [theirs.fileno(), _HERE / "plain.py", limits.memory_bytes, limits.cpu_secs]
            self.process = subprocess.Popen(
                [*command, *map(str, arguments)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.directory.name,
                env={},
                start_new_session=True,
            )
        self.channel = ours
        self.buffer = b""
        self.missing = str(self._receive())

    def __enter__(self) -> "Candidate":
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()
        self.directory.cleanup()

    def load(self, code: str) -> None:
        """Raises: Raised where the code itself fails; Ended."""
        self._ask(code)

    def call(self, function: str, args: tuple, kwargs: dict) -> object:
        """The value of one call, as plain data. Raises: Raised, Ended."""
        return self._ask([function, list(args), kwargs])

    def _ask(self, request: object) -> object:
        self._send(plain.dumps(request))
        reply = self._receive()
        if isinstance(reply, list) and len(reply) == 2 and reply[0] == "value":
            return reply[1]
        if isinstance(reply, list) and len(reply) == 3 and reply[0] == "error":
            raise Raised(*map(str, reply[1:]))
        raise Ended("an answer that no sandbox sends")

    def _send(self, line: bytes) -> None:
        self.channel.setblocking(False)
        while line:
            self._wait(writing=True)
            try:
                line = line[self.channel.send(line) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise Ended("the sandbox died") from error

    def _receive(self) -> object:
        while b"\n" not in self.buffer:
            if len(self.buffer) > MAX_REPLY_BYTES:
                raise Ended("an answer too long")
            self._wait(writing=False)
            try:
                chunk = self.channel.recv(1 << 16)
            except OSError as error:
                raise Ended("the sandbox died") from error
            if not chunk:
                raise Ended("the sandbox died")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        try:
            return plain.loads(line)
        except ValueError as error:
            raise Ended("an answer that is no plain data") from error

    def _wait(self, *, writing: bool) -> None:
        left = self.deadline - time.monotonic()
        ready = select.select([] if writing else [self.channel], [self.channel] if writing else [], [], max(0.0, left))
        if not any(ready):
            raise Ended("out of time", timed_out=True)


def missing_isolation() -> str:
    """What this machine cannot isolate, "" for nothing: one empty sandbox is started to see."""
    try:
        with Candidate(Limits(wall_secs=30.0)) as candidate:
            return candidate.missing
    except Ended as ended:
        return str(ended)
