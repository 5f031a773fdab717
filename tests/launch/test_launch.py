"""The launch scripts against a fake cloud with faults: nothing left running, nothing lost, a second start repairs."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from rlscale_jax.experiment import flags, validation

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PLACE = ["--zone=us-central1-a", "--project=p"]
RUN = ["--config=configs/toy.py:7b", "--workdir=gs://bucket/work"]
SLICE = ["--topology=v5e:4x4"]


class Cloud:
    """The fake cloud's files, and the scripts run in it from a repository of their own."""

    def __init__(self, base: pathlib.Path):
        self.base, self.repository, programs = base / "cloud", base / "repository", base / "bin"
        for folder in (self.base / "gs", programs, self.repository / "configs"):
            folder.mkdir(parents=True)
        for program, source in {"gcloud": "fake_gcloud.py", "kubectl": "fake_gcloud.py", "uv": "fake_uv.py"}.items():
            (programs / program).write_text(
                f'#!/bin/sh\nFAKE_PROGRAM={program} exec "{sys.executable}" -S "{HERE / source}" "$@"\n'
            )
            (programs / program).chmod(0o755)
        self.environ = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "FAKE_CLOUD": str(self.base),
            "POLL_SECS": "0.05",
            "TRIES": "3",
            "PYTHON": sys.executable,
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        self._commit_repository()

    def _commit_repository(self) -> None:
        shutil.copytree(ROOT / "launch", self.repository / "launch")
        shutil.copytree(ROOT / "rlscale_jax/planning", self.repository / "rlscale_jax/planning")
        shutil.copy(HERE / "toy_train.py", self.repository / "rlscale_jax/train.py")
        (self.repository / "rlscale_jax/__init__.py").touch()
        for name in ("requirements.txt", "requirements-tpu.txt", "constraints.txt", "configs/toy.py"):
            (self.repository / name).touch()
        for words in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"],
        ):
            subprocess.run(["git", *words], cwd=self.repository, check=True, env=self.environ)

    def __call__(self, script: str, *args: str, timeout: float = 60) -> subprocess.CompletedProcess:
        command = [str(self.repository / "launch" / script), *args]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=timeout)

    def start(self, script: str, *args: str) -> subprocess.Popen:
        command = [str(self.repository / "launch" / script), *args]
        return subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def faults(self, *faults: dict) -> None:
        (self.base / "faults.json").write_text(json.dumps(faults))

    @property
    def resources(self) -> dict:
        path = self.base / "resources.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def calls(self) -> list[list[str]]:
        path = self.base / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def count(self, verb: str) -> int:
        return sum(call[3:5] == ["queued-resources", verb] for call in self.calls)

    def bucket(self, name: str) -> pathlib.Path:
        return self.base / "gs" / "bucket" / name

    def steps(self, run: str = "work/runs/7b") -> list[int]:
        return [int(line) for line in self.bucket(f"{run}/metrics.jsonl").read_text().split()]

    def training(self) -> list[int]:
        """Process groups of training that are alive on any host."""
        alive = []
        for pid in self.base.glob("hosts/*/*/rlscale/runs/*/pid"):
            try:
                os.killpg(int(pid.read_text()), 0)
                alive.append(int(pid.read_text()))
            except (ProcessLookupError, ValueError):
                pass
        return alive


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path)
    yield made
    for group in made.training():
        os.killpg(group, signal.SIGKILL)


def ok(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("script", ["create.sh", "run.sh", "resume.sh", "sweep.sh", "delete.sh", "gke.sh"])
def test_help_and_wrong_options(cloud, script):
    assert f"launch/{script} NAME" in ok(cloud(script, "--help"))
    for args, part in ((["x", "--zon=a"], "unknown option"), (["Bad_Name"], "NAME"), (["x"], "is missing")):
        done = cloud(script, *args)
        assert done.returncode == 2 and part in done.stderr
    assert cloud.calls == []


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    scripts = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "launch").glob("*.sh"))
    subprocess.run(["shellcheck", "--shell=bash", "-x", "-P", "launch", *scripts], cwd=ROOT, check=True)


