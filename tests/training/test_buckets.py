"""A run whose working directory is a bucket: checkpoints, records and all, and another machine that goes on with it."""

import json
import shutil
import signal
import time

import pytest

from rlscale_jax.experiment.records import read_rows
from rlscale_jax.training import mirror

pytest.importorskip("gcsfs")
RUN = "runs/tiny_s0"


@pytest.fixture
def bucket(fake_bucket, monkeypatch):
    with fake_bucket.serve() as (made, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Another machine each time it is called: an empty scratch directory."""

    def arrive(name: str):
        monkeypatch.setenv("RLSCALE_SCRATCH_DIR", str(tmp_path / name))
        return tmp_path / name / "gs/bucket/work"

    return arrive


def rows_in(bucket, name="metrics.jsonl"):
    content = bucket.objects.get(f"work/{RUN}/{name}", (b"", 0))[0]
    return [json.loads(line) for line in content.decode().splitlines()]


def test_a_mirror_copies_what_changed_and_comes_back_whole(bucket, tmp_path, monkeypatch):
    here = tmp_path / "here"
    (here / "deep").mkdir(parents=True)
    (here / "deep/a.txt").write_text("one")
    (here / "b.lock").write_text("")
    copy = mirror.Mirror(here, "gs://bucket/there", apart=("checkpoints",))
    copy.push()
    assert bucket.names("there") == ["there/deep/a.txt"]
    before = bucket.objects["there/deep/a.txt"]
    copy.push()
    assert bucket.objects["there/deep/a.txt"] == before  # not written again
    bucket.put("there/checkpoints/1/x", b"large")
    shutil.rmtree(here)
    here.mkdir()
    (here / "stale.txt").write_text("of another life")
    mirror.Mirror(here, "gs://bucket/there", apart=("checkpoints",)).fetch()
    assert [path.name for path in here.rglob("*") if path.is_file()] == ["a.txt"]
    assert (here / "deep/a.txt").read_text() == "one"


@pytest.mark.slow
def test_a_run_in_a_bucket_goes_on_on_another_machine(bucket, machine, pod, tiny, tmp_path):
    """Killed there, continued here, though the newest checkpoints are damaged; assets are made once and travel too."""
    scratch = machine("first")
    flags = ("--config.checkpoint.every_steps=1", "--config.num_steps=6")
    (process,) = pod.start(1, 1, tmp_path / "logs", *flags, workdir_flag="gs://bucket/work")
    deadline = time.monotonic() + 200
    while not bucket.names(f"work/{RUN}/checkpoints/3/"):  # that of step 2 is whole once the next is begun
        assert time.monotonic() < deadline and process.poll() is None, pod.output(tmp_path / "logs")
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in [name for step in (2, 3) for name in bucket.names(f"work/{RUN}/checkpoints/{step}/")]:
        bucket.put(name, bucket.objects[name][0][: len(bucket.objects[name][0]) // 2])
    shutil.rmtree(scratch)
    machine("second")
    again = pod.start(1, 1, tmp_path / "logs", *flags, workdir_flag="gs://bucket/work")
    assert pod.end(again) == [0], pod.output(tmp_path / "logs")
    assert bucket.names(f"work/{RUN}/damaged/2-")
    assert json.loads(bucket.objects[f"work/{RUN}/done.json"][0]) == {"steps": 6}
    assert [row["step"] for row in rows_in(bucket)] == list(range(7))
    assert pod.end(pod.start(1, 1, tmp_path / "local", *flags)) == [0], pod.output(tmp_path / "local")
    expected = list(read_rows(tmp_path / "local" / RUN / "metrics.jsonl"))
    assert tiny.without_times(rows_in(bucket)) == tiny.without_times(expected)
    assert rows_in(bucket, "outcomes.jsonl") == list(read_rows(tmp_path / "local" / RUN / "outcomes.jsonl"))


@pytest.mark.slow
def test_two_hosts_with_a_bucket_and_no_disk_in_common(bucket, machine, pod, tmp_path, tiny):
    machine("both")
    flags = ("--config.num_steps=2",)
    processes = pod.start(2, 2, tmp_path / "logs", *flags, workdir_flag="gs://bucket/work", own_scratch=tmp_path)
    assert pod.end(processes) == [0, 0], pod.output(tmp_path / "logs")
    assert [row["step"] for row in rows_in(bucket)] == [0, 1, 2]
    again = pod.start(2, 2, tmp_path / "logs", *flags, workdir_flag="gs://bucket/work", own_scratch=tmp_path)
    assert pod.end(again) == [0, 0], pod.output(tmp_path / "logs")
