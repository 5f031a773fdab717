"""Writes tests/golden/chat: tiny tokenizers and what Hugging Face's transformers makes of conversations with them.

  pip install transformers==5.23.0
  python tests/golden/make_chat_golden.py --qwen=DIR    # DIR: a published Qwen2.5 tokenizer

The templates are ours and use what published ones use: specials by name, loop controls, tojson, strftime_now,
raise_exception, generation marks. The clock is stopped at 2025-03-09 for those that write the date.
"""

import argparse
import datetime
import json
import pathlib
from unittest import mock

import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).parent / "chat"
CORPUS = [
    "What is 12 + 30? The sum of 12 and 30 is \\boxed{42}.",
    "the cat sat on the mat\n\n",
    "  def f(x):\n    return x",
]
TEXTS = [
    "What is 12 + 30?",
    "  two  spaces\n\n\tand a tab ",
    "café cafe\u0301 数学 🙂 \u200b",
    "a<|stop|>b <|turn|>user\nx",
    "<|begin|> <|stop|",
    "",
]
CONVERSATIONS = [
    [{"role": "user", "content": "What is 12 + 30?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " a < b & 'c' \n"}],
    [
        {"role": "user", "content": "the cat"},
        {"role": "assistant", "content": "sat"},
        {"role": "user", "content": "数学 🙂 {{ messages }} {% raw %}"},
    ],
    [{"role": "user", "content": "say <|stop|> twice"}],
    [{"role": role, "content": role + str(turn)} for turn in range(3) for role in ("user", "assistant")],
]
PLAIN_TEMPLATE = """{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('unknown role ' + message.role) }}
    {%- endif %}
    {{- '<|turn|>' + message['role'] + '\\n' + message['content'] + eos_token + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|turn|>assistant\\n' }}
{%- endif %}
"""
DATED_TEMPLATE = """{{ bos_token }}
{% if messages[0]['role'] == 'system' %}
  {% set opening = messages[0]['content'] | trim %}
  {% set rest = messages[1:] %}
{% else %}
  {% set opening = '' %}
  {% set rest = messages %}
{% endif %}
<|turn|>system
Today is {{ strftime_now('%d %b %Y') }}. {{ opening }}<|stop|>
{% for message in rest %}
  {% if loop.index > 2 and message.role == 'assistant' %}{% break %}{% endif %}
  {% if message.role == 'assistant' %}
{% generation %}<|turn|>{{ message.content }}<|stop|>{% endgeneration %}

  {% else %}
<|turn|>{{ message | tojson }}<|stop|>
  {% endif %}
{% endfor %}
{% if tools is not none or documents is defined and documents %}tools{% endif %}
{% if add_generation_prompt %}<|turn|>assistant

{% endif %}"""


class StoppedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2025, 3, 9, 12, 0, tzinfo=tz)


def make_plain(directory: pathlib.Path) -> None:
    """As Qwen2.5: no bos, NFC, pad and stop tokens differ, several stop ids, template in tokenizer_config.json."""
    tokenizer = byte_level(["<|end|>", "<|turn|>", "<|stop|>"])
    tokenizer.normalizer = normalizers.NFC()
    config = {"eos_token": "<|stop|>", "pad_token": "<|end|>", "bos_token": None, "chat_template": PLAIN_TEMPLATE}
    ids = [tokenizer.token_to_id("<|stop|>"), tokenizer.token_to_id("<|end|>")]
    write(directory, tokenizer, config, {"eos_token_id": ids})


def make_dated(directory: pathlib.Path) -> None:
    """As Llama 3: bos by post-processor and in the template, which stands in a file of its own and tells the date."""
    tokenizer = byte_level(["<|begin|>", "<|stop|>", "<|turn|>"])
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", begin)]
    )
    config = {
        "bos_token": {"__type": "AddedToken", "content": "<|begin|>", "special": True},
        "eos_token": "<|stop|>",
        "clean_up_tokenization_spaces": False,
    }
    write(directory, tokenizer, config, {"eos_token_id": tokenizer.token_to_id("<|stop|>")})
    (directory / "chat_template.jinja").write_text(DATED_TEMPLATE)


def byte_level(specials: list[str]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def write(directory: pathlib.Path, tokenizer: tokenizers.Tokenizer, config: dict, generation: dict) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | config
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (directory / "generation_config.json").write_text(json.dumps(generation) + "\n")


def golden(directory: pathlib.Path) -> dict:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    chats = []
    for messages in CONVERSATIONS:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        chats.append({"messages": messages, "text": text, "ids": ids})
    texts = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        decoded = {skip: tokenizer.decode(ids, skip_special_tokens=skip) for skip in (False, True)}
        texts.append({"text": text, "ids": ids, "decoded": decoded[False], "without_special": decoded[True]})
    return {"eos_token_id": tokenizer.eos_token_id, "chats": chats, "texts": texts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--qwen", type=pathlib.Path, required=True)
    qwen = parser.parse_args().qwen
    make_plain(OUT / "plain")
    make_dated(OUT / "dated")
    results = {"transformers": transformers.__version__}
    with mock.patch("transformers.utils.chat_template_utils.datetime", StoppedClock):
        for name, directory in {"plain": OUT / "plain", "dated": OUT / "dated", "qwen2.5": qwen}.items():
            results[name] = golden(directory)
    (OUT / "golden.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
