"""A whole run: its records, resume after an interruption, and what it refuses."""

import importlib.machinery
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import time
import types

import jax
import pytest
from tensorboardX.proto import event_pb2

from rlscale_jax.experiment.config import MeshConfig, to_dict
from rlscale_jax.experiment.records import RecordFile
from rlscale_jax.training import assets, loop

ROOT = pathlib.Path(__file__).parents[2]


def train(experiment, directory, num_devices: int = 1):
    loop.train(experiment, directory, devices=jax.devices()[:num_devices])


def ready(tiny, tiny_assets, **changes):
    return assets.ensure(tiny.experiment(**changes), tiny_assets, log_path=tiny_assets / "log.txt")


@pytest.fixture(scope="module")
def finished(tiny, tiny_assets, tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("run")
    train(ready(tiny, tiny_assets), directory)
    return directory


def rows(directory: pathlib.Path, name: str = "metrics.jsonl") -> list[dict]:
    return RecordFile(directory / name).rows()


def test_a_run_records_every_step_once(finished):
    kept = rows(finished)
    assert [row["step"] for row in kept] == [0, 1, 2, 3, 4, 5]
    assert [row["step"] for row in kept if "scaling/test_loss" in row] == [0, 2, 4, 5]
    assert [row["scaling/samples"] for row in kept] == [0, 8, 16, 24, 32, 40]
    assert json.loads((finished / "done.json").read_text()) == {"steps": 5}


def test_metrics_carry_the_names_that_users_know(finished):
    """All of them, in the last step's row, which has an evaluation."""
    expected = {
        *("critic/rewards/mean", "actor/pg_loss", "actor/kl_loss", "actor/ppo_kl", "actor/pg_clipfrac"),
        *("actor/pg_clipfrac_lower", "actor/entropy", "actor/grad_norm", "actor/lr", "frac_reward_zero_std"),
        *(f"response_length/{part}" for part in ("mean", "max", "min", "clip_ratio")),
        *(f"prompt_length/{part}" for part in ("mean", "max", "min", "clip_ratio")),
        *(f"training/rollout_probs_diff_{part}" for part in ("mean", "max", "std")),
        *(f"perf/{part}" for part in ("total_num_tokens", "time_per_step", "throughput", "mfu/actor", "wait_share")),
        *(f"timing_s/{part}" for part in ("gen", "reward", "old_log_prob", "ref", "adv", "update_actor")),
        *("timing_s/testing", "timing_s/step", "val-core/heldout/acc/mean@1"),
        *(f"scaling/{part}" for part in ("samples", "tokens", "flops_paper", "flops_total", "n_nominal")),
        *("scaling/n_nonembed", "scaling/test_loss", "scaling/test_loss_se"),
        *(f"reward/{status}_rate" for status in ("unboxed", "timeout", "parse_fail")),
    }
    last = rows(finished)[-1]
    assert expected <= last.keys()
    assert 0 < last["perf/mfu/actor"] < 1 and 0 <= last["perf/wait_share"] < 1
    parts = ("gen", "reward", "old_log_prob", "ref", "adv", "update_actor", "testing")
    assert sum(last[f"timing_s/{part}"] for part in parts) <= last["timing_s/step"]


def test_the_first_row_says_that_sampler_and_trainer_hold_the_same_weights(finished):
    first = rows(finished)[0]
    assert first["fingerprint/sampler"] == first["fingerprint/trainer"] and len(first["fingerprint/sampler"]) == 16
    assert first["fingerprint/trainer"] in (finished / "log.txt").read_text()


def test_tensorboard_has_what_the_records_have(finished):
    told = dict(board(finished))
    for row in rows(finished):
        for name in ("scaling/test_loss", "critic/rewards/mean", "perf/mfu/actor"):
            if name in row:
                assert told[row["step"]][name] == pytest.approx(row[name])


def board(directory):
    """(step, {name: value}) of a run's TensorBoard file: records of length, checksum, event, checksum."""
    (path,) = (directory / "tensorboard").iterdir()
    data, place, steps = path.read_bytes(), 0, {}
    while place < len(data):
        (length,) = struct.unpack("<Q", data[place : place + 8])
        event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length
        steps.setdefault(event.step, {}).update({value.tag: value.simple_value for value in event.summary.value})
    return steps.items()


def test_weights_and_biases_when_asked_for(tiny, tiny_assets, tmp_path, monkeypatch):
    told = []

    class FakeRun:
        def log(self, row, step):
            told.append((step, row))

        def finish(self):
            told.append("finished")

    fake = types.ModuleType("wandb")
    fake.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    fake.init = lambda **settings: told.append(settings) or FakeRun()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    train(ready(tiny, tiny_assets, num_steps=1, wandb_project="scaling"), tmp_path)
    settings, *logged, last = told
    assert (settings["project"], settings["name"], settings["resume"]) == ("scaling", "tiny_s0", "allow")
    assert settings["id"].startswith("tiny_s0-")
    assert settings["config"]["grpo"]["group_size"] == 4
    assert [step for step, _ in logged] == [0, 1] and last == "finished"
    assert logged[1][1]["critic/rewards/mean"] == rows(tmp_path)[1]["critic/rewards/mean"]


def test_weights_and_biases_that_is_not_installed_is_said_at_once(tiny, tmp_path):
    with pytest.raises(ValueError, match="pip install wandb"):
        train(tiny.experiment(wandb_project="scaling"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_chosen_steps_are_traced(tiny, tiny_assets, tmp_path):
    experiment = ready(tiny, tiny_assets, num_steps=2)
    loop.train(experiment, tmp_path, devices=jax.devices()[:1], profile=[2])
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 10_000


def test_the_best_checkpoint_is_kept(finished):
    """Beside the last two. Of the steps that were saved (2, 4, 5) and have a test loss."""
    losses = {row["step"]: row["scaling/test_loss"] for row in rows(finished) if row["step"] in (2, 4, 5)}
    best = min(losses, key=lambda step: (losses[step], -step))
    assert {int(path.name) for path in (finished / "checkpoints").iterdir()} == {4, 5, best}


def test_outcomes_and_test_loss_agree(finished):
    outcomes = {
        row["step"]: row["correct"][0] for row in rows(finished, "outcomes.jsonl") if row["source"] == "heldout"
    }
    for row in rows(finished):
        if "scaling/test_loss" in row:
            answers = outcomes[row["step"]]
            assert row["scaling/test_loss"] == pytest.approx(1 - answers.count("1") / len(answers))


def test_a_finished_run_returns_at_once(finished, tiny, tiny_assets):
    before = (finished / "metrics.jsonl").read_bytes()
    start = time.monotonic()
    train(ready(tiny, tiny_assets), finished)
    assert time.monotonic() - start < 1.0
    assert (finished / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_an_interrupted_run_goes_on_to_the_same_numbers(finished, tiny, tiny_assets, tmp_path, monkeypatch, stop_at):
    append = RecordFile.append

    def interrupt(self, row):
        append(self, row)
        if self.path.name == "metrics.jsonl" and row["step"] == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RecordFile, "append", interrupt)
        train(ready(tiny, tiny_assets), tmp_path)
    train(ready(tiny, tiny_assets), tmp_path)
    assert tiny.without_times(rows(tmp_path)) == tiny.without_times(rows(finished))
    assert rows(tmp_path, "outcomes.jsonl") == rows(finished, "outcomes.jsonl")


def test_seeds_differ_and_equal_seeds_agree(finished, tiny, tiny_assets, tmp_path):
    train(ready(tiny, tiny_assets), tmp_path / "again")
    assert tiny.without_times(rows(tmp_path / "again")) == tiny.without_times(rows(finished))
    train(ready(tiny, tiny_assets, seed=1, num_steps=2), tmp_path / "other")
    assert rows(tmp_path / "other")[1]["actor/entropy"] != rows(finished)[1]["actor/entropy"]


def test_a_changed_config_is_refused_by_field(finished, tiny, tiny_assets):
    changed = ready(tiny, tiny_assets)
    changed.grpo.clip_low = 0.1
    with pytest.raises(ValueError, match=r"grpo\.clip_low: was 0.2, now 0.1"):
        train(changed, finished)


def test_more_steps_go_on_from_the_end(finished, tiny, tiny_assets, tmp_path):
    shutil.copytree(finished, tmp_path / "longer")
    train(ready(tiny, tiny_assets, num_steps=6), tmp_path / "longer")
    assert [row["step"] for row in rows(tmp_path / "longer")] == [0, 1, 2, 3, 4, 5, 6]


def test_too_little_data_is_said_before_anything_runs(tiny, tiny_assets, tmp_path):
    with pytest.raises(ValueError, match="fill only 8 steps"):
        train(ready(tiny, tiny_assets, num_steps=9), tmp_path)


@pytest.mark.parametrize("sizes", [(2, 2, 2, 0), (1, 8, 1, 2)], ids=str)
def test_eight_devices_give_the_same_run(finished, tiny, tiny_assets, tmp_path, sizes):
    """Shardings change sums in their last digits only; sampled tokens, rewards and test losses are the same."""
    changed = ready(tiny, tiny_assets, num_steps=2)
    changed.mesh = MeshConfig(**dict(zip(("data", "fsdp", "tensor", "sampler_tensor"), sizes, strict=True)))
    train(changed, tmp_path, num_devices=8)
    for one, many in zip(rows(finished)[:3], rows(tmp_path), strict=True):
        assert one.keys() <= many.keys()
        for name in ("critic/rewards/mean", "response_length/mean", "scaling/test_loss", "scaling/flops_total"):
            assert many.get(name) == one.get(name)
        for name in filter(one.get, ("actor/pg_loss", "actor/kl_loss", "actor/grad_norm", "actor/entropy")):
            assert many[name] == pytest.approx(one[name], rel=1e-3, abs=1e-4)


def test_an_impossible_mesh_is_refused_before_anything_is_loaded(tiny, tiny_assets, tmp_path):
    changed = ready(tiny, tiny_assets)
    changed.mesh.fsdp, changed.mesh.tensor = 1, 3
    with pytest.raises(ValueError, match="tensor"):
        train(changed, tmp_path, num_devices=3)


@pytest.mark.slow
def test_kill_9_loses_nothing_that_matters(tiny, tiny_assets, tmp_path):
    """The worker process of a study is killed again and again; the numbers are those of an undisturbed worker."""
    environment = os.environ | {"RLSCALE_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}

    def worker(name: str) -> list[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "study_config.json").write_text(json.dumps(to_dict(tiny.experiment())))
        return [sys.executable, "-m", "rlscale_jax.studies.worker", str(tmp_path / name), str(tiny_assets)]

    subprocess.run(worker("undisturbed"), env=environment, check=True)
    for step in (1, 3, 4):
        process = subprocess.Popen(worker("killed"), env=environment)
        while not any(row["step"] >= step for row in rows(tmp_path / "killed")) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(worker("killed"), env=environment, check=True)
    assert tiny.without_times(rows(tmp_path / "killed")) == tiny.without_times(rows(tmp_path / "undisturbed"))
