"""The inside of the sandbox: cuts this process off from the machine, then serves calls of a candidate's functions.

Run as a script by `sandbox` in a fresh interpreter with an empty environment; imports nothing of this package
but `plain`, by its path. Order matters: namespaces, a private root, an init process that outlives nothing,
no privileges, resource limits, a filter of system calls, and only then the first line of the candidate's code.
"""

import ctypes
import importlib.util
import os
import platform
import resource
import signal
import socket
import struct
import sys
import types

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # fmt: skip
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_AT_FDCWD, _AT_RECURSIVE, _READ_ONLY_NOSUID_NODEV = -100, 0x8000, 7
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PDEATHSIG, _NO_NEW_PRIVS, _SECCOMP, _SECCOMP_FILTER = 1, 38, 22, 2
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# System calls that no solution needs. Without them a candidate cannot enter a user namespace of its own, where it
# could mount memory beyond its limits, nor keep memory in System V segments, which RLIMIT_AS does not count.
_FORBIDDEN = {
    "x86_64": {
        "fork": 57, "vfork": 58, "clone": 56, "clone3": 435, "execve": 59, "execveat": 322, "ptrace": 101,
        "process_vm_readv": 310, "process_vm_writev": 311, "unshare": 272, "setns": 308, "chroot": 161,
        "pivot_root": 155, "mount": 165, "umount2": 166, "open_tree": 428, "move_mount": 429, "fsopen": 430,
        "mount_setattr": 442, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "add_key": 248,
        "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "io_uring_setup": 425, "open_by_handle_at": 304, "kexec_load": 246,
    },
    "aarch64": {
        "clone": 220, "clone3": 435, "execve": 221, "execveat": 281, "ptrace": 117, "process_vm_readv": 270,
        "process_vm_writev": 271, "unshare": 97, "setns": 268, "chroot": 51, "pivot_root": 41, "mount": 40,
        "umount2": 39, "open_tree": 428, "move_mount": 429, "fsopen": 430, "mount_setattr": 442, "shmget": 194,
        "semget": 190, "msgget": 186, "mq_open": 180, "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425, "open_by_handle_at": 265, "kexec_load": 104,
    },
}  # fmt: skip
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
    try:
        _filter_system_calls()
    except OSError as error:
        missing = missing or f"{error.strerror or error} (system call filter)"
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
    _check(_libc.mount(b"tmpfs", new, b"tmpfs", 6, b"size=16m,nr_inodes=4096,mode=0755"), "mount tmpfs")
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
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY_NOSUID_NODEV, 0, 0, 0)
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


def _filter_system_calls() -> None:
    """Those in `_FORBIDDEN` fail with EPERM from now on, those of another architecture too (seccomp, classic BPF)."""
    machine = platform.machine()
    if machine not in _FORBIDDEN:
        raise OSError(0, f"no filter for {machine}")
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    refuse, allow = (answer, 0, 0, 0x00050001), (answer, 0, 0, 0x7FFF0000)
    steps = [(load, 0, 0, 4), (equal, 1, 0, _AUDIT_ARCH[machine]), refuse, (load, 0, 0, 0)]
    steps += [(at_least, 0, 1, 0x40000000), refuse]  # the x32 numbers of x86-64
    for number in _FORBIDDEN[machine].values():
        steps += [(equal, 0, 1, number), refuse]
    code = b"".join(struct.pack("HBBI", *step) for step in [*steps, allow])
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    _check(_libc.prctl(_SECCOMP, _SECCOMP_FILTER, ctypes.create_string_buffer(program, len(program)), 0, 0), "seccomp")


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