def test_dry_run_prints_what_a_run_then_executes(cloud):
    printed = ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN, "--spot", "--dry-run", "--", "--config.name=a b"))
    assert cloud.calls == []
    ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN, "--spot", "--", "--config.name=a b"))
    planned = [shlex.split(line) for line in printed.splitlines() if line.startswith("gcloud")]
    executed = [[word for word in call if "tmp" not in word] for call in cloud.calls]
    assert len(planned) == 6
    for command in planned:
        assert [word for word in command if "tmp" not in word] in executed, command


def test_a_topology_that_cannot_be_bought_is_refused_before_any_call(cloud):
    done = cloud("create.sh", "q", "--topology=v5e:3x5", *PLACE)
    assert done.returncode == 2 and "v5e:4x4" in done.stderr
    assert cloud.calls == []


def test_create_waits_and_is_idempotent(cloud):
    ok(cloud("create.sh", "q", *SLICE, *PLACE, "--reserved"))
    cloud.faults({"kind": "api_down", "times": 1}, {"kind": "unreadable_size", "times": 1})
    ok(cloud("create.sh", "q", *SLICE, *PLACE, "--reserved"))
    assert cloud.count("create") == 1
    assert cloud.resources["q"]["state"] == "ACTIVE"
    other = cloud("create.sh", "q", "--topology=v5e:2x4", *PLACE)
    assert other.returncode == 2 and "v5litepod-16" in other.stderr
    ok(cloud("delete.sh", "q", *PLACE))
    ok(cloud("delete.sh", "q", *PLACE))
    assert cloud.resources == {}


@pytest.mark.parametrize("kind", ["quota", "quota_later"])
def test_a_refused_quota_leaves_nothing_and_a_second_start_succeeds(cloud, kind):
    cloud.faults({"kind": kind})
    done = cloud("create.sh", "q", *SLICE, *PLACE)
    assert done.returncode == 3 and "nothing was left" in done.stderr
    assert cloud.resources == {}
    ok(cloud("create.sh", "q", *SLICE, *PLACE))


def test_a_run_to_its_end_gives_the_slice_back_and_is_not_run_twice(cloud):
    ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN))
    assert cloud.steps() == list(range(6))
    assert cloud.resources == {} and cloud.bucket("work/launch/q/DONE").exists()
    archives = list(cloud.bucket("work/launch/code").iterdir())
    assert len(archives) == 1
    assert "done already" in ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN))
    other = cloud("resume.sh", "q", *SLICE, *PLACE, "--config=configs/toy.py:x", RUN[1])
    assert other.returncode == 2 and "--run=NAME" in other.stderr
    assert cloud.count("create") == 1


def test_preempted_half_way_goes_on_from_the_checkpoint(cloud):
    cloud.faults({"kind": "preempt", "after_step": 3})
    ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN, "--spot"))
    assert cloud.count("create") == 2
    assert sorted(set(cloud.steps())) == list(range(6))
    assert len(cloud.steps()) <= 7  # at most the step that was cut stands twice
    assert cloud.resources == {} and cloud.training() == []


def test_one_worker_unreachable_starts_nothing_then_a_second_start_repairs(cloud):
    ok(cloud("create.sh", "q", *SLICE, *PLACE))
    cloud.faults({"kind": "unreachable", "worker": 2, "times": 3})
    done = cloud("run.sh", "q", *PLACE, *RUN)
    assert done.returncode == 4 and "cannot be reached" in done.stderr
    assert cloud.training() == []
    ok(cloud("run.sh", "q", *PLACE, *RUN))
    checkpoint = cloud.bucket("work/runs/7b/checkpoint")
    wait_until(lambda: checkpoint.exists() and checkpoint.read_text() == "6")


def test_one_worker_that_cannot_install_stops_all(cloud):
    ok(cloud("create.sh", "q", *SLICE, *PLACE))
    (cloud.base / "install_fails").touch()
    done = cloud("run.sh", "q", *PLACE, *RUN)
    assert done.returncode == 4 and "all were stopped" in done.stderr
    assert cloud.training() == []
    (cloud.base / "install_fails").unlink()
    ok(cloud("run.sh", "q", *PLACE, *RUN))


