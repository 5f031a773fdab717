"""The ladder's SentencePiece tokenizer."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlscale_jax import tokenizers
from rlscale_jax.tokenizers.training import train_sentencepiece

VOCAB = 48


def corpus() -> list[str]:
    draw = random.Random(0)
    return [
        f"What is {draw.randint(0, 999)} + {draw.randint(0, 99)}?\n {draw.randint(0, 9)};  \\boxed{{{draw.random()}}}"
        for _ in range(300)
    ]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces")
    train_sentencepiece(corpus(), VOCAB, path)
    return path


@pytest.fixture(scope="module")
def tokenizer(directory):
    return tokenizers.load(directory)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=sorted(set("".join(corpus()))), max_size=60))
def test_any_text_of_the_corpus_alphabet_comes_back_exactly(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_digit_and_every_line_end_is_a_piece_of_its_own(tokenizer):
    pieces = [tokenizer.decode([i]) for i in range(4, tokenizer.vocab_size)]
    assert {piece for piece in pieces if any(c.isdigit() for c in piece)} == set("0123456789")
    assert [piece for piece in pieces if "\n" in piece] == ["\n"]
    assert len(tokenizer.encode("1234567890")) == 10


def test_a_number_looks_alike_wherever_it_stands(tokenizer):
    alone = tokenizer.encode("42")
    assert tokenizer.encode(" 42")[-2:] == alone == tokenizer.encode("{42}")[1:-1] == tokenizer.encode("\n42")[1:]


def test_the_same_corpus_gives_the_same_files(directory, tmp_path):
    train_sentencepiece(corpus(), VOCAB, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in directory.iterdir()}


def test_specials_are_distinct_and_recognised_in_texts(tokenizer):
    assert (tokenizer.pad_id, tokenizer.eos_ids, tokenizer.encode("<s><unk>")) == (0, (2,), [1, 3])
    assert tokenizer.encode("</s>1<pad>") == [2, *tokenizer.encode("1"), 0]
    assert tokenizer.encode("1") == [tokenizer.encode("11")[0]]  # nothing added
    assert tokenizer.decode([1, *tokenizer.encode("9"), 2]) == "<s>9</s>"
    assert tokenizer.decode([1, *tokenizer.encode("9"), 2, 64, -1], skip_special=True) == "9"


def test_unknown_characters_are_one_unknown_piece(tokenizer):
    assert tokenizer.encode("é") == [3]


def test_a_prompt_begins_with_bos_and_ends_its_line(tokenizer):
    prompt = tokenizer.render([{"role": "user", "content": "What is 1 + 2?"}])
    assert tokenizer.decode(prompt) == "<s>What is 1 + 2?\n"


def test_a_corpus_with_enough_to_offer_fills_the_vocabulary(tokenizer):
    assert tokenizer.vocab_size == VOCAB


def test_a_simple_corpus_gives_fewer_pieces(tmp_path):
    train_sentencepiece(["1+1=2"], 64, tmp_path)
    assert 4 < tokenizers.load(tmp_path).vocab_size < 64


@pytest.mark.parametrize(
    ("texts", "size", "reason"), [([], 64, "no text"), (["\n", ""], 64, "no text"), (["abc"], 5, "5 pieces")]
)
def test_impossible_corpora_are_refused(texts, size, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        train_sentencepiece(texts, size, tmp_path)
