"""The --config flag: overrides, and a message that names what is wrong."""

import pathlib
import subprocess
import sys
import textwrap

import pytest

CONFIG = """
from rlscale_jax.experiment.config import DataConfig, Experiment, ModelConfig, Study


def get_config(variant=""):
    if variant not in ("", "study", "other"):
        raise ValueError(f"variant {variant!r} is unknown; use study or other")
    data = DataConfig(train="train", heldout="heldout")
    run = Experiment(name="run", model=ModelConfig(path="checkpoint"), data=data)
    return Study(members=(run,)) if variant == "study" else run
"""
COMMAND = """
from rlscale_jax.experiment import flags, validation
CONFIG = flags.define_config()


def main(_):
    validation.validate(CONFIG.value)
    print("group", CONFIG.value.grpo.group_size, "seed", CONFIG.value.seed)


flags.run(main, usage="Prints two fields.")
"""


def call(tmp_path: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "command.py").write_text(textwrap.dedent(COMMAND))
    root = str(pathlib.Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "command.py", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": root, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_fields_are_overridden(tmp_path):
    result = call(tmp_path, "--config=config.py", "--config.grpo.group_size=16", "--config.seed=3")
    assert (result.returncode, result.stdout) == (0, "group 16 seed 3\n")


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--config=config.py", "--config.grpo.group_siz=16"], "did you mean --config.grpo.group_size?"),
        (["--config=config.py", "--config.grpo.group_size=many"], "expected int, such as 8"),
        (["--config=config.py", "--config.grpo.group_size=1"], "must be at least 2"),
        (["--config=config.py", "--config.grpo=1"], "a group of fields"),
        (["--config=config.py:nope"], "variant 'nope' is unknown"),
        (["--config=nope.py"], "no file 'nope.py'"),
        (["--config=config.py:study", "--config.grpo.group_size=4"], "--sweep=field=value"),
        (["--config.grpo.group_size=4"], "give --config=FILE before its fields"),
        (["--config=config.py", "stray"], "unexpected argument 'stray'"),
        ([], "give --config=FILE"),
    ],
)
def test_a_mistake_ends_with_one_clear_line(tmp_path, arguments, expected):
    result = call(tmp_path, *arguments)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_help_lists_every_field_with_its_value_and_comment(tmp_path):
    result = call(tmp_path, "--config=config.py", "--help")
    assert result.returncode == 0
    assert "Prints two fields." in result.stdout
    assert "--config.grpo.num_minibatches=4   # optimiser updates on one rollout batch" in result.stdout