def test_a_worker_lost_during_the_run_gets_a_new_slice(cloud):
    cloud.faults({"kind": "unreachable", "worker": 1, "times": 3}, {"kind": "api_down", "times": 1})
    ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN))
    assert sorted(set(cloud.steps())) == list(range(6))
    assert cloud.resources == {}


def test_a_crash_is_retried_and_endless_crashes_are_given_up(cloud):
    cloud.bucket("work/runs/7b").mkdir(parents=True)
    cloud.bucket("work/runs/7b/crash").touch()
    ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN))
    assert sorted(set(cloud.steps())) == list(range(6))
    (cloud.base / "install_fails").touch()
    done = cloud("resume.sh", "q2", *SLICE, *PLACE, *RUN, "--max-failures=1")
    assert done.returncode == 4 and "gave up" in done.stderr
    assert cloud.resources == {} and cloud.training() == []


def test_a_run_stopped_by_a_notice_has_not_failed(cloud):
    cloud.bucket("work/runs/7b").mkdir(parents=True)
    cloud.bucket("work/runs/7b/notice").touch()
    said = ok(cloud("resume.sh", "q", *SLICE, *PLACE, *RUN, "--max-failures=0"))
    assert "stopped after" in said and cloud.steps() == list(range(6))
    assert cloud.resources == {} and cloud.training() == []


def test_a_second_run_command_leaves_the_running_one_alone(cloud):
    cloud.bucket("work/runs/7b").mkdir(parents=True)
    cloud.bucket("work/runs/7b/hold").touch()
    ok(cloud("create.sh", "q", "--topology=v5e:2x4", *PLACE))
    ok(cloud("run.sh", "q", *PLACE, *RUN))
    before = cloud.training()
    assert "already running" in ok(cloud("run.sh", "q", *PLACE, *RUN))
    assert cloud.training() == before and len(before) == 1
    other = cloud("run.sh", "q", *PLACE, *RUN, "--run=other")
    assert other.returncode == 4 and "another run trains here" in other.stderr


def test_uncommitted_changes_are_refused(cloud):
    ok(cloud("create.sh", "q", *SLICE, *PLACE))
    (cloud.repository / "configs/toy.py").write_text("changed")
    done = cloud("run.sh", "q", *PLACE, *RUN)
    assert done.returncode == 2 and "uncommitted" in done.stderr
    ok(cloud("run.sh", "q", *PLACE, *RUN, "--commit=HEAD"))


def test_sweep_over_two_slices_then_again(cloud):
    runs = cloud.repository / "runs.txt"
    lines = ["# three runs", "a --config=configs/toy.py:a", "b --config=configs/toy.py:b --config.seed=1", ""]
    runs.write_text("\n".join([*lines, "c --config=configs/toy.py:c  # last", ""]))
    args = ["s", f"--runs={runs}", "--slices=2", "--topology=v5e:2x4", *PLACE, "--workdir=gs://bucket/study"]
    args += ["--commit=HEAD"]
    cloud.faults({"kind": "preempt", "after_step": 2})
    ok(cloud("sweep.sh", *args))
    for run in "abc":
        assert sorted(set(cloud.steps(f"study/runs/{run}"))) == list(range(6))
    assert cloud.resources == {} and cloud.training() == []
    created = cloud.count("create")
    assert created == 3  # two slices, one of them rented again after the preemption
    ok(cloud("sweep.sh", *args))
    assert cloud.count("create") == created


