"""Special tokens, stop ids and templates, wherever a published model keeps them."""

import json
import pathlib

import pytest

from rlscale_jax import tokenizers
from rlscale_jax.tokenizers import training

PLAIN = pathlib.Path(__file__).parent.parent / "golden" / "chat" / "plain"
USER = [{"role": "user", "content": "hi"}]


def plain_files(**changes) -> dict[str, bytes]:
    """The files of the plain golden tokenizer; a change to None takes a file away, other values are JSON."""
    files = {path.name: path.read_bytes() for path in PLAIN.iterdir()}
    for name, value in changes.items():
        file = name.replace("_json", ".json").replace("_jinja", ".jinja")
        files.pop(file, None)
        if value is not None:
            files[file] = value if isinstance(value, bytes) else json.dumps(value).encode()
    return files


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (plain_files(generation_config_json={"eos_token_id": 7}), (7,)),
        (plain_files(generation_config_json={"eos_token_id": [7, 9, 7]}), (7, 9)),
        (plain_files(generation_config_json=None, config_json={"eos_token_id": 5}), (292,)),  # <|stop|>
        (plain_files(generation_config_json={}, tokenizer_config_json={}, config_json={"eos_token_id": 5}), (5,)),
        (
            plain_files(
                generation_config_json=None,
                tokenizer_config_json=None,
                special_tokens_map_json={"eos_token": {"content": "<|end|>", "lstrip": False}},
            ),
            (290,),
        ),
    ],
)
def test_stop_ids_come_from_the_file_nearest_to_generation(files, expected):
    assert tokenizers.from_files(files).eos_ids == expected


def test_stop_ids_known_from_the_models_config_alone_are_carried_along():
    files = plain_files(generation_config_json=None, tokenizer_config_json={}, config_json={"eos_token_id": [5, 6]})
    carried = tokenizers.from_files(files).files
    assert "config.json" not in carried
    assert tokenizers.from_files(carried).eos_ids == (5, 6)


def test_pad_comes_from_tokenizer_then_model_then_eos():
    own = {"eos_token": "<|stop|>"}
    assert tokenizers.from_files(plain_files()).pad_id == 290
    assert tokenizers.from_files(plain_files(tokenizer_config_json=own, config_json={"pad_token_id": 3})).pad_id == 3
    assert tokenizers.from_files(plain_files(tokenizer_config_json=own, config_json={"pad_token_id": -1})).pad_id == 292


def test_template_file_counts_before_the_config_entry():
    files = plain_files(chat_template_jinja=b"{{ messages[0].content }}!")
    assert tokenizers.from_files(files).render(USER) == tokenizers.from_files(files).encode("hi!")


def test_named_templates_use_the_default_one():
    config = {"eos_token": "<|stop|>", "chat_template": [{"name": "tool_use", "template": "no"}]}
    with pytest.raises(ValueError, match=r"\['tool_use'\].*none named 'default'"):
        tokenizers.from_files(plain_files(tokenizer_config_json=config))
    config["chat_template"].append({"name": "default", "template": "yes"})
    tokenizer = tokenizers.from_files(plain_files(tokenizer_config_json=config))
    assert tokenizer.render(USER) == tokenizer.encode("yes")


def test_tokens_listed_beside_the_vocabulary_are_added_as_special():
    added = {"293": {"content": "<|new|>", "special": True, "lstrip": False, "rstrip": False, "normalized": False}}
    config = {"eos_token": "<|new|>", "added_tokens_decoder": added}
    tokenizer = tokenizers.from_files(plain_files(generation_config_json=None, tokenizer_config_json=config))
    assert tokenizer.eos_ids == (293,)
    assert tokenizer.encode("a<|new|>")[-1] == 293
    assert tokenizer.decode(tokenizer.encode("a<|new|>"), skip_special=True) == "a"
    assert tokenizer.vocab_size == 294
    with pytest.raises(ValueError, match=r"'<\|new\|>' is listed as id 400, but in tokenizer.json it is 293"):
        tokenizers.from_files(
            plain_files(tokenizer_config_json=config | {"added_tokens_decoder": {"400": added["293"]}})
        )


