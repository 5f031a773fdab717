"""Runs as processes: reused, retried, reported, none left behind. The run itself is a stand-in."""

import pathlib

import pytest

from rlscale_jax.experiment.config import Experiment, Study
from rlscale_jax.studies import grid, runner


@pytest.fixture(autouse=True)
def fake_worker(monkeypatch):
    monkeypatch.setattr(runner, "WORKER", "fake_worker")
    monkeypatch.setattr(runner, "_POLL_SECS", 0.02)
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parent))


def study(*failures: int, **changes) -> Study:
    return Study(members=tuple(Experiment(name=f"fails{n}", num_steps=3) for n in failures), **changes)


def starts(workdir: pathlib.Path, failures: int) -> int:
    return len((workdir / "runs" / f"fails{failures}_s0" / "starts.txt").read_text())


def test_all_runs_finish_and_a_second_start_repeats_none(tmp_path):
    assert runner.run_all(study(0, parallel_runs=2, seeds=(0, 1)), tmp_path) == []
    assert runner.run_all(study(0, parallel_runs=2, seeds=(0, 1)), tmp_path) == []
    assert starts(tmp_path, 0) == 1
    assert (tmp_path / "runs" / "fails0_s1" / "done.json").exists()


def test_a_failed_run_is_tried_again_and_does_not_stop_the_others(tmp_path):
    assert runner.run_all(study(1, 5, 0, max_attempts=2), tmp_path) == ["fails5_s0"]
    assert (starts(tmp_path, 1), starts(tmp_path, 5), starts(tmp_path, 0)) == (2, 2, 1)
    assert "it failed" in (tmp_path / "runs" / "fails5_s0" / "output.txt").read_text()


def test_a_changed_config_runs_again(tmp_path):
    runner.run_all(study(0), tmp_path)
    changed = study(0)
    changed.members[0].num_steps = 4
    runner.run_all(changed, tmp_path)
    assert starts(tmp_path, 0) == 2


def test_another_config_under_the_same_name_is_refused_before_anything_runs(tmp_path):
    assert runner.run_all(study(0), tmp_path) == []
    kept = (tmp_path / "config.json").read_text()
    changed = study(0, 1)
    changed.members[0].grpo.group_size = 4
    with pytest.raises(ValueError, match=r"(?s)use another --workdir.*fails0_s0: grpo.group_size: was 8, now 4"):
        runner.run_all(changed, tmp_path)
    assert (tmp_path / "config.json").read_text() == kept and not (tmp_path / "runs" / "fails1_s0").exists()


def test_what_a_run_runs_on_may_change(tmp_path):
    runner.run_all(study(0), tmp_path)
    changed = study(0)
    changed.members[0].grpo.micro_batch_prompts = 4
    assert runner.run_all(changed, tmp_path) == []
    assert starts(tmp_path, 0) == 1


def test_more_seeds_and_a_sweep_reuse_what_is_there(tmp_path):
    runner.run_all(study(0), tmp_path)
    assert runner.run_all(grid.expand(study(0), ["grpo.group_size=4,8", "seed=0,1"]), tmp_path) == []
    assert starts(tmp_path, 0) == 1
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "fails0_s0", "fails0_s1", "fails0_group_size4_s0", "fails0_group_size4_s1",
    }  # fmt: skip
