"""Problem sets come back as they were written, and a user's files are read or refused with a reason."""

import json
import math
import subprocess
import sys
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlscale_jax.data.problems import Problem, read_problems, write_problems

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(TEXT, TEXT, st.lists(TEXT, min_size=1, max_size=3), st.floats(allow_nan=True)), min_size=1, max_size=9
    )
)
def test_a_written_set_comes_back_exactly_and_in_order(rows, tmp_path):
    problems = tuple(
        Problem(
            problem_id=str(i),
            domain=domain,
            data_source="é\n",
            messages=tuple({"role": "user", "content": content} for content in contents),
            ground_truth=truth,
            difficulty=difficulty,
        )
        for i, (domain, truth, contents, difficulty) in enumerate(rows)
    )
    write_problems(problems, tmp_path, name="some_set")
    assert read_problems(tmp_path) == problems


def test_a_written_set_is_an_ordinary_array_record_data_set(tmp_path, graded):
    builder: Any = tfds.builder_from_directory(write_problems(graded(5), tmp_path, name="train"))
    assert builder.info.file_format.value == "array_record"
    source = builder.as_data_source()["problems"]
    assert [example["problem_id"].decode() for example in source] == [p.problem_id for p in graded(5)]
    assert [float(source[i]["difficulty"]) for i in (3, 0)] == [graded(5)[i].difficulty for i in (3, 0)]


def test_writing_again_replaces(tmp_path, graded, tmp_path_factory, monkeypatch):
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path = write_problems(graded(30), tmp_path, name="train")
    assert write_problems(graded(20), tmp_path, name="train") == path
    assert len(read_problems(path)) == 20
    assert {p.name for p in tmp_path.iterdir()} == {"train"}  # no downloads folder
    assert list(scratch.iterdir()) == []


def test_a_directory_of_several_sets_asks_for_one(tmp_path, graded):
    for name in ("train", "heldout"):
        write_problems(graded(3), tmp_path, name=name)
    with pytest.raises(ValueError, match=r"found heldout/1\.0\.0, train/1\.0\.0; name one"):
        read_problems(tmp_path)
    assert read_problems(tmp_path / "heldout") == tuple(graded(3))


def test_another_kind_of_tfds_set_is_refused(tmp_path, graded):
    path = write_problems(graded(3), tmp_path, name="train")
    features = json.loads((path / "features.json").read_text())
    del features["featuresDict"]["features"]["ground_truth"]
    (path / "features.json").write_text(json.dumps(features))
    with pytest.raises(ValueError, match=r"lacks .*ground_truth"):
        read_problems(path)


@pytest.mark.parametrize("name", ["Train", "a-b", "", "1a"])
def test_names_that_tfds_does_not_take_are_refused(name, tmp_path, graded):
    with pytest.raises(ValueError, match="lower-case"):
        write_problems(graded(1), tmp_path, name=name)


def test_empty_and_ambiguous_sets_are_refused(tmp_path, make_problem):
    with pytest.raises(ValueError, match="would be empty"):
        write_problems([], tmp_path, name="train")
    with pytest.raises(ValueError, match="two problems have the id 'p00001'"):
        write_problems([make_problem(1), make_problem(1)], tmp_path, name="train")


def test_problem_sets_need_neither_tensorflow_nor_jax():
    code = (
        "import sys, tempfile; from rlscale_jax.data.problems import *;"
        "import rlscale_jax.data.stream, rlscale_jax.prepare, rlscale_jax.tokenizers.training;"
        "p = Problem(problem_id='1', data_source='s', messages=({'role': 'user', 'content': 'x'},), ground_truth='1');"
        "d = tempfile.mkdtemp(); write_problems([p], d, name='t'); assert read_problems(d) == (p,);"
        "print([m for m in ('tensorflow', 'jax', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_jsonl_of_a_users_own(tmp_path):
    rows = [
        {"prompt": "1+1?", "answer": 2, "pass_rate": 0.75},
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "answer": "x", "id": 7},
        {"prompt": "both", "answer": {"a": ["é"]}, "difficulty": 3, "data_source": "mine", "domain": "law"},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    first, second, third = read_problems(path)
    assert (first.problem_id, first.data_source, first.ground_truth, first.difficulty) == ("own/0", "own", "2", 0.25)
    assert first.messages == ({"role": "user", "content": "1+1?"},)
    assert (second.problem_id, len(second.messages), math.isnan(second.difficulty)) == ("7", 2, True)
    assert (third.ground_truth, third.difficulty, third.data_source, third.domain) == (
        '{"a": ["é"]}',
        3.0,
        "mine",
        "law",
    )


def test_jsonl_with_a_byte_order_mark_windows_lines_and_empty_fields(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "\xc3\xa9", "answer": "1", "id": null, "data_source": null}\r\n')
    (problem,) = read_problems(path)
    assert (problem.text, problem.problem_id, problem.data_source) == ("é", "own/0", "own")


def test_parquet_of_a_users_own(tmp_path):
    path = tmp_path / "own.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "answer": ["1", "2"], "difficulty": [None, 0.5]}), path)
    assert [(p.text, p.ground_truth) for p in read_problems(path)] == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"prompt": "a"}', r"own\.jsonl, row 0: no answer; the columns here are \['prompt'\]"),
        ('{"prompt": "a", "answer": "1"}\n{"prompt": "", "answer": "1"}', "row 1: no prompt"),
        ('{"prompt": 3, "answer": "1"}', "prompt is 3"),
        ('{"prompt": [{"role": "user"}], "answer": "1"}', "expected role and content"),
        ('{"prompt": ["a"], "answer": "1"}', "list of messages"),
        ('{"prompt": "a", "answer": "1", "pass_rate": "high"}', "pass_rate is 'high'"),
        ('{"prompt": "a", "answer": "1", "pass_rate": 0.5, "difficulty": 1}', "give one"),
        (
            '{"prompt": "a", "answer": "1", "id": 1}\n{"prompt": "b", "answer": "1", "id": 1}',
            "two problems have the id '1'",
        ),
        ('{"prompt": "a", ', "row 0: not JSON"),
        ("{'prompt': 'a', 'answer': '1'}", "row 0: not JSON"),
        ("[1]", "expected an object"),
        ('{"prompt": "a", "answer": "1", "pass_rate": 75}', "pass_rate is 75; expected a share"),
        ('{"prompt": "\\ud800", "answer": "1"}', "row 0: .*surrogates"),
        ("\n", "holds no problems"),
        ('{"reward_model": {}, "prompt": []}', "no data_source"),
        ('{"reward_model": {}, "prompt": [], "data_source": "x"}', "reward_model"),
        ('{"reward_model": {"ground_truth": "1"}, "prompt": 3, "data_source": "x"}', "prompt is 3"),
    ],
)
def test_bad_rows_are_named(text, reason, tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_problems(path)


def test_other_paths_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,answer")
    (tmp_path / "a.parquet").write_text("not parquet")
    for path, reason in {
        "a.csv": "neither",
        "missing.jsonl": "no problem set at",
        "a.parquet": "parquet",
        ".": "none",
    }.items():
        with pytest.raises(ValueError, match=reason):
            read_problems(tmp_path / path)
    with pytest.raises(ValueError, match="no problem set at ''"):
        read_problems("")
