"""The model under evaluation, from a published directory, a run, one of its steps, or a converted checkpoint."""

import datetime
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from etils import epath
from jax.sharding import Mesh

from rlscale_jax import models, tokenizers
from rlscale_jax.models import Architecture, Model, checkpoint
from rlscale_jax.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is known before the weights are read. `published`: a Hugging Face directory, else a checkpoint of ours."""

    path: str
    published: bool
    architecture: Architecture
    tokenizer: Tokenizer
    tokenizer_digest: str

    def load(self, *, dtype: Any, mesh: Mesh) -> tuple[Model, int]:
        """The weights, cast to `dtype` and laid out over the mesh, and the training step that they are from.

        Raises: as `models.load_pretrained` and `checkpoint.load`.
        """
        if self.published:
            return models.load_pretrained(self.path, dtype=dtype, mesh=mesh), 0
        loaded = checkpoint.load(self.path, dtype=dtype, mesh=mesh)
        return loaded.model, loaded.step


def find(path: str, *, today: datetime.date) -> Subject:
    """The model at a path (local or gs://).

    `today` is the date that some chat templates write into every prompt (Llama 3).

    Raises:
      ValueError: nothing there that is a model, or one whose tokenizer does not belong to it.
    """
    published = _is_published(epath.Path(path))
    if not published and not checkpoint.is_checkpoint(path):
        raise ValueError(
            f"--checkpoint={path}: no model there; give a Hugging Face directory (config.json, *.safetensors), a run's "
            "or converted model's directory (its newest checkpoint is taken), or DIR/checkpoints/STEP"
        )
    files = checkpoint.carried_files(path) if published else checkpoint.model_files(path)
    architecture = models.from_hf_config(json.loads(files["config.json"]))
    noon = datetime.datetime.combine(today, datetime.time(12))
    tokenizer = tokenizers.from_files(files, clock=lambda: noon)
    if tokenizer.vocab_size > architecture.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model's embedding only "
            f"{architecture.vocab_size}"
        )
    return Subject(
        path=os.fspath(path),
        published=published,
        architecture=architecture,
        tokenizer=tokenizer,
        tokenizer_digest=_digest(*(part for item in sorted(tokenizer.files.items()) for part in item)),
    )


def _is_published(directory: epath.Path) -> bool:
    # A base model of the ladder keeps its pretraining checkpoints beside its weights, so this is asked first.
    return (directory / "config.json").exists() and any(directory.glob("*.safetensors"))


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]
