"""A multi-gigabyte checkpoint: what loading costs in time and memory, beside a plain safetensors read (slow)."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from rlscale_jax.models import from_hf_config, hf_names, tensor_files

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
LARGEST_TENSOR = 151936 * 1536 * 2
TOTAL = 1_543_714_304 * 2

PEAK = """
def peak():  # bytes; the resource module's figure would begin with that of the process that started this one
    status = open("/proc/self/status").read()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
"""
LOAD = (
    PEAK
    + """
import sys, time
import jax
from rlscale_jax import models
jax.devices()
before, start = peak(), time.perf_counter()
model = models.load_pretrained(sys.argv[1], dtype=None)
jax.block_until_ready(model.params)
print(time.perf_counter() - start, peak() - before)
"""
)
PLAIN = (
    PEAK
    + """
import pathlib, sys, time
import ml_dtypes
from safetensors.numpy import load_file
before, start = peak(), time.perf_counter()
tensors = [load_file(path) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors"))]
print(time.perf_counter() - start, peak() - before)
"""
)


def write_random(directory: pathlib.Path, name: str) -> None:
    """The published shape with random bfloat16 weights, in two files."""
    config = json.loads((GOLDEN / "published.json").read_text())[name]["config"]
    shapes = {n: leaf.shape for leaf in hf_names.leaves(from_hf_config(config)) for n in leaf.names}
    dtype = tensor_files.DTYPES["BF16"]
    block = np.random.default_rng(0).standard_normal(2**24, np.float32).astype(dtype)
    names = sorted(shapes)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        layout = {n: (dtype, shapes[n]) for n in part}
        tensor_files.write(directory / file, layout, (np.resize(block, shapes[n]) * dtype.type(0.02) for n in part))
    weight_map = {n: file for file, part in files.items() for n in part}
    (directory / tensor_files.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (directory / "config.json").write_text(json.dumps(config))


def measure(script: str, directory: pathlib.Path) -> tuple[float, float]:
    """Seconds and bytes of peak memory of the better of two runs, each in its own process."""
    command = [sys.executable, "-c", script, str(directory)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    secs, peaks = zip(*(map(float, run.split()[-2:]) for run in runs), strict=True)
    return min(secs), max(peaks)


@pytest.mark.slow
def test_loading_is_lean_and_fast(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    write_random(tmp_path, "Qwen2.5-1.5B")
    measure(PLAIN, tmp_path)  # warms the page cache
    plain_secs, plain_peak = measure(PLAIN, tmp_path)
    secs, peak = measure(LOAD, tmp_path)
    print(f"load {secs:.1f} s, {peak / 1e9:.2f} GB; plain read {plain_secs:.1f} s, {plain_peak / 1e9:.2f} GB")
    assert peak <= TOTAL + 3 * LARGEST_TENSOR
    assert secs <= 2 * plain_secs
