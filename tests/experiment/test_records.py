"""Record files: appended, torn lines, cut back to a checkpoint."""

import json

import numpy as np
import pytest

from rlscale_jax.experiment.records import RecordFile, read_rows, write_json


def test_rows_come_back_with_plain_numbers(tmp_path):
    file = RecordFile(tmp_path / "deep" / "metrics.jsonl")
    file.append({"step": 0, "loss": np.float32(0.5), "count": np.int64(3), "bad": float("nan")})
    assert file.rows() == [{"schema": 1, "step": 0, "loss": 0.5, "count": 3, "bad": "nan"}]


def test_cutting_drops_later_steps_and_a_torn_last_line(tmp_path):
    file = RecordFile(tmp_path / "metrics.jsonl")
    for step in range(5):
        file.append({"step": step})
    with file.path.open("a") as raw:
        raw.write('{"step": 5, "lo')
    file.cut_after(2)
    assert [row["step"] for row in file.rows()] == [0, 1, 2]
    file.append({"step": 3})
    assert [row["step"] for row in file.rows()] == [0, 1, 2, 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\nrubbish\n{"step": 1}\n')
    with pytest.raises(ValueError, match="line 2: not JSON"):
        list(read_rows(path))


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"schema": 99, "step": 0}\n')
    with pytest.raises(ValueError, match="schema 99"):
        list(read_rows(path))


def test_json_is_replaced_whole(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    write_json(tmp_path / "a.json", {"x": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
