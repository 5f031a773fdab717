"""The real Qwen2.5 vocabulary on the study's own prompts."""

import unicodedata

import pytest

from rlscale_jax import tokenizers
from rlscale_jax.data.problems import read_problems

OPENING = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)
OPENING_IDS = [
    *(151644, 8948, 198, 2610, 525, 1207, 16948, 11, 3465, 553, 54364, 14817, 13, 1446, 525, 264, 10950, 17847),
    *(13, 151645, 198, 151644, 872, 198),
]


@pytest.fixture(scope="module")
def qwen(shared_data):
    return tokenizers.load(shared_data / "tokenizers" / "qwen2.5")


def test_known_ids(qwen):
    assert qwen.encode(OPENING) == OPENING_IDS
    assert qwen.decode(OPENING_IDS) == OPENING
    assert (qwen.eos_ids, qwen.pad_id) == ((151645,), 151643)


def check_round_trips(tokenizer, paths):
    texts = {problem.text for path in paths for problem in read_problems(path)}
    for text in texts:
        normal = unicodedata.normalize("NFC", text)  # Qwen2.5's own normalisation
        assert tokenizer.decode(tokenizer.encode(text)) == normal
    return len(texts)


def test_every_evaluation_prompt_comes_back(qwen, shared_data):
    paths = [path for path in (shared_data / "guru").glob("*.parquet") if "sampled" not in path.name]
    assert check_round_trips(qwen, paths) == 2_953


@pytest.mark.slow
def test_every_training_prompt_comes_back(qwen, shared_data):
    assert check_round_trips(qwen, (shared_data / "guru").glob("math__sampled*.parquet")) == 12_800


def test_every_evaluation_prompt_renders_to_its_text(qwen, shared_data):
    for name in ("codegen__humaneval_164", "logic__zebra_puzzle_dataset_200", "aime2024"):
        for problem in read_problems(shared_data / "guru" / f"{name}.parquet"):
            ids = qwen.render(problem.messages)
            assert ids[: len(OPENING_IDS)] == OPENING_IDS
            assert qwen.decode(ids) == f"{OPENING}{problem.text}<|im_end|>\n<|im_start|>assistant\n"
