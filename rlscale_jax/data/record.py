"""One problem: what is asked, what is right, and how hard it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of a training or evaluation set.

    Raises:
      ValueError: no messages, a message without role and content, or text that is no Unicode.
    """

    problem_id: str  # unique within its set
    domain: str = "math"  # math, codegen, logic, stem, ...
    data_source: str  # names the verifier
    messages: tuple[Mapping[str, str], ...]  # {"role": ..., "content": ...}, usually one user turn
    ground_truth: str  # as its verifier reads it; JSON where it is structured
    difficulty: float = math.nan  # larger is harder, 1 - pass rate where one was measured; nan: unknown
    provenance: str = ""  # file and row that it came from

    def __post_init__(self):
        if math.isnan(self.difficulty):  # the one nan object, as nan == nan only by identity
            object.__setattr__(self, "difficulty", math.nan)
        if not self.messages:
            raise ValueError(f"problem {self.problem_id!r} has no messages")
        for message in self.messages:
            if {type(message.get("role")), type(message.get("content"))} != {str}:
                raise ValueError(f"problem {self.problem_id!r}: expected role and content, got {message!r}")
        f"{self.text}{self.ground_truth}".encode()  # half a surrogate pair, from JSON, is an error here and not later

    @property
    def text(self) -> str:
        """What the conversation says, roles left out."""
        return "\n".join(message["content"] for message in self.messages)


def to_messages(prompt) -> tuple[Mapping[str, str], ...]:
    """The messages of a prompt column: a text is one user turn, a list of messages stands for itself.

    Raises:
      ValueError: something else.
    """
    if isinstance(prompt, str):
        return ({"role": "user", "content": prompt},)
    if isinstance(prompt, list) and all(isinstance(message, Mapping) for message in prompt):
        return tuple({name: message.get(name) for name in ("role", "content")} for message in prompt)
    raise ValueError(f"prompt is {prompt!r}; expected a text or a list of messages with role and content")
