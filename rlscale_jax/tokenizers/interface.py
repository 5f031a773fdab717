"""What the rest of the system asks of a tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Protocol

Message = Mapping[str, str]  # {"role": ..., "content": ...}


class Codec(Protocol):
    """One vocabulary: the part that differs between the file formats."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str: ...

    def token_id(self, token: str) -> int | None:
        """The id of exactly this token, None where the vocabulary has none."""
        ...


class Tokenizer(Protocol):
    """A vocabulary with its chat template and its stop tokens."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end a completion, at least one."""
        ...

    @property
    def pad_id(self) -> int:
        """An id to fill rows with. It may equal an eos id: lengths say what is padding, never this id."""
        ...

    @property
    def vocab_size(self) -> int:
        """One more than the largest id; a model's embedding may have more rows."""
        ...

    @property
    def files(self) -> Mapping[str, bytes]:
        """The files this tokenizer was read from, by name, for a checkpoint to carry along."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text. Nothing is added; special tokens written out in the text become their ids."""
        ...

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """The text of ids, special tokens written out or left out. Ids outside the vocabulary are left out."""
        ...

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation in the model's chat format, up to where its answer begins."""
        ...
