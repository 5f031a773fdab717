"""The command: a run's checkpoint gives the outcomes of its own evaluation; mistakes end with one line."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from rlscale_jax.data.builder import write_problems
from rlscale_jax.data.problems import read_problems
from rlscale_jax.experiment.records import RecordFile
from rlscale_jax.training import assets, loop

ROOT = pathlib.Path(__file__).parent.parent
TINY = ROOT / "tests" / "training" / "tiny.py"
CONFIG = f"""
import importlib.util

def get_config(variant=""):
    spec = importlib.util.spec_from_file_location("tiny", {str(TINY)!r})
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiment = module.experiment(num_steps=2)
    experiment.data.verifier = VERIFIER
    return experiment
"""


def load(path: pathlib.Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(*flags: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-m", "rlscale_jax.evaluate", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | {"RLSCALE_CACHE_DIR": environment["JAX_COMPILATION_CACHE_DIR"]},
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("config")
    (directory / "even.py").write_text("def grade(response, truth):\n    return len(response) % 2 == 0\n")
    file = directory / "tiny_config.py"
    file.write_text(CONFIG.replace("VERIFIER", repr(f"{directory / 'even.py'}:grade")))
    return file


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """A run of two steps, and a data directory as `prepare` would make it."""
    directory = tmp_path_factory.mktemp("trained")
    experiment = assets.ensure(load(config).get_config(), directory / "assets", log_path=directory / "log.txt")
    loop.train(experiment, directory / "run")
    write_problems(read_problems(experiment.data.heldout), directory / "data", name="heldout")
    return directory / "run", directory / "data"


def test_a_runs_checkpoint_gives_the_outcomes_of_the_run(trained, config, tmp_path):
    run, data = trained
    flags = (f"--config={config}", f"--checkpoint={run}", f"--data={data}", "--suite=heldout", f"--out={tmp_path}")
    result = command(*flags, "--chunk_sequences=7")
    assert result.returncode == 0, result.stderr
    kept = RecordFile(tmp_path / "responses" / "heldout.jsonl").rows()
    outcomes = {
        row["step"]: row["correct"][0]
        for row in RecordFile(run / "outcomes.jsonl").rows()
        if row["source"] == "heldout"
    }
    assert "".join("01"[row["correct"]] for row in kept) == outcomes[2] != outcomes[0]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["step"] == 2
    assert results["figures"]["heldout"]["accuracy"] == outcomes[2].count("1") / 20
    line = next(line for line in result.stdout.splitlines() if line.startswith("heldout"))
    assert line.split()[1:4] == ["20", "0", f"{100 * outcomes[2].count('1') / 20:.1f}"]
    assert "responses 20/20" in result.stderr

    changed = command(*flags, "--config.evaluation.temperature=1.0")
    assert (changed.returncode, changed.stdout) == (2, "")
    assert changed.stderr.splitlines()[1:] == ["  protocol.temperature: was 0.7, now 1.0"]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--out=x",), "give --checkpoint=MODEL and --out=DIR (--help explains both)"),
        (("--checkpoint=x", "--out=x", "--data=nowhere"), "--data=nowhere: no such directory"),
        (("--checkpoint=nowhere", "--out=x", "--suite=a=README.md"), "--checkpoint=nowhere: no model there"),
    ],
)
def test_mistakes_end_with_one_line(config, flags, reason):
    (ROOT / "README.md").stat()  # something that exists, for the third case
    result = command(f"--config={config}", *flags)
    assert result.returncode == 2
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (ROOT / "x").exists()


def test_help_suffices(config):
    text = command(f"--config={config}", "--help").stdout
    for word in ("--checkpoint=", "--data=data", "--suite=heldout,math500", "--out=", "--chunk_sequences=512"):
        assert word in text
    assert "--config.evaluation.temperature=0.7" in text and "responses/NAME.jsonl" in text
