"""Checkpoints as other tools write them: the same model, however its files are cut, named and annotated."""

import json
import pathlib
import pwd
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rlscale_jax import models
from rlscale_jax.models import checkpoint, tensor_files

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "models"
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture
def directory(tmp_path):
    """A copy of a tied bfloat16 checkpoint, to be written anew."""
    return shutil.copytree(GOLDEN / "qwen2_tied", tmp_path / "model")


def tensors_of(directory) -> dict[str, np.ndarray]:
    return {name: array for path in sorted(directory.glob("*.safetensors")) for name, array in load_file(path).items()}


def write(directory, files: dict[str, dict[str, np.ndarray]], weight_map: dict[str, str] | None = None) -> None:
    """These files instead of the old ones, with an index (of all, or as given)."""
    for path in directory.glob("*.safetensors*"):
        path.unlink()
    for file, tensors in files.items():
        save_file(tensors, directory / file, metadata={"format": "pt", "tool": "somebody's"})
    names = {name: file for file, tensors in files.items() for name in tensors}
    index = {"metadata": {"total_size": 1.5e3}, "weight_map": names if weight_map is None else weight_map}
    (directory / tensor_files.INDEX).write_text(json.dumps(index))


def assert_same_model(directory) -> None:
    ours = models.load_pretrained(directory, dtype=None)
    theirs = models.load_pretrained(GOLDEN / "qwen2_tied", dtype=None)
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def test_shards_may_have_any_names_and_any_order(directory):
    tensors = tensors_of(directory)
    names = sorted(tensors, reverse=True)
    files = {"weights part 2.safetensors": names[::2], "a.safetensors": names[1::2]}
    write(directory, {file: {name: tensors[name] for name in part} for file, part in files.items()})
    assert_same_model(directory)


def test_the_index_decides_between_two_files_that_hold_a_tensor(directory):
    tensors = tensors_of(directory)
    stale = {name: array * 0 for name, array in list(tensors.items())[:5]}
    write(directory, {"a.safetensors": tensors, "b.safetensors": stale}, dict.fromkeys(tensors, "a.safetensors"))
    assert_same_model(directory)


def test_a_shard_of_the_index_is_read_whole(directory):
    tensors = tensors_of(directory)
    write(directory, {"a.safetensors": tensors}, {TABLE: "a.safetensors"})
    assert_same_model(directory)


def test_buffers_that_follow_from_the_config_are_passed_over(directory):
    extra = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": np.ones(6, np.float32) for i in range(2)}
    write(directory, {"a.safetensors": tensors_of(directory) | extra})
    assert_same_model(directory)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float32])
def test_a_tied_head_may_be_stored_beside_its_table_or_instead_of_it(directory, dtype, tmp_path):
    tensors = tensors_of(directory)
    both = tensors | {HEAD: tensors[TABLE].astype(dtype)}
    instead = {name: array for name, array in both.items() if name != TABLE}
    for place, stored in (("both", both), ("instead", instead)):
        write(directory, {"a.safetensors": stored})
        assert_same_model(directory)
        checkpoint.import_hf(directory, tmp_path / place)
        checkpoint.export_hf(tmp_path / place, tmp_path / f"{place}-back")
        back = tensors_of(tmp_path / f"{place}-back")
        assert {name: (a.dtype, a.tobytes()) for name, a in back.items()} == {
            name: (a.dtype, a.tobytes()) for name, a in stored.items()
        }


def test_a_tied_head_that_is_not_its_table_is_refused(directory):
    tensors = tensors_of(directory)
    write(directory, {"a.safetensors": tensors | {HEAD: tensors[TABLE] * 2}})
    with pytest.raises(
        ValueError, match=r"surplus: lm_head\.weight .* is not model\.embed_tokens\.weight, though tie_"
    ):
        models.load_pretrained(directory, dtype=None)


def test_files_of_an_owner_without_a_name_are_read(directory, monkeypatch):
    """As in a container that mounts somebody's disk."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert_same_model(directory)


def test_files_that_only_read_are_enough(directory, monkeypatch):
    """TensorFlow's have no readinto; small pieces, so that several are joined."""

    class OnlyReads:
        def __init__(self, file):
            self.read, self.seek, self.tell = file.read, file.seek, file.tell

    read_into = tensor_files._read_into
    monkeypatch.setattr(tensor_files, "_CHUNK_BYTES", 1000)
    monkeypatch.setattr(tensor_files, "_read_into", lambda file, *rest: read_into(OnlyReads(file), *rest))
    assert_same_model(directory)


def rewrite_header(path, change) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def overlap(header):
    names = [name for name in header if name != "__metadata__" and header[name]["shape"] == [48]]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]


def negative(header):
    start, end = header[TABLE]["data_offsets"]
    header[TABLE] |= {"data_offsets": [start - end - 8, -8]}


def no_offsets(header):
    del header[TABLE]["data_offsets"]


def wrong_size(header):
    header[TABLE]["shape"] = [151, 47]


def other_dtypes(header):
    for name in (TABLE, "model.norm.weight"):
        header[name] |= {"dtype": "F8_E4M3", "shape": [2 * header[name]["shape"][0], *header[name]["shape"][1:]]}


@pytest.mark.parametrize(
    "change, message",
    [
        (overlap, "broken safetensors file: .* begins at byte"),
        (negative, "broken safetensors header .ValueError: shape .151, 48. at bytes"),
        (no_offsets, "broken safetensors header .KeyError: 'data_offsets'"),
        (wrong_size, r"model.embed_tokens.weight has 14496 bytes for BF16 \[151, 47\]"),
        (
            other_dtypes,
            "(?s)4 tensors do not fit.*misshapen: model.norm.*dtype F8_E4M3 is not supported, only F32, F16",
        ),
    ],
)
def test_headers_that_lie_are_refused(directory, change, message):
    rewrite_header(directory / "model.safetensors", change)
    with pytest.raises(ValueError, match=message):
        models.load_pretrained(directory, dtype=None)


def test_bytes_behind_the_last_tensor_are_refused(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0" * 7)
    with pytest.raises(ValueError, match="7 bytes follow its last tensor"):
        models.load_pretrained(directory, dtype=None)


@pytest.mark.parametrize("dtype", ["int8", "float64", "complex64"])
def test_parameters_of_other_kinds_are_refused(dtype):
    with pytest.raises(ValueError, match=rf"dtype {dtype} is not supported; use one of float32, float16, bfloat16"):
        models.load_pretrained(GOLDEN / "qwen2_tied", dtype=dtype)


def test_rows_and_ids_are_checked():
    model = models.load_pretrained(GOLDEN / "qwen2_tied", dtype="float32")
    with pytest.raises(ValueError, match=r"tokens \(4,\) and lengths \(1,\); give \[rows, tokens\] and \[rows\]"):
        models.logits(model, np.array([1, 2, 3, 4]), np.array([4]))
    with pytest.raises(ValueError, match=r"token ids 1 to 151; the model's vocabulary is 0 to 150"):
        models.logits(model, np.array([[1, 151]]), np.array([2]))
    padded = models.logits(model, np.array([[1, 2, -100]]), np.array([2]))  # padding may be anything
    np.testing.assert_allclose(padded[:, :2], models.logits(model, np.array([[1, 2]]), np.array([2])), atol=1e-5)
