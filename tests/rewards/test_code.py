"""The code sandbox: right programs pass, wrong ones fail, and no trick reports success or touches the machine."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from rlscale_jax import rewards
from rlscale_jax.rewards import code, plain, sandbox

SOURCE = "codegen__humaneval"
TESTS = """
METADATA = {}

def check(candidate):
    assert candidate([3, 1, 2]) == [1, 2, 3]
    assert candidate([]) == [], "Error"
    for size in range(5):
        assert candidate(list(range(size))[::-1]) == list(range(size))

check(in_order)"""
TRUTH = json.dumps({"functional": TESTS})
RIGHT = "def in_order(items):\n    return sorted(items)\n"

# What a candidate may try, and how it must end. None of it solves the problem.
ATTACKS = {
    "exit(0) at import": ("import sys\nsys.exit(0)", {"crashed", "wrong"}),
    "os._exit(0) at import": ("import os\nos._exit(0)", {"crashed"}),
    "exit in the call": ("def in_order(x): exit(0)", {"crashed", "wrong"}),
    "os._exit in the call": ("import os\ndef in_order(x): os._exit(0)", {"crashed"}),
    "atexit success": ("import atexit\natexit.register(print, 'OK')\ndef in_order(x): return None", {"wrong"}),
    "own check": ("def check(f): pass\ndef in_order(x): return None", {"wrong"}),
    "patched builtins": (
        "import builtins\nbuiltins.sorted = builtins.list = lambda *a: []\n"
        "builtins.AssertionError = ValueError\ndef in_order(x): return 7",
        {"wrong", "crashed"},
    ),
    "printed success": ("print('ALL TESTS PASSED')\nprint('ok 1')\ndef in_order(x): print('ok'); return 0", {"wrong"}),
    "lying __eq__": (
        "class Liar(list):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "def in_order(x): return Liar([9])",
        {"wrong"},
    ),
    "object that equals all": (
        "class Liar:\n    def __eq__(self, other): return True\ndef in_order(x): return Liar()",
        {"wrong"},
    ),
    "pickle in a value": (
        "class Evil:\n    def __reduce__(self): return (print, ('pwned',))\ndef in_order(x): return Evil()",
        {"wrong"},
    ),
    "forged replies": (
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'[\"l\", \"value\", true]\\n' * 50)\n"
        "    except OSError: pass\ndef in_order(x): return None",
        {"wrong", "crashed"},
    ),
    "rubbish on the pipe": (
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'\\xff\\x00{[' * 999 + b'\\n')\n"
        "    except OSError: pass\ndef in_order(x): return None",
        {"crashed"},
    ),
    "deeply nested reply": (
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'[' * 60000 + b'\\n')\n"
        "    except OSError: pass\ndef in_order(x): return None",
        {"crashed"},
    ),
    "endless reply": (
        "import os\nfor fd in range(3, 20):\n    try:\n        while True: os.write(fd, b'x' * 65536)\n"
        "    except OSError: pass\ndef in_order(x): return None",
        {"crashed"},
    ),
    "closed pipe": ("import os\nos.closerange(3, 30)\ndef in_order(x): return None", {"crashed"}),
    "huge value": ("def in_order(x): return ['x' * 1000] * 50000", {"wrong", "crashed"}),
    "endless generator": ("def in_order(x):\n    while True: yield 1", {"wrong"}),
    "self-containing list": ("def in_order(x):\n    x.append(x)\n    return x", {"wrong"}),
    "memory bomb": ("def in_order(x): return bytearray(8 << 30)", {"wrong", "crashed"}),
    "memory bomb in pieces": (
        "def in_order(x):\n    hold = []\n    while True: hold.append('x' * (1 << 24))",
        {"wrong", "crashed", "timeout"},
    ),
    "fork bomb": ("import os\nwhile True: os.fork()\ndef in_order(x): return None", {"wrong", "crashed"}),
    "thread bomb": (
        "import threading, time\nfor _ in range(9999): threading.Thread(target=time.sleep, args=(99,)).start()",
        {"wrong", "crashed"},
    ),
    "sleeps for ever": ("import time\ntime.sleep(10**9)", {"timeout"}),
    "spins for ever": ("def in_order(x):\n    while True: pass", {"timeout", "crashed"}),
    "ignores signals": (
        "import signal, time\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\ntime.sleep(10**9)",
        {"timeout"},
    ),
    "huge power": ("def in_order(x): return 9 ** 9 ** 9 ** 9", {"timeout", "wrong", "crashed"}),
    "regular expression": ("import re\ndef in_order(x): re.match('(a+)+$', 'a' * 40 + 'b')", {"timeout", "crashed"}),
    "deep recursion": ("def in_order(x): return in_order(x)", {"wrong"}),
    "crash in C": ("import ctypes\nctypes.string_at(0)\ndef in_order(x): return x", {"crashed"}),
    "memory in a user namespace": (
        "import ctypes\nlibc = ctypes.CDLL(None)\ndef in_order(x):\n"
        "    return sorted(x) if libc.unshare(0x10000000 | 0x20000) == 0 else None",
        {"wrong"},
    ),
    "memory in System V segments": (
        "import ctypes\nlibc = ctypes.CDLL(None)\ndef in_order(x):\n"
        "    return sorted(x) if libc.shmget(0, 1 << 28, 0o1600) >= 0 else None",
        {"wrong"},
    ),
    "a file for every inode": (
        "def in_order(x):\n    for k in range(5000): open(f'/tmp/{k}', 'w').close()\n    return sorted(x)",
        {"wrong"},
    ),
    "reads another process": (
        "import ctypes\nlibc = ctypes.CDLL(None)\ndef in_order(x):\n"
        "    return sorted(x) if libc.ptrace(16, 1, 0, 0) == 0 else None",
        {"wrong"},
    ),
    "starts a program": ("import os\ndef in_order(x): os.execv('/usr/bin/true', ['true'])", {"wrong"}),
    "lying numbers": (
        "class Liar(int):\n    def __eq__(self, other): return True\n    def __lt__(self, other): return True\n"
        "    def __index__(self): return 7\n    __hash__ = int.__hash__\ndef in_order(x): return Liar(9)",
        {"wrong"},
    ),
    "patched serialisation": (
        "import sys, json\nfor m in list(sys.modules.values()):\n    for name in ('dumps', '_pack', '_send'):\n"
        "        if hasattr(m, name): setattr(m, name, lambda *a: b'[\"l\", \"value\", true]\\n')\n"
        "def in_order(x): return None",
        {"wrong", "crashed", "timeout"},
    ),
    "kills its parents": (
        "import os, signal\nfor p in (1, os.getppid(), -1):\n    try: os.kill(p, signal.SIGKILL)\n"
        "    except OSError: pass\ndef in_order(x): return None",
        {"wrong", "crashed"},
    ),
    "not Python": ("def in_order(x) return x", {"parse_fail"}),
    "no such function": ("def another(x): return x", {"wrong"}),
}  # fmt: skip


def answer(program: str) -> str:
    return f"Let me think.\n```python\n{program}\n```\nDone."


@pytest.fixture(scope="module")
def isolated():
    if missing := sandbox.missing_isolation():
        pytest.skip(f"this machine cannot isolate: {missing}")


@pytest.fixture(scope="module")
def pool(isolated):
    with rewards.RewardPool(2) as pool:
        yield pool


def test_no_attack_succeeds_and_the_pool_goes_on(pool):
    start = time.monotonic()
    items = [(SOURCE, answer(program), TRUTH) for program, _ in ATTACKS.values()]
    verdicts = pool.submit([*items, (SOURCE, answer(RIGHT), TRUTH)]).result(120)
    found = {name: verdict.status for name, verdict in zip(ATTACKS, verdicts, strict=False)}
    assert {n: s for n, s in found.items() if s not in ATTACKS[n][1]} == {}
    assert verdicts[-1].status == "ok"
    assert max(verdict.seconds for verdict in verdicts) < 5.0
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "program",
    [
        RIGHT,
        "from typing import List\n\ndef in_order(items: List[int]) -> List[int]:\n    return sorted(items)",
        "import heapq, dataclasses, collections, hashlib, re, math, itertools\n" + RIGHT,
        "class Sorted(list): pass\ndef in_order(items): return Sorted(sorted(items))",
        "def in_order(items):\n    items.sort()\n    return items",
        RIGHT + "\nif __name__ == '__main__':\n    raise SystemExit(1)",
    ],
)
def test_right_programs_pass(pool, program):
    assert pool.submit([(SOURCE, answer(program), TRUTH)]).result()[0].status == "ok"


def test_the_tests_are_out_of_reach(isolated):
    program = """
