"""Sets by name and by path; what is not there is said at once."""

import json

import pytest

from rlscale_jax import tokenizers
from rlscale_jax.evaluation import suites


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data" / "heldout").mkdir(parents=True)
    (tmp_path / "data" / "gsm8k").mkdir()
    (tmp_path / "mine.jsonl").write_text("")
    return tmp_path / "data"


def test_names_are_in_the_data_directory_and_paths_where_they_say(data):
    places = suites.locate(f" gsm8k, mine={data.parent / 'mine.jsonl'} ,heldout,", data)
    assert places == {
        "gsm8k": str(data / "gsm8k"),
        "mine": str(data.parent / "mine.jsonl"),
        "heldout": str(data / "heldout"),
    }
    assert suites.locate(f"mine={data.parent / 'mine.jsonl'}", "no/such/directory")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("", "--suite is empty; name sets, e.g. heldout,math500,aime2024,amc2023,gsm8k,humaneval,zebra,supergpqa"),
        ("aime2024", r"no set 'aime2024' in .*; there are gsm8k, heldout \(rlscale_jax\.prepare makes the study's\)"),
        ("gsm9k", "no set 'gsm9k' in .*; there are gsm8k, heldout; or give NAME=PATH"),
        ("gsm8k,gsm8k", "names 'gsm8k' twice"),
        ("mine=", "mine=: nothing there"),
        ("mine=/no/such/file.jsonl", "mine=/no/such/file.jsonl: nothing there"),
        ("../heldout", r"'\.\./heldout' is neither NAME nor NAME=PATH"),
        ("/some/path", "'/some/path' is neither NAME nor NAME=PATH"),
    ],
)
def test_what_is_not_there_is_named(data, names, reason):
    with pytest.raises(ValueError, match=reason):
        suites.locate(names, data)


def test_a_missing_data_directory_says_how_to_make_it(tmp_path):
    with pytest.raises(ValueError, match=r"--data=.*nowhere: no such directory .*rlscale_jax\.prepare"):
        suites.locate("heldout", tmp_path / "nowhere")


def test_the_digest_stands_for_questions_and_answers(problem_file, model_directory, tmp_path):
    tokenizer = tokenizers.load(model_directory)

    def digest(change=lambda row: row):
        rows = [json.loads(line) for line in problem_file.read_text().splitlines()]
        (tmp_path / "sums.jsonl").write_text("".join(json.dumps(change(row)) + "\n" for row in rows))
        where = str(tmp_path / "sums.jsonl")
        return suites.load("sums", where, tokenizer=tokenizer, max_prompt_tokens=100, verifier="own").digest

    assert digest() == digest(lambda row: row | {"difficulty": 0.5})
    assert len({digest(), *(digest(lambda row, k=k: row | {k: row[k] + " "}) for k in ("prompt", "answer"))}) == 3
