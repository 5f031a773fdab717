"""The two vocabulary formats: Hugging Face's tokenizer.json and SentencePiece's tokenizer.model."""

import itertools
import re
from collections.abc import Mapping, Sequence

import sentencepiece
import tokenizers as huggingface


class HuggingFaceCodec:
    """A tokenizer.json, run by the `tokenizers` package.

    Args:
      content: the file's bytes.
      added_tokens: id -> content and flags of tokens beside the vocabulary. Those that the file itself lacks are
        added.

    Raises:
      ValueError: not a tokenizer.json, or an added token that cannot get the id it is listed with.
    """

    def __init__(self, content: bytes, added_tokens: Mapping[int, Mapping]):
        try:
            self._tokenizer = huggingface.Tokenizer.from_buffer(content)
        except Exception as error:  # the package raises plain Exception
            raise ValueError(f"tokenizer.json cannot be read: {error}") from error
        self._tokenizer.no_truncation()  # a file may carry settings of somebody's training run
        self._tokenizer.no_padding()
        for i, token in sorted(added_tokens.items()):
            self._add(i, token)
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        known = [int(i) for i in ids if i >= 0]  # the package leaves out those beyond its vocabulary itself
        return self._tokenizer.decode(known, skip_special_tokens=skip_special)

    def token_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def _add(self, i: int, token: Mapping) -> None:
        if self._tokenizer.id_to_token(i) == token["content"]:
            return
        flags = {name: token[name] for name in ("lstrip", "rstrip", "single_word", "normalized") if name in token}
        added = huggingface.AddedToken(token["content"], special=token.get("special", False), **flags)
        self._tokenizer.add_tokens([added])
        if self._tokenizer.token_to_id(token["content"]) != i:
            raise ValueError(
                f"{token['content']!r} is listed as id {i}, but in tokenizer.json it is "
                f"{self._tokenizer.token_to_id(token['content'])}"
            )


class SentencePieceCodec:
    """A SentencePiece model. Control pieces such as `</s>` are recognised where a text spells them out.

    Args:
      content: the file's bytes.
      added_tokens: id -> content and flags of tokens beside the model's pieces, recognised likewise.

    Raises:
      ValueError: not a SentencePiece model, or an added token with the id of another piece.
    """

    def __init__(self, content: bytes, added_tokens: Mapping[int, Mapping]):
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=content)  # pyright: ignore[reportCallIssue]
        except RuntimeError as error:
            raise ValueError(f"tokenizer.model cannot be read: {error}") from error
        self._num_pieces = self._processor.get_piece_size()
        kinds = (self._processor.is_control, self._processor.is_unknown)
        special = [i for i in range(self._num_pieces) if any(kind(i) for kind in kinds)]
        self._name = {i: self._processor.id_to_piece(i) for i in special}
        self._hidden = {*special, *(i for i, token in added_tokens.items() if token.get("special"))}
        for i, token in added_tokens.items():
            if i < self._num_pieces and self._processor.id_to_piece(i) != token["content"]:
                piece = self._processor.id_to_piece(i)
                raise ValueError(f"{token['content']!r} is listed as id {i}, but in tokenizer.model that is {piece!r}")
            self._name[i] = token["content"]
        self.vocab_size = max(self._num_pieces, 1 + max(self._name, default=0))
        self._special = {piece: i for i, piece in self._name.items()}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._splitter = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in filter(None, self._splitter.split(text)):
            ids += [self._special[part]] if part in self._special else self._processor.encode(part)
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        known = [int(i) for i in ids if 0 <= i < self._num_pieces or i in self._name]
        text = ""
        for special, run in itertools.groupby(known, key=self._name.__contains__):
            if not special:
                text += self._processor.decode(list(run))
            else:
                text += "".join(self._name[i] for i in run if not (skip_special and i in self._hidden))
        return text

    def token_id(self, token: str) -> int | None:
        if token in self._special:
            return self._special[token]
        i = self._processor.piece_to_id(token)
        return i if self._processor.id_to_piece(i) == token else None
