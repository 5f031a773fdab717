#!/usr/bin/env python3
"""A Google Cloud made of files: checks every argument of gcloud and kubectl, runs "ssh" locally, injects faults.

Called as `gcloud` or `kubectl` from PATH, which $FAKE_PROGRAM tells apart. $FAKE_CLOUD holds resources.json,
faults.json, calls.jsonl, gs/ (the buckets) and hosts/ (a home directory per worker). Flags were recorded from the real
command's help (gcloud_flags.json); states and their order are those of the Cloud TPU API.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

CLOUD = pathlib.Path(os.environ["FAKE_CLOUD"])
FLAGS = json.loads((pathlib.Path(__file__).parent / "gcloud_flags.json").read_text())["commands"]
HOSTS = {"v5litepod-8": 1, "v5litepod-16": 4, "v6e-16": 4, "v5p-16": 2}
RUNTIMES = {"v5litepod": "v2-alpha-tpuv5-lite", "v6e": "v2-alpha-tpuv6e", "v5p": "v2-alpha-tpuv5"}
REQUIRED = {
    "compute tpus queued-resources create": {"--zone", "--node-id", "--accelerator-type", "--runtime-version"},
    "compute tpus queued-resources delete": {"--zone", "--quiet"},  # without --quiet it asks, and nobody answers
    "compute tpus queued-resources describe": {"--zone", "--format"},
    "compute tpus tpu-vm ssh": {"--zone", "--worker", "--command"},
}
BECOMES = {  # what the next look finds
    "CREATING": "WAITING_FOR_RESOURCES",
    "WAITING_FOR_RESOURCES": "PROVISIONING",
    "PROVISIONING": "ACTIVE",
    "SUSPENDING": "SUSPENDED",
}


def fail(message: str, status: int = 1):
    print(f"ERROR: (gcloud) {message}", file=sys.stderr)
    sys.exit(status)


def read(name: str, default):
    path = CLOUD / name
    return json.loads(path.read_text()) if path.exists() else default


def write(name: str, value) -> None:
    new = CLOUD / f"{name}.new"
    new.write_text(json.dumps(value, indent=1))
    os.replace(new, CLOUD / name)  # training looks at faults without the lock


def parse(argv: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """The command, its positional arguments and flags; exits with 2 as gcloud does for a wrong argument."""
    command = next((c for c in sorted(FLAGS, key=len, reverse=True) if argv[: len(c.split())] == c.split()), None)
    if command is None:
        fail(f"Invalid choice: {argv}", 2)
    words, flags = [], {}
    for arg in argv[len(command.split()) :]:
        name, equals, value = arg.partition("=")
        if not arg.startswith("--") or arg == "-":
            words.append(arg)
        elif name not in FLAGS[command]:
            fail(f"unrecognized arguments: {arg}", 2)
        elif (FLAGS[command][name] == "value") != bool(equals and value):
            fail(f"argument {name}: wrong use ({arg})", 2)
        else:
            flags[name] = value
    missing = REQUIRED.get(command, set()) - set(flags)
    if missing:
        fail(f"argument {missing} must be specified", 2)
    return command, words, flags


def fault(kind: str, **facts) -> bool:
    """Whether a fault of this kind is due; it is used up."""
    faults = read("faults.json", [])
    for index, one in enumerate(faults):
        if one["kind"] == kind and all(one.get(key, value) == value for key, value in facts.items()):
            one["times"] = one.get("times", 1) - 1
            write("faults.json", faults[:index] + ([one] if one["times"] > 0 else []) + faults[index + 1 :])
            return True
    return False


def create(words, flags):
    resources = read("resources.json", {})
    (name,) = words
    kind, _, size = flags["--accelerator-type"].rpartition("-")
    if flags["--accelerator-type"] not in HOSTS or flags["--runtime-version"] != RUNTIMES[kind]:
        fail(f"INVALID_ARGUMENT: {flags}")
    if flags["--node-id"] != name or ("--spot" in flags and "--reserved" in flags):
        fail(f"INVALID_ARGUMENT: {flags}")
    if name in resources:
        fail("ALREADY_EXISTS", 1)
    if fault("quota"):
        fail("RESOURCE_EXHAUSTED: Quota limit 'TPUV5sLitepodPerProjectPerZoneForTPUAPI' has been exceeded.")
    state = "FAILED" if fault("quota_later") else "CREATING"
    resources[name] = {"state": state, "accelerator": flags["--accelerator-type"], "size": int(size)}
    write("resources.json", resources)
    for index in range(HOSTS[flags["--accelerator-type"]]):
        (CLOUD / "hosts" / name / str(index)).mkdir(parents=True)


def delete(words, flags):
    resources = read("resources.json", {})
    (name,) = words
    if name not in resources:
        fail("NOT_FOUND")
    if fault("delete_fails"):
        fail("INTERNAL: the operation failed")
    if "--force" not in flags and resources[name]["state"] not in ("FAILED", "SUSPENDED"):
        fail("FAILED_PRECONDITION: nodes exist; use --force")
    end_hosts(name)
    del resources[name]
    write("resources.json", resources)


def describe(words, flags):
    if fault("api_down"):
        fail("UNAVAILABLE: the service is currently unavailable")
    resources = read("resources.json", {})
    (name,) = words
    if name not in resources:
        fail(f"NOT_FOUND: Resource 'projects/p/locations/z/queuedResources/{name}' was not found")
    found = resources[name]
    if flags["--format"] == "value(tpu.nodeSpec[0].node.acceleratorType)":
        if fault("unreadable_size"):
            fail("UNAVAILABLE: the service is currently unavailable")
        return print(found["accelerator"])
    assert flags["--format"] == "value(state.state)", flags
    print(found["state"])
    found["state"] = BECOMES.get(found["state"], found["state"])
    if found["state"] == "ACTIVE" and progress() >= due_preemption() and fault("preempt"):
        found["state"] = "SUSPENDING"
        end_hosts(name)
    write("resources.json", resources)


def due_preemption() -> int:
    return next((f["after_step"] for f in read("faults.json", []) if f["kind"] == "preempt"), 10**9)


def progress() -> int:
    """The furthest checkpoint in any bucket."""
    return max((int(path.read_text()) for path in (CLOUD / "gs").rglob("checkpoint")), default=0)


def end_hosts(name: str) -> None:
    """The virtual machines go: processes without a warning, then disks."""
    for pid in (CLOUD / "hosts" / name).rglob("pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)
    shutil.rmtree(CLOUD / "hosts" / name, ignore_errors=True)


def ssh(words, flags):
    (name,) = words
    found = read("resources.json", {}).get(name)
    if not found or found["state"] != "ACTIVE":
        fail(f"TPU {name} is not READY")
    assert flags["--worker"] == "all", flags
    jobs = []
    for home in sorted((CLOUD / "hosts" / name).iterdir()):
        if fault("unreachable", worker=int(home.name)):
            jobs.append(subprocess.Popen(["false"]))
            continue
        environ = os.environ | {"HOME": str(home)}
        jobs.append(subprocess.Popen(["bash", "-c", flags["--command"]], cwd=home, env=environ))
    return jobs  # waited for without the lock: the hosts use the bucket


def path_of(url: str) -> pathlib.Path:
    return CLOUD / "gs" / url.removeprefix("gs://")


def storage(command, words):
    if command == "storage cp":
        source, target = words
        assert target.startswith("gs://"), words
        path_of(target).parent.mkdir(parents=True, exist_ok=True)
        if source == "-":
            path_of(target).write_bytes(sys.stdin.buffer.read())
        else:
            shutil.copyfile(source, path_of(target))
    elif not path_of(words[0]).exists():
        fail("One or more URLs matched no objects.")
    elif command == "storage cat":
        sys.stdout.buffer.write(path_of(words[0]).read_bytes())


def kubectl(argv):
    assert argv == ["apply", "--filename=-"], argv
    manifest = json.load(sys.stdin)
    assert manifest["apiVersion"] == "jobset.x-k8s.io/v1alpha2" and manifest["kind"] == "JobSet", manifest
    write("jobset.json", manifest)


def main() -> None:
    program, argv = os.environ["FAKE_PROGRAM"], sys.argv[1:]
    with open(CLOUD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(CLOUD / "calls.jsonl", "a") as calls:
            calls.write(json.dumps([program, *argv]) + "\n")
        if program == "kubectl":
            return kubectl(argv)
        command, words, flags = parse(argv)
        if command.startswith("storage"):
            return storage(command, words)
        jobs = {"create": create, "delete": delete, "describe": describe, "ssh": ssh}[command.split()[-1]](words, flags)
    statuses = [job.wait() for job in jobs or ()]  # all of them: the hosts run at once
    if any(statuses):
        fail("[/usr/bin/ssh] exited with return code [255]", 255)


if __name__ == "__main__":
    main()
