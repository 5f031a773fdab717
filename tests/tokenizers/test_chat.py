"""Templates are other people's programs: what they may do and how they fail."""

import datetime

import pytest

from rlscale_jax.tokenizers.chat import ChatTemplate

USER = [{"role": "user", "content": "hi"}]


def render(source: str, messages=USER, special_tokens=None) -> str:
    clock = lambda: datetime.datetime(2024, 7, 26)  # noqa: E731
    return ChatTemplate(source, special_tokens or {}, clock=clock).render(messages)


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__['jinja2'] }}",
        "{{ messages.append(1) }}",
        "{{ range(10 ** 9) | list }}",
        "{{ messages[0].update({'role': 'x'}) }}",
    ],
)
def test_the_sandbox_refuses(attack):
    with pytest.raises(ValueError, match="refuses this conversation"):
        render(attack)


def test_a_template_cannot_change_the_callers_messages():
    messages = [{"role": "user", "content": "hi"}]
    render("{% for m in messages %}{{ m.content }}{% endfor %}", messages)
    assert messages == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>hi"),  # no eos token: nothing
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),  # blocks leave neither indent nor line
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% generation %}a{{ 1 }}{% endgeneration %}b", "a1b"),
        ("{{ add_generation_prompt }} {{ tools }} {{ documents }}", "True None None"),
    ],
)
def test_names_and_white_space_are_those_that_published_templates_expect(source, expected):
    assert render(source, special_tokens={"bos_token": "<s>"}) == expected


@pytest.mark.parametrize(
    ("source", "messages", "reason"),
    [
        ("{{ raise_exception('roles must alternate') }}", USER, "roles must alternate"),
        ("{{ messages[0].content + 'x' }}", [{"role": "user", "content": None}], "refuses"),
        ("{{ messages[0].content }}", [], "at least one message"),
    ],
)
def test_what_is_refused_says_why(source, messages, reason):
    with pytest.raises(ValueError, match=reason):
        render(source, messages)
