"""The 0.5B shape with random weights: one whole step of the train command on the study's own prompts (slow)."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest

from rlscale_jax.experiment.records import RecordFile
from rlscale_jax.models import from_hf_config, hf_names, tensor_files

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = json.loads((ROOT / "tests/golden/published.json").read_text())["Qwen2.5-0.5B"]["config"]
MEMORY_BYTES = 16 * 2**30

# The command in a process whose own peak can be read: a child's usage would begin with that of its parent.
RUN = """
import re, runpy, sys
try:
    runpy.run_module("rlscale_jax.train", run_name="__main__")
finally:
    print("peak", 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]), file=sys.stderr)
"""


def write_model(directory: pathlib.Path, tokenizer: pathlib.Path) -> None:
    shutil.copytree(tokenizer, directory)
    rng = np.random.default_rng(0)
    dtype = tensor_files.DTYPES["BF16"]
    shapes = {name: leaf.shape for leaf in hf_names.leaves(from_hf_config(CONFIG)) for name in leaf.names}
    ones = {name: np.float32("norm" in name) for name in shapes}
    draws = (rng.standard_normal(shape, np.float32) * 0.02 + ones[name] for name, shape in shapes.items())
    layout = {name: (dtype, shape) for name, shape in shapes.items()}
    tensor_files.write(directory / "model.safetensors", layout, (values.astype(dtype) for values in draws))
    (directory / "config.json").write_text(json.dumps(CONFIG))


@pytest.mark.slow
def test_one_step_of_the_smallest_published_shape(shared_data, tmp_path):
    guru = shared_data / "guru"
    write_model(tmp_path / "model", shared_data / "tokenizers" / "qwen2.5")
    heldout = pyarrow.parquet.read_table(guru / "math__full_difficulty_ordered_test_500.parquet").slice(0, 2)
    pyarrow.parquet.write_table(heldout, tmp_path / "heldout.parquet")
    changes = {
        "model.path": tmp_path / "model",
        "data.train": next(guru.glob("math__sampled*_512.parquet")),
        "data.heldout": tmp_path / "heldout.parquet",
        "num_steps": 1,
        "grpo.prompts_per_step": 2,
        "grpo.group_size": 2,
        "grpo.num_minibatches": 2,
        "grpo.micro_batch_prompts": 1,
        "sampling.max_new_tokens": 16,
        "sampling.wave_sequences": 0,
        "evaluation.max_new_tokens": 16,
        "reward_workers": 1,
        "allow_weak_sandbox": True,
    }
    flags = [f"--config.{name}={value}" for name, value in changes.items()]
    command = [sys.executable, "-c", RUN, "--config=configs/qwen2_5.py:0.5b", f"--workdir={tmp_path / 'out'}", *flags]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    peak = int(done.stderr.rsplit("peak ", 1)[1].split()[0])
    before, after = RecordFile(next((tmp_path / "out" / "runs").iterdir()) / "metrics.jsonl").rows()
    times = {name: round(value, 1) for name, value in after.items() if name.startswith("timing_s/")}
    print(f"peak {peak / 2**30:.2f} GiB, {times}")
    assert peak < MEMORY_BYTES
    assert (before["step"], after["step"]) == (0, 1)
    assert after["response_length/max"] <= 16
    assert np.isfinite(after["actor/grad_norm"]) and np.isfinite(after["actor/kl_loss"])
    # Two numeric paths to the same probabilities: a decode step with its cache, a pass over whole sequences.
    assert after["training/rollout_probs_diff_max"] < 1e-3