import glob, os, sys
def seen(_):
    held = [name for name in sys.modules if "rlscale" in name]
    places = ("/etc/passwd", "/proc/self/environ", "/proc/1/environ", "/home", "/var", "/dev/null")
    files = [place for place in places if os.path.exists(place)]
    names = [name for name in globals() if "check" in name]
    return [held, files, dict(os.environ), sorted(os.listdir("/tmp")), os.getuid() == 0, names]
"""
    with sandbox.Candidate(sandbox.Limits()) as candidate:
        candidate.load(program)
        held, files, environment, temporary, root, names = candidate.call("seen", (0,), {})
    assert (held, files, temporary, root, names) == ([], [], [], False, [])
    assert set(environment) <= {"LC_CTYPE"}


def test_nothing_outside_can_be_written(isolated, tmp_path):
    outside = tmp_path / "mine"
    tmp_path.chmod(0o777)
    program = f"""
def write(path):
    with open(path, "w") as file: file.write("x")
def places(_):
    done = []
    for path in [{str(outside)!r}, "/usr/lib/x", "/lib/x", "/proc/x", "/etc/x", "/dev/shm/x"]:
        try: write(path); done.append(path)
        except OSError: pass
    return done
def fill(_):
    written = 0
    try:
        for k in range(100):
            with open(f"/tmp/{{k}}", "wb") as file: written += file.write(b"x" * (1 << 20))
    except OSError: pass
    return written
