"""Reads a tokenizer from a model's directory, or from the files that a checkpoint carries."""

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from etils import epath

from rlscale_jax.tokenizers.chat import ChatTemplate, Clock
from rlscale_jax.tokenizers.codecs import HuggingFaceCodec, SentencePieceCodec
from rlscale_jax.tokenizers.interface import Codec, Message, Tokenizer
from rlscale_jax.tokenizers.settings import Settings, read_settings

# config.json is read for its token ids but belongs to the model, so it is not carried along under this name.
CARRIED = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)


@dataclass(frozen=True, kw_only=True)
class _LoadedTokenizer:
    """A vocabulary, its template and its stop tokens; see `interface.Tokenizer`."""

    files: Mapping[str, bytes] = field(repr=False)
    eos_ids: tuple[int, ...]
    pad_id: int
    codec: Codec
    template: ChatTemplate | None

    @property
    def vocab_size(self) -> int:
        return self.codec.vocab_size

    def encode(self, text: str) -> list[int]:
        return self.codec.encode(text)

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        return self.codec.decode(ids, skip_special=skip_special)

    def render(self, messages: Sequence[Message]) -> list[int]:
        if self.template is None:
            raise ValueError(
                "this tokenizer has no chat template; put one into chat_template.jinja beside its other files"
            )
        return self.codec.encode(self.template.render(messages))


def load(directory: os.PathLike | str, *, clock: Clock = datetime.datetime.now) -> Tokenizer:
    """The tokenizer in a directory (local or gs://) laid out as Hugging Face publishes models.

    Args:
      directory: holds tokenizer.json, or tokenizer.model of SentencePiece, and the small files beside it.
      clock: the time for templates that write today's date (Llama 3.2). A run that must give the same prompts
        after a resume on another day fixes it.

    Raises:
      ValueError: no tokenizer there, or its files cannot be read or contradict each other.
    """
    path = epath.Path(directory)
    files = {name: (path / name).read_bytes() for name in (*CARRIED, "config.json") if (path / name).exists()}
    try:
        return from_files(files, clock=clock)
    except ValueError as error:
        raise ValueError(f"tokenizer in {path}: {error}") from error


def from_files(files: Mapping[str, bytes], *, clock: Clock = datetime.datetime.now) -> Tokenizer:
    """The tokenizer made of these files (name -> content); see `load`."""
    settings = read_settings(files)
    codec = _codec(files, settings)
    eos_ids, pad_id = settings.eos_ids(codec), settings.pad_id(codec)
    template = settings.chat_template
    return _LoadedTokenizer(
        files=_carried(files, settings, eos_ids),
        eos_ids=eos_ids,
        pad_id=pad_id,
        codec=codec,
        template=ChatTemplate(template, settings.special_tokens, clock=clock) if template else None,
    )


def _carried(files: Mapping[str, bytes], settings: Settings, eos_ids: tuple[int, ...]) -> dict[str, bytes]:
    carried = {name: files[name] for name in CARRIED if name in files}
    if "eos_token" not in settings.special_tokens and not settings.generation.get("eos_token_id"):
        generation = {**settings.generation, "eos_token_id": list(eos_ids)}  # known from config.json alone
        carried["generation_config.json"] = json.dumps(generation).encode()
    return carried


def _codec(files: Mapping[str, bytes], settings: Settings) -> Codec:
    if "tokenizer.json" in files:  # where both exist, this one knows the added tokens
        return HuggingFaceCodec(files["tokenizer.json"], settings.added_tokens)
    if "tokenizer.model" in files:
        return SentencePieceCodec(files["tokenizer.model"], settings.added_tokens)
    raise ValueError("no tokenizer.json and no tokenizer.model among its files")
