"""The inside of the sandbox: cuts this process off from the machine, then serves calls of a candidate's functions.

Run as a script by `sandbox` in a fresh interpreter with an empty environment; imports nothing of this package
but `plain`, by its path. Order matters: namespaces, a private root, an init process that outlives nothing,
no privileges, resource limits, and only then the first line of the candidate's code.
"""

import ctypes
import importlib.util
import os
import platform
import resource
import signal
import socket
import sys
import types

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # fmt: skip
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_AT_FDCWD, _AT_RECURSIVE, _READ_ONLY_NOSUID = -100, 0x8000, 3
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_NOBODY = 65534
_LIBRARY_DIRS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_COMMON_MODULES = ("bisect", "collections", "copy", "datetime", "functools", "hashlib", "heapq", "itertools", "math",
                   "operator", "random", "re", "statistics", "string", "typing")  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


def main(channel_fd: int, plain_path: str, memory_bytes: int, cpu_secs: int) -> None:
    """Reports the isolation reached ("" or what is missing), then waits for the code and its calls."""
    spec = importlib.util.spec_from_file_location("plain", plain_path)
    assert spec and spec.loader
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)
    missing = ""
    try:
        _enter_namespaces()
        _private_root()
        _run_as_child_of_init()
    except OSError as error:
        missing = f"{error.strerror or error} ({error.filename or 'namespaces'})"
        for name in _COMMON_MODULES:  # their files may be out of reach for the user `nobody`
            importlib.import_module(name)
    _drop_privileges()
    _limit(memory_bytes, cpu_secs)
    channel = socket.socket(fileno=channel_fd).makefile("rwb")
    _send(channel, plain.dumps(missing))
    _serve(channel, plain)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _enter_namespaces() -> None:
    """New mount, network, process, IPC and host-name spaces; without root in a user namespace of our own."""
    flags = _NEWNS | _NEWNET | _NEWPID | _NEWIPC | _NEWUTS
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _check(_libc.unshare(flags), "unshare")
        return
    _check(_libc.unshare(flags | _NEWUSER), "unshare")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def _private_root() -> None:
    """An empty file system in memory, with the interpreter's libraries read-only and a /tmp of its own."""
    new = b"/proc"  # any directory will do as a mount point; what lies below stays untouched outside
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount private")
    home = os.path.realpath(os.path.dirname(os.__file__))
    places = [*_LIBRARY_DIRS, home, os.path.realpath(os.path.join(sys.base_prefix, "lib"))]
    _check(_libc.mount(b"tmpfs", new, b"tmpfs", 6, b"size=16m,mode=0755"), "mount tmpfs")
    bound: list[str] = []
    for place in places:
        target = new.decode() + place
        if os.path.islink(place):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(os.readlink(place), target)
        elif os.path.isdir(place) and not any(place == other or place.startswith(other + "/") for other in bound):
            os.makedirs(target, exist_ok=True)
            _bind_read_only(place.encode(), target.encode())
            bound.append(place)
    os.mkdir(new.decode() + "/tmp")
    os.chmod(new.decode() + "/tmp", 0o777)
    os.chdir(new)
    if platform.machine() not in _PIVOT_ROOT:
        raise OSError(0, f"no pivot_root on {platform.machine()}")
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/tmp")


def _bind_read_only(source: bytes, target: bytes) -> None:
    _check(_libc.mount(source, target, None, _MS_BIND | _MS_REC, None), f"bind {source.decode()}")
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY_NOSUID, 0, 0, 0)
    _check(
        _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, target, _AT_RECURSIVE, ctypes.byref(attributes), 32),
        f"read-only {source.decode()}",
    )


def _run_as_child_of_init() -> None:
    """Goes on in a grandchild; the child is the process space's init: when it dies, everything in it dies."""
    for _ in range(2):
        pid = os.fork()
        if pid:
            os.closerange(3, 256)
            os.waitpid(pid, 0)
            os._exit(0)
        _libc.prctl(_PDEATHSIG, signal.SIGKILL)


def _drop_privileges() -> None:
    """No root, no capabilities, and no way to regain them."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _libc.capset(ctypes.byref(header), ctypes.byref(data))
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)  # a change of user clears it


def _limit(memory_bytes: int, cpu_secs: int) -> None:
    for what, amount in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_secs),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 0),  # no process and no thread beside this one
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (amount, amount))


def _send(channel, line: bytes) -> None:
    channel.write(line)
    channel.flush()


def _serve(channel, plain) -> None:
    """First line: the code. Then [function, args, kwargs] a line, answered by ["value", v] or ["error", type, text]."""
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    for line in channel:
        request = plain.loads(line)
        try:
            if isinstance(request, str):
                exec(compile(request, "<candidate>", "exec"), module.__dict__)
                reply = plain.dumps(["value", None])
            else:
                name, args, kwargs = request
                reply = plain.dumps(["value", getattr(module, name)(*args, **kwargs)])
        except Exception as error:
            reply = plain.dumps(["error", type(error).__name__, str(error)[:500]])
        _send(channel, reply)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
