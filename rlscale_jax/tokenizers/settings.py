"""What stands beside a vocabulary: special tokens, stop ids and the chat template.

Published models spread this over several files, of which any may be missing. Where two of them speak, the one
nearer to generation counts: eos ids come from generation_config.json, then from the tokenizer's own eos token,
then from config.json; the template from chat_template.jinja, then from tokenizer_config.json.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rlscale_jax.tokenizers.interface import Codec

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The JSON files' contents as far as they concern tokens."""

    special_tokens: Mapping[str, str]  # bos_token -> "<s>"; only those that the model has
    added_tokens: Mapping[int, Mapping]  # id -> content and matching flags, of tokens outside the base vocabulary
    chat_template: str  # Jinja; "": the model has none
    generation: Mapping
    model: Mapping

    def eos_ids(self, codec: Codec) -> tuple[int, ...]:
        """The ids that end a completion, without repetition, in the files' order."""
        own = codec.token_id(self.special_tokens["eos_token"]) if "eos_token" in self.special_tokens else None
        for value in (self.generation.get("eos_token_id"), own, self.model.get("eos_token_id")):
            if value is not None and value != []:
                ids = tuple(dict.fromkeys(value if isinstance(value, list) else [value]))
                return _checked(ids, codec, "eos_token_id")
        raise ValueError(
            "no end-of-sequence id: give eos_token_id in generation_config.json or eos_token in tokenizer_config.json"
        )

    def pad_id(self, codec: Codec) -> int:
        """The padding id; the first eos id for models without one (padding is masked by length, not by id)."""
        own = codec.token_id(self.special_tokens["pad_token"]) if "pad_token" in self.special_tokens else None
        for value in (own, self.generation.get("pad_token_id"), self.model.get("pad_token_id")):
            if value is not None and value >= 0:  # -1 stands for none in some published configs
                return _checked((value,), codec, "pad_token_id")[0]
        return self.eos_ids(codec)[0]


def read_settings(files: Mapping[str, bytes]) -> Settings:
    """The settings in a tokenizer's files (name -> content).

    Raises:
      ValueError: a file is not a JSON object.
    """
    config = _json(files, "tokenizer_config.json")
    named = _json(files, "special_tokens_map.json") | {k: v for k, v in config.items() if v is not None}
    special = {name: _content(named[name]) for name in SPECIAL_NAMES if named.get(name)}
    return Settings(
        special_tokens=special,
        added_tokens=_added_tokens(files, config, set(special.values())),
        chat_template=_chat_template(files, config),
        generation=_json(files, "generation_config.json"),
        model=_json(files, "config.json"),
    )


def _added_tokens(files: Mapping[str, bytes], config: Mapping, special: set[str]) -> dict[int, Mapping]:
    """From `added_tokens_decoder`; beside a SentencePiece model also from the older added_tokens.json (content -> id),
    which a tokenizer.json makes out of date."""
    older = {} if "tokenizer.json" in files else _json(files, "added_tokens.json")
    added: dict[int, Mapping] = {i: {"content": text, "special": text in special} for text, i in older.items()}
    return added | {int(i): token for i, token in (config.get("added_tokens_decoder") or {}).items()}


def _checked(ids: tuple[int, ...], codec: Codec, field: str) -> tuple[int, ...]:
    for i in ids:
        # A model may stop at an id of its padded embedding, but not at something that is no id at all.
        if isinstance(i, bool) or not isinstance(i, int) or i < 0:
            raise ValueError(f"{field} is {i!r}; expected an id between 0 and {codec.vocab_size - 1}")
    return ids


def _chat_template(files: Mapping[str, bytes], config: Mapping) -> str:
    if "chat_template.jinja" in files:
        return files["chat_template.jinja"].decode()
    template = config.get("chat_template") or ""
    if isinstance(template, list):  # several named ones: [{"name": "default", "template": ...}, ...]
        by_name = {entry["name"]: entry["template"] for entry in template}
        if "default" not in by_name:
            raise ValueError(f"chat_template has {sorted(by_name)} in tokenizer_config.json, none named 'default'")
        return by_name["default"]
    return template


def _content(token: str | Mapping) -> str:
    return token if isinstance(token, str) else token["content"]


def _json(files: Mapping[str, bytes], name: str) -> dict:
    try:
        value = json.loads(files.get(name, b"{}"))
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds a {type(value).__name__}; expected an object")
    return value
