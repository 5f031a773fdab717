"""The plan command: what it refuses and how, an analytic plan, and a real one where libtpu is installed."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from launch import plans

ROOT = pathlib.Path(__file__).parent.parent
HAS_LIBTPU = importlib.util.find_spec("libtpu") is not None
QWEN, LLAMA = "--config=configs/qwen2_5.py", "--config=configs/llama3.py"


def plan(*args: str, timeout: float = 600) -> subprocess.CompletedProcess:
    environ = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    command = [sys.executable, "-m", "rlscale_jax.plan", *args]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        ([f"{QWEN}:7b", "--topology=v5e:3x3"], "v5e:2x4"),
        ([f"{QWEN}:7b", "--topology=v5p-1024"], "--topology=v5p:8x8x8"),
        ([f"{QWEN}:7b"], "--topology"),
        ([f"{QWEN}:7b", "--topology=h100:3"], "h100:4"),
        ([f"{QWEN}:9b", "--topology=h100:8"], "0.5b"),
        ([f"{QWEN}:7b", "--topology=h100:8", "--config.mesh.tensor=3"], "devices"),
        ([f"{QWEN}:7b", "--topology=h100:8", "--architecture=nowhere.json"], "nowhere.json"),
        ([f"{QWEN}:7b", "--topology=h100:8", "--mean_completion_tokens=5000"], "4096"),
        ([f"{QWEN}:7b", "--topology=h100:8", "--price_per_chip_hour=-1"], "0 or more"),
        ([f"{QWEN}:7b", "--topology=h100:8", "--json=nowhere/p.json"], "directory"),
    ],
)
def test_refusals_are_one_clear_line(args, part):
    done = plan(*args)
    assert done.returncode == 2
    assert part in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(HAS_LIBTPU, reason="libtpu is installed")
def test_without_libtpu_it_says_which_line_installs_it():
    done = plan(f"{QWEN}:0.5b", "--topology=v5e:4x4")
    assert done.returncode == 2
    assert "pip install -r requirements-tpu.txt" in done.stderr


def test_an_analytic_plan_for_gpus(tmp_path):
    layout = ["--config.grpo.micro_batch_prompts=2", "--config.sampling.wave_sequences=512"]
    files = [f"--json={tmp_path}/p.json", f"--html={tmp_path}/p.html"]
    done = plan(f"{QWEN}:7b", "--topology=h100:8", *layout, *files)
    assert done.returncode == 0, done.stderr
    assert "Analytic" in done.stdout
    numbers = json.loads((tmp_path / "p.json").read_text())
    assert numbers["fits"] is True and numbers["num_chips"] == 8
    assert "<table>" in (tmp_path / "p.html").read_text()


def test_what_does_not_fit_ends_with_status_1(tmp_path):
    done = plan(f"{QWEN}:72b", "--topology=h100:8", "--config.mesh.tensor=8", f"--json={tmp_path}/p.json")
    assert done.returncode == 1
    assert json.loads((tmp_path / "p.json").read_text())["fits"] is False


TRAINER = ("weights", "optimiser", "reference")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_LIBTPU, reason="libtpu is not installed")
@pytest.mark.parametrize(
    ("args", "update_gib", "rollout_gib"),
    [  # a prototype's programs with one sequence of 6144 tokens a chip in the update, GiB a chip
        ([f"{QWEN}:7b", "--topology=v5e:8x8", "4", "8", "512"], 7.2, 7.2),
        ([f"{QWEN}:72b", "--topology=v5p:8x8x8", "8", "64", "4096"], 17.3, 39.1),
        ([f"{QWEN}:72b", "--topology=v6e:16x16", "8", "32", "1024"], 19.1, 28.6),
    ],
)
def test_programs_of_published_sizes_take_no_more_than_a_prototype_s(args, update_gib, rollout_gib, tmp_path):
    fields = ("mesh.tensor", "grpo.micro_batch_prompts", "sampling.wave_sequences")
    layout = [f"--config.{name}={value}" for name, value in zip(fields, args[2:], strict=True)]
    done = plan(*args[:2], *layout, f"--json={tmp_path}/p.json", timeout=7200)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "p.json").read_text())
    moments = {moment["name"]: moment for moment in numbers["moments"]}
    assert moments["accumulate"]["total_bytes"] <= update_gib * 2**30
    for name in ("logprobs", "accumulate"):  # weights are gathered before a product, not part by part
        kinds = {one["kind"] for one in moments[name]["collectives"] if one["bytes_sent"] > 1e9}
        assert "all-gather" in kinds and "collective-permute" not in kinds
    beside = sum(moments["segment"]["bytes"][name] for name in TRAINER)
    assert moments["segment"]["total_bytes"] - beside <= rollout_gib * 2**30


@pytest.mark.slow
@pytest.mark.skipif(not HAS_LIBTPU, reason="libtpu is not installed")
@pytest.mark.parametrize("case", sorted(plans.CASES))
def test_published_sizes_fit(case, tmp_path):
    done = plan(*plans.flags(case), f"--json={tmp_path}/p.json", timeout=7200)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "p.json").read_text())["fits"]