def sentencepiece_files(tmp_path, **json_files) -> dict[str, bytes]:
    training.train_sentencepiece(["1 + 2 = 3", "4 * 5"], 40, tmp_path)
    files = {"tokenizer.model": (tmp_path / "tokenizer.model").read_bytes()}
    return files | {f"{name}.json": json.dumps(value).encode() for name, value in json_files.items()}


@pytest.mark.parametrize("listed_in", ["added_tokens", "tokenizer_config"])
def test_tokens_beside_sentencepieces_model(tmp_path, listed_in):
    size = tokenizers.from_files(sentencepiece_files(tmp_path, tokenizer_config={"eos_token": "</s>"})).vocab_size
    config: dict = {"eos_token": "<|turn|>", "pad_token": {"content": "<pad>"}}
    if listed_in == "added_tokens":
        added = {"added_tokens": {"<|turn|>": size, "note": size + 2}}
    else:
        config["added_tokens_decoder"] = {str(size): {"content": "<|turn|>", "special": True}}
        config["added_tokens_decoder"][str(size + 2)] = {"content": "note", "special": False}
        added = {}
    tokenizer = tokenizers.from_files(sentencepiece_files(tmp_path, tokenizer_config=config, **added))
    assert (tokenizer.eos_ids, tokenizer.pad_id, tokenizer.vocab_size) == ((size,), 0, size + 3)
    ids = tokenizer.encode("1 +<|turn|>note2")
    assert ids[-3:-1] == [size, size + 2]
    assert tokenizer.decode([*ids, size + 1, -1]) == "1 +<|turn|>note2"
    assert tokenizer.decode(ids, skip_special=True) == "1 +note2"


def test_an_added_token_may_not_take_a_pieces_id(tmp_path):
    files = sentencepiece_files(tmp_path, tokenizer_config={"eos_token": "</s>"}, added_tokens={"<new>": 2})
    with pytest.raises(ValueError, match=r"'<new>' is listed as id 2, but in tokenizer\.model that is '</s>'"):
        tokenizers.from_files(files)


def test_settings_of_somebodys_training_run_do_not_cut_texts():
    content = json.loads((PLAIN / "tokenizer.json").read_text())
    content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    tokenizer = tokenizers.from_files(plain_files(tokenizer_json=content))
    assert tokenizer.decode(tokenizer.encode("a long enough text")) == "a long enough text"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no end-of-sequence|no tokenizer.json"),
        (plain_files(tokenizer_json=b"{}"), "tokenizer.json cannot be read"),
        (plain_files(tokenizer_json=None, tokenizer_model=None), "no tokenizer.json and no tokenizer.model"),
        ({"tokenizer.model": b"not protobuf"}, "tokenizer.model cannot be read"),
        (plain_files(tokenizer_config_json=b"[1, 2"), "tokenizer_config.json is not JSON"),
        (plain_files(generation_config_json=b"[]"), "generation_config.json holds a list"),
        (plain_files(generation_config_json=None, tokenizer_config_json={}), "no end-of-sequence id"),
        (plain_files(generation_config_json={"eos_token_id": "<|stop|>"}), "eos_token_id is '<|stop|>'"),
        (plain_files(chat_template_jinja=b"{% if %}"), "does not parse"),
    ],
)
def test_broken_files_are_named(files, message):
    with pytest.raises(ValueError, match=message.replace("<|stop|>", r"<\|stop\|>")):
        tokenizers.from_files(files)


def test_an_empty_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        tokenizers.load(tmp_path)


def test_rendering_without_a_template_says_where_to_put_one():
    tokenizer = tokenizers.from_files(plain_files(tokenizer_config_json={"eos_token": "<|stop|>"}))
    with pytest.raises(ValueError, match=r"chat_template\.jinja"):
        tokenizer.render(USER)
