"""Checkpoints in the project's own layout: the weights of any of them read back, published ones converted and returned.

    DIR/hf/                 config.json, tokenizer and generation files of the published model, byte for byte
    DIR/checkpoints/STEP/   Orbax: `state` {"params", and in a run opt_state, step, ...} and `meta` (JSON)

A run's directory and a converted model's are alike; the latter has step 0 and, in `meta`, the dtype that every
tensor was stored in. A run that keeps no `hf` names its model's directory in DIR/config.json.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from rlscale_jax.models import hf_loading, hf_saving, sharding, tensor_files
from rlscale_jax.models.architecture import Architecture, from_hf_config
from rlscale_jax.models.model import Model

SCHEMA_VERSION = 1
_CARRIED = ("*.json", "*.jinja", "*.model", "*.txt", "LICENSE*")  # beside the weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model and what goes with it: carried files by name, and its weights' stored dtypes (empty after training)."""

    model: Model
    files: Mapping[str, bytes]
    step: int
    stored: Mapping[str, str]


def carried_files(directory: epath.PathLike) -> dict[str, bytes]:
    """Everything of a Hugging Face directory that is not weights: configs, tokenizer, chat template, licence."""
    directory = epath.Path(directory)
    paths = sorted({path for pattern in _CARRIED for path in directory.glob(pattern)})
    return {path.name: path.read_bytes() for path in paths if not path.name.endswith(".index.json")}


def import_hf(source: epath.PathLike, target: epath.PathLike) -> None:
    """Converts a Hugging Face directory to a checkpoint of ours; every tensor keeps its dtype.

    Raises:
      ValueError: the target is not empty; and as `load_pretrained`.
    """
    target = _fresh(target)
    model = hf_loading.load_pretrained(source, dtype=None)
    stored = {name: tensor.dtype.name for name, tensor in tensor_files.find(source).items()}
    meta = {"schema": SCHEMA_VERSION, "step": 0, "source": str(source), "stored": stored}
    (target / "hf").mkdir(parents=True)
    for name, data in carried_files(source).items():
        (target / "hf" / name).write_bytes(data)
    ocp.save_checkpointables(_absolute(target / "checkpoints" / "0"), {"state": {"params": model.params}, "meta": meta})


def export_hf(source: epath.PathLike, target: epath.PathLike, *, dtype: Any = None) -> None:
    """Writes a checkpoint (of ours, converted or trained) as a Hugging Face directory.

    `dtype` None: as stored in the published files, or for a trained model as held in training.

    Raises:
      ValueError: the target is not empty; and as `load`.
    """
    target = _fresh(target)
    checkpoint = load(source)
    config = json.loads(checkpoint.files["config.json"])
    files = {name: data for name, data in checkpoint.files.items() if name != "config.json"}
    kinds = checkpoint.stored if dtype is None else dtype
    hf_saving.save_pretrained(checkpoint.model, target, dtype=kinds or None, tokenizer_files=files, config=config)
    if checkpoint.stored and dtype is None:
        (target / "config.json").write_bytes(checkpoint.files["config.json"])


def load(path: epath.PathLike, *, dtype: Any = None, mesh: Mesh | None = None) -> Checkpoint:
    """A run's or converted model's directory (its newest checkpoint), or one checkpoint in it (DIR/checkpoints/STEP).

    Only the parameters are read. `dtype` None: as they were saved.

    Raises:
      FileNotFoundError: no checkpoint there, or no config.json of its model.
      ValueError: a checkpoint that does not fit that config.json.
    """
    _, place = _locate(epath.Path(path))
    files = model_files(path)
    architecture = from_hf_config(json.loads(files["config.json"]))
    meta = ocp.load_checkpointables(place, {"meta": None})["meta"]
    if meta["schema"] > SCHEMA_VERSION:
        raise ValueError(f"{place}: schema {meta['schema']} is newer than this code; update rlscale_jax")
    params = _load_params(architecture, place, dtype, mesh)
    return Checkpoint(
        model=Model(architecture, params), files=files, step=meta["step"], stored=meta.get("stored") or {}
    )


def model_files(path: epath.PathLike) -> dict[str, bytes]:
    """Config and tokenizer files of the model that a checkpoint of ours (as `load` takes it) belongs to.

    Raises:
      FileNotFoundError: no checkpoint there, or no config.json of its model.
    """
    return carried_files(_model_directory(_locate(epath.Path(path))[0]))


def is_checkpoint(path: epath.PathLike) -> bool:
    """Whether the path is a directory that `load` reads."""
    try:
        _locate(epath.Path(path))
    except FileNotFoundError:
        return False
    return True


def _load_params(architecture: Architecture, place: epath.Path, dtype: Any, mesh: Mesh | None) -> dict[str, Any]:
    saved = ocp.metadata(place, "state").metadata["params"]
    wanted = sharding.placed_shapes(architecture, mesh)
    shapes = {jax.tree_util.keystr(key): tuple(a.shape) for key, a in jax.tree.leaves_with_path(saved)}
    expected = {jax.tree_util.keystr(key): a.shape for key, a in jax.tree.leaves_with_path(wanted)}
    if shapes != expected:
        wrong = sorted(key for key in shapes.keys() | expected.keys() if shapes.get(key) != expected.get(key))
        lines = [f"{key}: saved {shapes.get(key)}, config.json says {expected.get(key)}" for key in wrong]
        raise ValueError(
            f"{place}: {len(wrong)} parameters do not fit its model's config.json:\n  " + "\n  ".join(lines)
        )
    abstract = jax.tree.map(
        lambda a, b: jax.ShapeDtypeStruct(a.shape, dtype or b.dtype, sharding=a.sharding), wanted, saved
    )
    with _partial():
        return ocp.load_checkpointables(place, {"state": {"params": abstract}})["state"]["params"]


def _partial() -> ocp.Context:
    """Reading params alone, without the optimiser's state."""
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    return context


def _locate(path: epath.Path) -> tuple[epath.Path, epath.Path]:
    """The directory that holds `hf`, and the checkpoint itself."""
    path = _absolute(path)
    if (path / "state").exists() and (path / "meta").exists():
        return path.parent.parent, path
    steps = path / "checkpoints"
    found = [place for place in steps.iterdir() if place.name.isdigit()] if steps.exists() else []
    if not found:
        raise FileNotFoundError(
            f"{path}: no checkpoint there; give a run's or a converted model's directory, or its checkpoints/STEP"
        )
    return path, max(found, key=lambda place: int(place.name))


def _model_directory(directory: epath.Path) -> epath.Path:
    """Where the config.json of the published model lies."""
    kept = directory / "hf"
    if (kept / "config.json").exists():
        return kept
    run = directory / "config.json"
    named = tensor_files.read_json(run).get("model", {}).get("path") if run.exists() else None
    if named and (epath.Path(named) / "config.json").exists():
        return epath.Path(named)
    raise FileNotFoundError(
        f"{directory}: the model's config.json is neither in {kept} nor in the run's model.path ({named}); copy there "
        "the config and tokenizer files of the model that the run started from"
    )


def _fresh(target: epath.PathLike) -> epath.Path:
    target = epath.Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} exists already; give a new or empty directory")
    return target


def _absolute(path: epath.Path) -> epath.Path:
    """Orbax takes no relative paths."""
    return path if "://" in str(path) else path.resolve()
