"""Weights in and out: dtypes, shards, meshes, other file systems, and everything that can be wrong with the files."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file, save_file

from rlscale_jax import models
from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import hf_loading, tensor_files
from rlscale_jax.models.mesh import make_mesh

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "models"
DTYPES = {
    "qwen2_tied": "bfloat16",
    "qwen2_untied_sharded": "float32",
    "llama32_tied": "float16",
    "llama_bias": "bfloat16",
}


def published(directory) -> dict[str, np.ndarray]:
    """All tensors, read by the safetensors package."""
    return {name: array for path in sorted(directory.glob("*.safetensors")) for name, array in load_file(path).items()}


def same_bytes(first, second) -> bool:
    assert first.keys() == second.keys()
    return all(
        first[name].dtype == second[name].dtype and first[name].tobytes() == second[name].tobytes() for name in first
    )


@pytest.fixture
def broken(tmp_path):
    """A copy of a good checkpoint, to be broken."""
    return shutil.copytree(GOLDEN / "qwen2_tied", tmp_path / "model")


@pytest.mark.parametrize("variety", DTYPES)
def test_tensors_arrive_where_they_belong(variety):
    model = models.load_pretrained(GOLDEN / variety, dtype=None)
    tensors = published(GOLDEN / variety)
    layers = model.params["layers"]
    assert model.dtype == DTYPES[variety]
    for index in range(model.architecture.num_layers):
        prefix = f"model.layers.{index}"
        np.testing.assert_array_equal(layers["down"]["kernel"][index], tensors[f"{prefix}.mlp.down_proj.weight"].T)
        np.testing.assert_array_equal(layers["k"]["kernel"][index], tensors[f"{prefix}.self_attn.k_proj.weight"].T)
        np.testing.assert_array_equal(
            layers["mlp_norm"]["scale"][index], tensors[f"{prefix}.post_attention_layernorm.weight"]
        )
        if model.architecture.qkv_bias:
            np.testing.assert_array_equal(layers["v"]["bias"][index], tensors[f"{prefix}.self_attn.v_proj.bias"])
    np.testing.assert_array_equal(model.params["embed"]["embedding"], tensors["model.embed_tokens.weight"])


@pytest.mark.parametrize("dtype", ["float32", jnp.bfloat16, "float16"])
def test_dtype_is_what_was_asked_for(dtype):
    model = models.load_pretrained(GOLDEN / "qwen2_untied_sharded", dtype=dtype)
    assert {array.dtype for array in jax.tree.leaves(model.params)} == {jnp.dtype(dtype)}
    kernel = published(GOLDEN / "qwen2_untied_sharded")["model.layers.2.mlp.up_proj.weight"].T.astype(dtype)
    np.testing.assert_array_equal(model.params["layers"]["up"]["kernel"][2], kernel)


@pytest.mark.parametrize("variety", ["qwen2_untied_sharded", "llama32_tied"])
def test_saving_gives_the_same_bytes(variety, tmp_path):
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=1), jax.devices()[:4])
    for name, used in (("one", None), ("split", mesh)):
        model = models.load_pretrained(GOLDEN / variety, dtype=None, mesh=used)
        models.save_pretrained(model, tmp_path / name, max_shard_bytes=20_000)
        assert len(list((tmp_path / name).glob("*.safetensors"))) > 2
        assert same_bytes(published(tmp_path / name), published(GOLDEN / variety))
        again = models.load_pretrained(tmp_path / name, dtype=None)
        assert again.architecture == model.architecture


def test_saving_over_an_older_checkpoint_leaves_nothing_of_it(tmp_path):
    model = models.load_pretrained(GOLDEN / "qwen2_tied", dtype=None)
    models.save_pretrained(model, tmp_path, max_shard_bytes=10_000)
    models.save_pretrained(model, tmp_path, dtype="float32")
    assert {array.dtype.name for array in published(tmp_path).values()} == {"float32"}
    assert json.loads((tmp_path / "config.json").read_text())["torch_dtype"] == "float32"


def test_misfits_are_listed_together(broken):
    tensors = published(broken)
    del tensors["model.norm.weight"], tensors["model.layers.1.self_attn.q_proj.bias"]
    tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"][:-1]
    tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((1, 2), np.float32)
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(ValueError) as caught:
        models.load_pretrained(broken, dtype=None)
    first, *problems = str(caught.value).splitlines()
    assert first.endswith("4 tensors do not fit its config.json:")
    assert {line.strip() for line in problems} == {
        "missing: model.norm.weight [48]",
        "missing: model.layers.1.self_attn.q_proj.bias [48]",
        "surplus: model.layers.2.mlp.up_proj.weight [1, 2]",
        "misshapen: model.layers.0.mlp.up_proj.weight is [79, 48], config.json says [80, 48]",
    }


def cut(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def cut_header(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def only_bin(directory):
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"PK")


def only_config(directory):
    (directory / "model.safetensors").unlink()


def lost_shard(directory):
    (directory / "model.safetensors").unlink()
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (directory / tensor_files.INDEX).write_text(json.dumps(index))


def lying_index(directory):
    (directory / "model.safetensors").rename(directory / "a.safetensors")
    (directory / tensor_files.INDEX).write_text(json.dumps({"weight_map": {"nothing": "a.safetensors"}}))


def index_without_map(directory):
    (directory / "model.safetensors").unlink()
    (directory / tensor_files.INDEX).write_text("{}")


def html_instead(directory):
    (directory / "model.safetensors").write_text("<html><body>Access to this model is restricted" + "." * 200)


def git_lfs_pointer(directory):
    (directory / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")


def integers(directory):
    tensors = {name: array.view(np.int16) for name, array in published(directory).items()}
    save_file(tensors, directory / "model.safetensors")


def broken_config(directory):
    (directory / "config.json").write_text('{"model_type": ')


def no_config(directory):
    (directory / "config.json").unlink()


@pytest.mark.parametrize(
    "damage, message",
    [
        (cut, "model.safetensors: cut short: its tensors end at byte"),
        (cut_header, "not a safetensors file, or cut short .100 bytes"),
        (only_bin, "convert its weights to safetensors first"),
        (only_config, "holds neither model.safetensors nor model.safetensors.index.json"),
        (lost_shard, "names files that are not there: model-00002-of-00002.safetensors"),
        (lying_index, "names tensors that their files do not hold: nothing .in a.safetensors"),
        (index_without_map, "has no weight_map"),
        (html_instead, "not a safetensors file"),
        (git_lfs_pointer, "not a safetensors file"),
        (integers, "dtype I16 is not supported"),
        (broken_config, "config.json: not a JSON file"),
        (no_config, "holds no config.json; give a Hugging Face model directory"),
    ],
)
def test_bad_directories_are_refused_with_their_reason(broken, damage, message):
    damage(broken)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        models.load_pretrained(broken, dtype="float32")


def test_a_wrong_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such directory"):
        models.load_pretrained(tmp_path / "nowhere", dtype="float32")


def test_no_more_than_two_tensors_are_held_at_a_time(monkeypatch):
    reads, copies, held = [], [], []
    read, copy = tensor_files.StoredTensor.read, hf_loading._copy

    def counted_read(self, *to):
        reads.append(1)
        held.append(len(reads) - len(copies))
        return read(self, *to)

    monkeypatch.setattr(tensor_files.StoredTensor, "read", counted_read)
    monkeypatch.setattr(hf_loading, "_copy", lambda *args: (copy(*args), copies.append(1)))
    models.load_pretrained(GOLDEN / "qwen2_untied_sharded", dtype=None)
    assert len(reads) == len(copies) == 3 * 12 + 3
    assert max(held) <= 2


@pytest.mark.parametrize("num_devices", [1, 4])
def test_loaded_parameters_may_be_donated(num_devices):
    """On CPU they are host memory that JAX took over, for several devices the same; donating must not write into it."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2), jax.devices()[:4]) if num_devices > 1 else None
    model = models.load_pretrained(GOLDEN / "qwen2_tied", dtype=None, mesh=mesh)
    expected = jax.tree.map(lambda a: np.asarray(a, np.float32) * 2, model.params)
    doubled = jax.jit(lambda params: jax.tree.map(lambda a: a * 2, params), donate_argnums=0)(model.params)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a, np.float32), b), doubled, expected)


def test_object_stores_are_read_and_written(bucket):
    for path in (GOLDEN / "llama32_tied").iterdir():
        bucket.pipe(f"gs://bucket/model/{path.name}", path.read_bytes())
    model = models.load_pretrained("gs://bucket/model", dtype=None)
    local = models.load_pretrained(GOLDEN / "llama32_tied", dtype=None)
    jax.tree.map(np.testing.assert_array_equal, model.params, local.params)
    models.save_pretrained(model, epath.Path("gs://bucket/copy"))
    again = models.load_pretrained("gs://bucket/copy", dtype=None)
    jax.tree.map(np.testing.assert_array_equal, again.params, local.params)


def test_mixed_dtypes_keep_their_values(broken):
    tensors = published(broken)
    name = "model.layers.1.input_layernorm.weight"
    save_file(tensors | {name: tensors[name].astype(np.float32)}, broken / "model.safetensors")
    model = models.load_pretrained(broken, dtype=None)
    assert model.params["layers"]["attn_norm"]["scale"].dtype == np.float32
    assert model.params["layers"]["mlp_norm"]["scale"].dtype == ml_dtypes.bfloat16