def test_a_slice_without_quota_leaves_its_runs_to_the_others(cloud):
    runs = cloud.repository / "runs.txt"
    runs.write_text("".join(f"{name} --config=configs/toy.py:{name}\n" for name in "ab"))
    args = ["s", f"--runs={runs}", "--slices=2", "--topology=v5e:2x4", *PLACE, "--workdir=gs://bucket/study"]
    args += ["--commit=HEAD"]
    cloud.faults({"kind": "quota"})
    ok(cloud("sweep.sh", *args))
    assert [cloud.steps(f"study/runs/{run}") for run in "ab"] == [list(range(6))] * 2
    runs.write_text("c --config=configs/toy.py:c\n")
    cloud.faults({"kind": "quota"})
    done = cloud("sweep.sh", *args)
    assert done.returncode == 3 and "no slice for: c" in done.stderr
    cloud.faults({"kind": "delete_fails", "times": 20})
    done = cloud("sweep.sh", *args)
    assert done.returncode == 4 and "not given back, may cost money: s-1" in done.stderr
    assert list(cloud.resources) == ["s-1"]


def test_an_interrupted_sweep_leaves_training_alone_and_can_be_taken_up(cloud):
    runs = cloud.repository / "runs.txt"
    runs.write_text("a --config=configs/toy.py:a\n")
    args = ["s", f"--runs={runs}", "--topology=v5e:2x4", *PLACE, "--workdir=gs://bucket/study", "--commit=HEAD"]
    hold = cloud.bucket("study/runs/a/hold")
    hold.parent.mkdir(parents=True)
    hold.touch()
    sweep = cloud.start("sweep.sh", *args)
    wait_until(lambda: cloud.training())
    sweep.send_signal(signal.SIGTERM)
    output, _ = sweep.communicate(timeout=10)
    assert sweep.returncode == 4 and "interrupted" in output
    calls = len(cloud.calls)
    time.sleep(0.6)
    assert len(cloud.calls) <= calls + 1, "no supervisor is left behind"
    assert cloud.training(), "training goes on"
    hold.unlink()
    ok(cloud("sweep.sh", *args))
    assert cloud.steps("study/runs/a") == list(range(6)) and cloud.resources == {}


@pytest.mark.parametrize("line", ["a", "a --config.seed=1", "a b --config=x", "a/b --config=x", ""])
def test_sweep_refuses_bad_run_files(cloud, line):
    runs = cloud.repository / "runs.txt"
    runs.write_text(line + "\n")
    if line == "a b --config=x":
        runs.write_text("a --config=x\na --config=y\n")
    done = cloud("sweep.sh", "s", f"--runs={runs}", *SLICE, *PLACE, "--workdir=gs://b/d", "--commit=HEAD")
    assert done.returncode == 2 and cloud.calls == []


def test_gke_applies_a_jobset_for_the_whole_slice(cloud):
    where = ["--image=i:1", "--queue=team"]
    ok(cloud("gke.sh", "q", "--topology=v5p:2x2x2", *RUN, *where, "--spot", "--", "--config.seed=1"))
    jobset = json.loads((cloud.base / "jobset.json").read_text())
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}
    assert job["parallelism"] == job["completions"] == 2
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "2x2x2",
        "cloud.google.com/gke-spot": "true",
    }
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"google.com/tpu": "4"}
    assert container["command"] == ["python", "-m", "rlscale_jax.train", *RUN, "--config.seed=1"]
    before = len(cloud.calls)
    assert '"JobSet"' in ok(cloud("gke.sh", "q", "--topology=v5p:2x2x2", *RUN, *where, "--dry-run"))
    assert len(cloud.calls) == before


def test_the_study_s_runs_stand_once_and_parse():
    names = set()
    for topology, number in (("v5e:8x8", 33), ("v5p:8x8x8", 9)):
        done = subprocess.run(
            [sys.executable, "launch/runs.py", topology], cwd=ROOT, capture_output=True, text=True, check=True
        )
        lines = [line.split() for line in done.stdout.splitlines()]
        assert len(lines) == number
        for name, config, *overrides in lines:
            names.add(name)
            experiment = flags.load(str(ROOT / config.removeprefix("--config=")))
            for override in overrides:
                validation.set_field(experiment, *override.removeprefix("--config.").split("=", 1))
            validation.validate(experiment)
    assert len(names) == 42
    wrong = subprocess.run([sys.executable, "launch/runs.py", "v5e:2x2"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 1 and "v5e:8x8" in wrong.stderr
