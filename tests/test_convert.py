"""The convert command: published -> ours -> published, byte for byte; a trained run's weights; bad input."""

import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from safetensors.numpy import load_file, save_file

from rlscale_jax import models
from rlscale_jax.experiment.config import Experiment, MeshConfig, to_dict
from rlscale_jax.experiment.records import write_json
from rlscale_jax.models import checkpoint
from rlscale_jax.models.mesh import make_mesh

GOLDEN = pathlib.Path(__file__).parent / "golden" / "models"


def tensors_of(directory):
    return {name: array for path in sorted(directory.glob("*.safetensors")) for name, array in load_file(path).items()}


def assert_same_bytes(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        assert array.tobytes() == second[name].tobytes(), name


@pytest.fixture
def published(tmp_path):
    """A published directory with everything that comes along."""
    directory = shutil.copytree(GOLDEN / "llama32_tied", tmp_path / "published")
    (directory / "tokenizer.json").write_bytes(b'{"model": "\xc3\xa9"}\r\n')
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    (directory / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    (directory / "README.md").write_text("not carried")
    return directory


def test_there_and_back_keeps_every_byte(published, tmp_path, caplog):
    checkpoint.import_hf(published, tmp_path / "ours")
    checkpoint.export_hf(tmp_path / "ours", tmp_path / "back")
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert_same_bytes(tensors_of(tmp_path / "back"), tensors_of(published))
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (published / name).read_bytes()
    assert not (tmp_path / "back" / "README.md").exists()
    assert not list((tmp_path / "back").glob("*.index.json"))


def test_mixed_dtypes_and_a_stored_copy_of_the_head_come_back(published, tmp_path):
    tensors = tensors_of(published)
    for path in published.glob("*.safetensors*"):
        path.unlink()
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    tensors["model.layers.1.input_layernorm.weight"] = tensors["model.layers.1.input_layernorm.weight"].astype("f4")
    save_file(tensors, published / "model.safetensors")
    checkpoint.import_hf(published, tmp_path / "ours")
    checkpoint.export_hf(tmp_path / "ours", tmp_path / "back")
    assert_same_bytes(tensors_of(tmp_path / "back"), tensors)


def test_published_directories_may_lie_in_an_object_store(published, bucket, tmp_path):
    for path in published.iterdir():
        bucket.pipe(f"gs://bucket/model/{path.name}", path.read_bytes())
    checkpoint.import_hf("gs://bucket/model", tmp_path / "ours")
    checkpoint.export_hf(tmp_path / "ours", "gs://bucket/back")
    (tmp_path / "back").mkdir()
    for path in bucket.ls("gs://bucket/back", detail=False):
        (tmp_path / "back" / path.rsplit("/")[-1]).write_bytes(bucket.cat(path))
    assert_same_bytes(tensors_of(tmp_path / "back"), tensors_of(published))
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (published / name).read_bytes()
    with pytest.raises(ValueError, match="gs://bucket/back exists already"):
        checkpoint.export_hf(tmp_path / "ours", "gs://bucket/back")


@pytest.fixture
def run(published, tmp_path):
    """A run's directory as training leaves it: float32 params beside optimiser state, at steps 2 and 10."""
    model = models.load_pretrained(published, dtype="float32")
    experiment = Experiment()
    experiment.model.path = str(published)
    write_json(tmp_path / "run" / "config.json", to_dict(experiment))
    for step in (2, 10):
        params = jax.tree.map(lambda a, step=step: a * step, model.params)
        state = {"params": params, "opt_state": [{"mu": params}], "step": jnp.int32(step)}
        meta = {"schema": 1, "step": step}
        ocp.save_checkpointables(tmp_path / "run" / "checkpoints" / str(step), {"state": state, "meta": meta})
    return tmp_path / "run"


def test_a_trained_run_is_exported(run, published, tmp_path):
    source = {name: array.astype(np.float32) for name, array in tensors_of(published).items()}
    checkpoint.export_hf(run, tmp_path / "newest")
    assert_same_bytes(tensors_of(tmp_path / "newest"), {name: array * 10 for name, array in source.items()})
    checkpoint.export_hf(run / "checkpoints" / "2", tmp_path / "second", dtype="bfloat16")
    expected = {name: (array * 2).astype(jnp.bfloat16) for name, array in source.items()}
    assert_same_bytes(tensors_of(tmp_path / "second"), expected)
    again = models.load_pretrained(tmp_path / "second", dtype=None)
    assert again.architecture == models.load_architecture(published)
    assert (tmp_path / "second" / "chat_template.jinja").exists()


def test_a_checkpoint_is_read_onto_a_mesh(run):
    mesh = make_mesh(MeshConfig(fsdp=4), jax.devices()[:4])
    loaded = checkpoint.load(run, dtype=jnp.bfloat16, mesh=mesh)
    assert loaded.step == 10
    embedding = loaded.model.params["embed"]["embedding"]
    assert embedding.dtype == jnp.bfloat16
    assert embedding.sharding.shard_shape(embedding.shape) == (127, 36 // 4)


def test_a_checkpoint_of_another_shape_is_refused(run, published):
    config = (published / "config.json").read_text()
    (published / "config.json").write_text(config.replace('"intermediate_size": 60', '"intermediate_size": 61'))
    with pytest.raises(ValueError, match=r"3 parameters do not fit(.|\n)*\['gate'\]\['kernel'\]: saved \(2, 36, 60\)"):
        checkpoint.load(run)


def test_a_run_whose_model_is_gone_says_what_to_do(run, published):
    shutil.rmtree(published)
    with pytest.raises(FileNotFoundError, match="copy there the config and tokenizer files"):
        checkpoint.load(run)


def command(*args):
    done = subprocess.run(
        [sys.executable, "-m", "rlscale_jax.convert", *map(str, args)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command(published, tmp_path):
    assert command(f"--source={published}", f"--target={tmp_path / 'ours'}")[0] == 0
    status, out, _ = command(f"--source={tmp_path / 'ours'}", f"--target={tmp_path / 'back'}")
    assert (status, out) == (0, f"wrote {tmp_path / 'back'}\n")
    assert_same_bytes(tensors_of(tmp_path / "back"), tensors_of(published))


def test_the_commands_errors_are_one_line(published, tmp_path):
    status, _, err = command(f"--source={tmp_path / 'nowhere'}", f"--target={tmp_path / 'new'}")
    assert status == 2 and "no such directory" in err and "Traceback" not in err
    status, _, err = command(f"--source={published}", f"--target={published}")
    assert status == 2 and "exists already; give a new or empty directory" in err


def test_help_says_all():
    status, out, _ = command("--help")
    assert status == 0
    for word in ("--source", "--target", "--dtype", "Hugging Face", "gs://"):
        assert word in out
