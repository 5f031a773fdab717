"""Ids, texts and conversations equal to those of Hugging Face's transformers."""

import datetime
import json
import pathlib

import pytest

from rlscale_jax import tokenizers

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "chat"
EXPECTED = json.loads((GOLDEN / "golden.json").read_text())
NAMES = ("plain", "dated", "qwen2.5")


@pytest.fixture(params=NAMES, scope="module")
def case(request):
    name = request.param
    if name == "qwen2.5":
        directory = request.getfixturevalue("shared_data") / "tokenizers" / name
    else:
        directory = GOLDEN / name
    return tokenizers.load(directory, clock=lambda: datetime.datetime(2025, 3, 9)), EXPECTED[name]


def test_conversations_give_the_ids_of_transformers(case):
    tokenizer, expected = case
    assert len(expected["chats"]) == 5
    for chat in expected["chats"]:
        assert tokenizer.render(chat["messages"]) == chat["ids"]


def test_texts_give_the_ids_of_transformers(case):
    tokenizer, expected = case
    for entry in expected["texts"]:
        assert tokenizer.encode(entry["text"]) == entry["ids"]


def test_ids_give_the_texts_of_transformers(case):
    tokenizer, expected = case
    for entry in expected["texts"]:
        assert tokenizer.decode(entry["ids"]) == entry["decoded"]
        assert tokenizer.decode(entry["ids"], skip_special=True) == entry["without_special"]


def test_stop_ids_begin_with_the_eos_of_transformers(case):
    tokenizer, expected = case
    assert tokenizer.eos_ids[0] == expected["eos_token_id"]


def test_begin_of_text_stands_once_where_template_and_post_processor_both_add_it():
    tokenizer = tokenizers.load(GOLDEN / "dated")
    begin = tokenizer.encode("<|begin|>")
    assert len(begin) == 1
    assert tokenizer.render([{"role": "user", "content": "hello"}]).count(begin[0]) == 1
    assert begin[0] not in tokenizer.encode("hello")


def test_several_stop_ids_and_a_pad_that_is_one_of_them():
    plain, dated = tokenizers.load(GOLDEN / "plain"), tokenizers.load(GOLDEN / "dated")
    assert [plain.decode([i]) for i in plain.eos_ids] == ["<|stop|>", "<|end|>"]
    assert plain.decode([plain.pad_id]) == "<|end|>"
    assert dated.pad_id == dated.eos_ids[0]  # no pad token: any id will do


def test_ids_of_a_padded_embedding_decode_to_nothing():
    tokenizer = tokenizers.load(GOLDEN / "plain")
    assert tokenizer.decode([tokenizer.vocab_size, *tokenizer.encode("cat"), tokenizer.vocab_size + 99]) == "cat"


def test_files_may_lie_in_an_object_store(bucket):
    for path in (GOLDEN / "dated").iterdir():
        bucket.pipe(f"gs://bucket/model/{path.name}", path.read_bytes())
    there, here = tokenizers.load("gs://bucket/model"), tokenizers.load(GOLDEN / "dated")
    assert (there.files, there.eos_ids, there.vocab_size) == (here.files, here.eos_ids, here.vocab_size)


def test_a_checkpoint_can_carry_the_files(tmp_path):
    tokenizer = tokenizers.load(GOLDEN / "dated")
    for name, content in tokenizer.files.items():
        (tmp_path / name).write_bytes(content)
    again = tokenizers.load(tmp_path)
    messages = [{"role": "user", "content": "the cat <|stop|>"}]
    assert again.render(messages) == tokenizer.render(messages)
    assert (again.eos_ids, again.pad_id, again.files) == (tokenizer.eos_ids, tokenizer.pad_id, tokenizer.files)
