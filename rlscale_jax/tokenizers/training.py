"""Trains the ladder's SentencePiece tokenizer on its task's corpus.

Digits are pieces of their own, so that numbers look alike wherever they stand, and so is a line's end. Nothing
is normalised and no space is added: decoding gives back every text of the corpus's characters exactly.
"""

import io
import json
import os
from collections.abc import Iterable

import sentencepiece
from etils import epath

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] + '\\n' }}{% endfor %}"


def train_sentencepiece(texts: Iterable[str], vocab_size: int, directory: os.PathLike | str) -> None:
    """Writes a tokenizer that `tokenizers.load` reads; the same texts give the same bytes.

    Args:
      texts: the corpus.
      vocab_size: number of pieces at most, specials included; a simple corpus has fewer to offer.
      directory: where its files go (local or gs://).

    Raises:
      ValueError: the corpus is empty, or has more characters than `vocab_size`.
    """
    lines = [line for text in texts for line in text.split("\n") if line]
    if not lines:
        raise ValueError("a SentencePiece tokenizer needs a corpus; no text was given")
    path = epath.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    (path / "tokenizer.model").write_bytes(_train(lines, vocab_size))
    tokens = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}
    (path / "tokenizer_config.json").write_text(json.dumps(tokens, indent=2) + "\n")
    (path / "generation_config.json").write_text('{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}\n')
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _train(lines: list[str], vocab_size: int) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            model_type="bpe",
            character_coverage=1.0,
            split_digits=True,
            user_defined_symbols=["\n"],
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            max_sentence_length=1 << 20,
            num_threads=1,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece=PAD,
            bos_piece=BOS,
            eos_piece=EOS,
            unk_piece=UNK,
            unk_surface=UNK,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"no SentencePiece model of {vocab_size} pieces for this corpus: {error}") from error
    return model.getvalue()
