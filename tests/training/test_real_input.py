"""GRPO on the study's real prompts with the real tokenizer and verifiers: a tiny model, and the 0.5B shape (slow)."""

import json
import pathlib
import shutil
import signal
import time

import pytest

from rlscale_jax import models, tokenizers
from rlscale_jax.data.problems import read_problems, write_problems
from rlscale_jax.experiment.records import read_rows
from rlscale_jax.models import Model, decoder

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
SHAPES = {
    "tiny": {
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
        "intermediate_size": 32,
    },
    "half": {},
}


def make_input(place: pathlib.Path, shared_data: pathlib.Path, size: str) -> None:
    """A model of random weights with the real tokenizer, the easiest training problems, and a few held-out ones."""
    config = json.loads((GOLDEN / "published.json").read_text())["Qwen2.5-0.5B"]["config"] | SHAPES[size]
    architecture = models.from_hf_config(config)
    files = tokenizers.load(shared_data / "tokenizers" / "qwen2.5").files
    model = Model(architecture, decoder.init_params(architecture, 0))
    models.save_pretrained(model, place / "model", dtype="bfloat16", tokenizer_files=files)
    guru = shared_data / "guru"
    for name, file, count in (
        ("train", "math__sampled_1_100_512.parquet", 512),
        ("heldout", "math__full_difficulty_ordered_test_500.parquet", 16 if size == "tiny" else 4),
    ):
        write_problems(read_problems(guru / file)[:count], place, name=name)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["tiny", "half"])
def test_grpo_on_the_studys_own_input_killed_and_resumed(size, shared_data, pod, tiny, tmp_path, monkeypatch):
    make_input(tmp_path / "input", shared_data, size)
    monkeypatch.setenv("REAL_INPUT", str(tmp_path / "input"))
    config = f"tests/training/real_input.py:{size}"
    run = tmp_path / "killed" / "runs" / f"{size}_s0"
    (process,) = pod.start(1, 1, tmp_path / "killed", config=config)
    deadline = time.monotonic() + 400
    while not (run / "checkpoints" / "1").exists():
        assert process.poll() is None and time.monotonic() < deadline, pod.output(tmp_path / "killed")
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert pod.end(pod.start(1, 1, tmp_path / "killed", config=config), 500) == [0], pod.output(tmp_path / "killed")
    rows = list(read_rows(run / "metrics.jsonl"))
    assert [row["step"] for row in rows] == list(range(4 if size == "tiny" else 3))
    for row in rows[1:]:  # random weights box nothing; the verifiers say so
        assert row["reward/unboxed_rate"] > 0.9 and row["prompt_length/max"] <= 192
        assert row["actor/skipped_updates"] == 0 and row["training/rollout_probs_diff_max"] < 0.05
    if size == "half":  # six gigabytes are enough for one checkpoint
        print({name: value for name, value in rows[-1].items() if name.startswith(("timing_s", "perf"))})
        return
    shutil.rmtree(run / "checkpoints")
    assert pod.end(pod.start(1, 1, tmp_path / "undisturbed", config=config)) == [0]
    undisturbed = list(read_rows(tmp_path / "undisturbed" / "runs" / run.name / "metrics.jsonl"))
    assert tiny.without_times(rows) == tiny.without_times(undisturbed)