"""
    with sandbox.Candidate(sandbox.Limits()) as candidate:
        candidate.load(program)
        assert candidate.call("places", (0,), {}) == []
        assert candidate.call("fill", (0,), {}) <= 16 << 20
        directory = candidate.directory.name
    assert not outside.exists()
    assert not os.path.exists(directory)


def test_no_network(isolated):
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = f"""
import socket
def reach(_):
    try: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=1).close()
    except OSError as error: return type(error).__name__
    return "connected"
"""
        with sandbox.Candidate(sandbox.Limits()) as candidate:
            candidate.load(program)
            assert candidate.call("reach", (0,), {}) != "connected"


def test_no_process_outlives_its_sandbox(isolated):
    with sandbox.Candidate(sandbox.Limits()) as candidate:
        candidate.load("import ctypes, os\nctypes.CDLL(None).prctl(1, 0)\ntry: os.setsid()\nexcept OSError: pass")
        group = candidate.process.pid
        assert processes_of(group)
    deadline = time.monotonic() + 5
    while processes_of(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_of(group) == []


def processes_of(pid: int) -> list[int]:
    """`pid` and its descendants that are still there (by the parents that /proc names)."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = [pid] if pid in parents else []
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def test_weak_isolation_is_refused_loudly_unless_accepted(monkeypatch, caplog):
    monkeypatch.setattr(
        sandbox.Candidate, "missing", property(lambda self: "no namespaces", lambda self, _: None), raising=False
    )
    monkeypatch.setattr(code, "_weak_allowed", False)
    code._warn.cache_clear()
    assert code.grade(answer(RIGHT), TRUTH).status == "refused"
    assert "NOT graded" in caplog.text and "allow_weak_sandbox" in caplog.text
    code.allow_weak_sandbox()
    code._warn.cache_clear()
    assert code.grade(answer(RIGHT), TRUTH).status == "ok"
    assert "WITHOUT isolation" in caplog.text
    code._warn.cache_clear()


@pytest.mark.parametrize(
    ("tests", "program", "status"),
    [
        # StopIteration from a candidate would end the loop, and with it the test, before anything is compared
        (
            "    for got, due in zip(map(candidate, [1, 2]), [1, 2]):\n        assert got == due",
            "raise StopIteration",
            "wrong",
        ),
        ("    try:\n        candidate(1)\n    except:\n        pass", "import os; os._exit(0)", "crashed"),
    ],
)
def test_careless_tests_are_not_passed_by_leaving_them(isolated, tests, program, status):
    truth = json.dumps({"functional": f"def check(candidate):\n{tests}\n\ncheck(f)"})
    assert rewards.verify(SOURCE, answer(f"def f(x): {program}"), truth).status == status


def test_a_killed_worker_leaves_no_directory(isolated, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with rewards.RewardPool(1, task_timeout_secs=1.0) as pool:
        slow = pool.submit([(SOURCE, answer("import time\ntime.sleep(9)"), TRUTH)])
        assert slow.result(60)[0].status == "timeout"
    assert list(tmp_path.iterdir()) == []


def test_asserts_hold_under_python_O(isolated):
    program = "def in_order(x): return None"
    script = f"from rlscale_jax.rewards import code; print(code.grade({answer(program)!r}, {TRUTH!r}).status)"
    done = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "wrong"


def test_tests_that_test_nothing_are_an_error():
    empty = json.dumps({"functional": "def check(candidate):\n    pass\n\ncheck(in_order)"})
    if not sandbox.missing_isolation():
        with pytest.raises(ValueError, match="never call"):
            code.grade(answer(RIGHT), empty)
    with pytest.raises(ValueError, match="check"):
        code.grade(answer(RIGHT), json.dumps({"functional": "pass"}))


def test_the_last_block_that_defines_the_function_counts():
    draft, usage = "def in_order(x): return x", "print(in_order([2, 1]))"
    response = f"Draft:\n{answer(draft)}\nBetter:\n{answer(RIGHT)}\nUse:\n{answer(usage)}\n```text\nno\n```"
    assert code.last_block(response, "in_order") == "\n" + RIGHT + "\n"
    assert code.last_block("no code here", "in_order") is None
    assert code.last_block("```python\nnever closed", "in_order") is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(10**30),
        1.5,
        float("inf"),
        2 + 3j,
        "ä\ud800",
        b"\x00\xff",
        [1, (2, {3})],
        {(1, 2): [None]},
        range(3),
    ],
)
def test_plain_values_cross_the_pipe_unchanged(value):
    back = plain.loads(plain.dumps(value))
    assert back == value and type(back) is type(value)


def test_tuples_and_lists_stay_different():
    assert plain.loads(plain.dumps((1, 2))) != [1, 2]
    assert list(plain.loads(plain.dumps(x for x in (1, 2)))) == [1, 2]
    with pytest.raises(plain.NotPlain):
        plain.dumps(object())
    for line in (b"{}", b"[]", b'["x", 1]', b'["d", 1]', b'["s", ["l"]]', b"[" * 100_000, b'["q", "1", "0"]'):
        with pytest.raises(ValueError):
            plain.loads(line)
