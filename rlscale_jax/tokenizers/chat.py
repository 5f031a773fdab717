"""Chat templates: a conversation as the text that the model was trained on.

Templates come with checkpoints, so they are other people's programs: they run in Jinja's immutable sandbox, with
the names that published templates rely on (those of Hugging Face's `apply_chat_template`).
"""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from rlscale_jax.tokenizers.interface import Message

Clock = Callable[[], datetime.datetime]


class ChatTemplate:
    """A compiled template.

    Args:
      source: Jinja text.
      special_tokens: bos_token and so on, as the template may name them.
      clock: what `strftime_now` reads; Llama 3.2 writes the date into its system turn.

    Raises:
      ValueError: the template does not parse.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], *, clock: Clock):
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationTag]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda fmt: clock().strftime(fmt)
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template does not parse: {error}") from error

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation's text, ending where the model's answer begins.

        Raises:
          ValueError: no messages, or the template refuses these.
        """
        if not messages:
            raise ValueError("a conversation needs at least one message")
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._special_tokens,
            )
        except Exception as error:  # a foreign program may raise anything
            raise ValueError(f"the chat template refuses this conversation: {error}") from error


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}` marks what the assistant says, for training masks; here it is plain text."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own declaration is a plain class attribute)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which models never saw.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
