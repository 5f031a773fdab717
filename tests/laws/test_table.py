"""Reading curves: what is accepted, and that each mistake is one message that names the row."""

import json

import numpy as np
import pytest

from rlscale_jax import laws


def test_another_trainers_csv_is_read(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("Params, FLOPs ,Loss\n7e9,1e18,0.5\n7e9,2e18,0.45\n7e9,4e18,0.4\n")
    table = laws.read(path)
    assert list(table.model) == ["7e+09"] * 3
    np.testing.assert_array_equal(table["compute_flops"], [1e18, 2e18, 4e18])
    assert not table.has("samples") and not table.has("step")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"test_loss": 0.0}, "test_loss=0 is not positive"),
        ({"test_loss": -0.1}, "test_loss=-0.1 is not positive"),
        ({"test_loss": "nan"}, "test_loss=nan is not finite"),
        ({"test_loss": ""}, "test_loss=nan is not finite"),
        ({"test_loss": "inf"}, "test_loss=inf is not finite"),
        ({"test_loss": 43.2}, "fraction, not a percentage"),
        ({"test_loss": "n/a"}, "test_loss='n/a' is not a number"),
        ({"n_params": 7}, "not billions"),
        ({"n_params": "7B"}, "write 7B as 7e9"),
        ({"n_params": ""}, "n_params=nan"),
        ({"n_params": 2e9}, "one size a model"),
        ({"compute_flops": 5.0}, "not PFLOPs"),
        ({"compute_flops": "inf"}, "compute_flops=inf is not finite"),
        ({"samples": -512}, "samples=-512 is not positive"),
        ({"step": 1}, "a second row of m1e+09"),
        ({"correct": 100, "total": 500, "test_loss": 0.5}, "differs from 1 - correct / total"),
        ({"test_loss": '"0,5"'}, "write 0.5, not 0,5"),
        ({"n_params": 7000}, "count parameters, not millions"),
        ({"compute_flops": 3e12}, "one token a prompt"),
        ({"samples": 0.512}, "count prompts, not thousands"),
        ({"step": ""}, "step=nan is missing where other rows of m1e+09 have one"),
        ({"step": -5}, "step=-5 is not a number from 0 on"),
        ({"seed": "first"}, "seed='first' is not a number"),
        ({"correct": 600, "total": 500}, "correct=600 is not between 0 and total"),
    ],
)
def test_a_bad_value_is_named_with_its_row(tmp_path, exact_rows, write_csv, change, says):
    rows = exact_rows()
    rows[4] |= change  # the header is row 1, so this is row 6 of the file
    path = write_csv(tmp_path / "c.csv", rows, [*rows[0], "correct", "total", "seed"])
    with pytest.raises(ValueError, match="row 6") as error:
        laws.read(path)
    assert says in str(error.value)


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("model,params,accuracy\na,7e9,0.3\n")
    with pytest.raises(
        ValueError, match=r"no column test_loss, compute_flops or samples; found model, n_params, accuracy"
    ):
        laws.read(path)


def test_a_ragged_row_is_named(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("n_params,samples,test_loss\n7e9,512,0.5\n7e9,0.4\n")
    with pytest.raises(ValueError, match="row 3: 3 columns in the header"):
        laws.read(path)


def test_empty_and_absent_files(tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(ValueError, match="no column"):
        laws.read(empty)
    header = tmp_path / "header.csv"
    header.write_text("n_params,samples,test_loss\n")
    with pytest.raises(ValueError, match="no rows"):
        laws.read(header)
    with pytest.raises(FileNotFoundError, match="no curves at"):
        laws.read(tmp_path / "nothing.csv")
    with pytest.raises(FileNotFoundError, match=r"neither curves\.csv nor runs"):
        laws.read(tmp_path)
    with pytest.raises(ValueError, match="no curves given"):
        laws.read([])


def test_a_running_study_is_read_from_its_metrics(tmp_path):
    run = tmp_path / "runs" / "d64_s3"
    run.mkdir(parents=True)
    rows = [
        {"step": s, "scaling/test_loss": 0.9 - 0.1 * s, "scaling/samples": 64 * s, "scaling/flops_paper": 1e12 * s,
         "scaling/n_nominal": 1e5, "scaling/n_nonembed": 9e4} for s in range(4)
    ]  # fmt: skip
    torn = '{"step": 4, "scal'
    (run / "metrics.jsonl").write_text("\n".join([*map(json.dumps, rows), json.dumps({"step": 3.5}), torn]))
    table = laws.read(tmp_path)
    assert set(table.model) == {"d64"} and set(table["seed"]) == {3} and len(table) == 4
    curves = laws.gather(table, "compute")
    np.testing.assert_allclose(curves.points(0)[1], [0.8, 0.7, 0.6])  # step 0 has spent nothing


def test_several_files_are_one_study(tmp_path, exact_rows, write_csv):
    rows = exact_rows()
    write_csv(tmp_path / "a.csv", rows[:80])
    write_csv(tmp_path / "b.csv", rows[80:])
    assert len(laws.read([tmp_path / "a.csv", tmp_path / "b.csv"])) == len(rows)
    with pytest.raises(ValueError, match="a second row"):
        laws.read([tmp_path / "a.csv", tmp_path / "a.csv"])


def test_runs_are_averaged_per_step_and_kept():
    rows = [
        {"model": "a", "n_params": 1e9, "seed": seed, "step": step, "samples": 512 * step,
         "test_loss": loss, "total": 500}
        for seed, losses in ((0, (0.9, 0.8, 0.7)), (1, (0.7, 0.6)))
        for step, loss in enumerate(losses, 1)
    ]  # fmt: skip
    curves = laws.gather(laws.from_rows(rows), "data")
    np.testing.assert_allclose(curves.loss, [[0.8, 0.7, 0.7]])  # the run that stopped early does not count at step 3
    np.testing.assert_allclose(curves.trials, [[1000, 1000, 500]])
    np.testing.assert_allclose(curves.run_loss, [[[0.9, 0.8, 0.7], [0.7, 0.6, np.nan]]])
    assert list(curves.num_runs) == [2]


def test_rows_without_steps_are_numbered_by_resource():
    rows = [{"n_params": 1e9, "samples": d, "test_loss": loss} for d, loss in ((900, 0.7), (300, 0.9), (600, 0.8))]
    x, loss, step = laws.gather(laws.from_rows(rows), "data").points(0)
    order = np.argsort(x)
    np.testing.assert_array_equal(loss[order], [0.9, 0.8, 0.7])
    np.testing.assert_array_equal(step[order], [1, 2, 3])


def test_too_few_points_names_the_model(exact_rows):
    with pytest.raises(ValueError, match=r"m1e\+09 has 2 points beyond step 0"):
        laws.gather(laws.from_rows(exact_rows(steps=2)), "data")


def test_a_resource_that_a_row_lacks_is_named(tmp_path, exact_rows, write_csv):
    rows = exact_rows()
    rows[4] |= {"compute_flops": ""}
    table = laws.read(write_csv(tmp_path / "c.csv", rows))
    with pytest.raises(ValueError, match=r"row 6: no compute_flops, which --resource=compute needs"):
        laws.fit(table, resource="compute")
    assert laws.fit(table, resource="data").converged


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_byte_order_marks_and_blank_lines(tmp_path, delimiter):
    lines = [
        "Model,N params,Prompts,Eval-Loss,note",
        "a,7e9,512,0.5,x",
        ",,,,",
        "a,7e9,1024,0.45,y",
        "a,7e9,2048,0.4,z",
        "",
    ]
    path = tmp_path / "c.csv"
    path.write_text("\n".join(lines).replace(",", delimiter), encoding="utf-8-sig")
    table = laws.read(path)
    np.testing.assert_array_equal(table["samples"], [512, 1024, 2048])
    np.testing.assert_array_equal(table["test_loss"], [0.5, 0.45, 0.4])


def test_a_training_loss_beside_the_test_loss_is_left_alone(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("params,samples,loss,test_loss\n7e9,512,1.5,0.5\n7e9,1024,1.4,0.4\n")
    np.testing.assert_array_equal(laws.read(path)["test_loss"], [0.5, 0.4])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"n_params,samples,test_loss,test_loss\n7e9,512,.5,.4\n", "test_loss stands in the header more than once"),
        (b"n_params,samples,accuracy\n7e9,512,.5\n", "test_loss is 1 - accuracy"),
        (b"\xff\xfen\x00_\x00", "not UTF-8 text"),
        (b"PAR1\x00\x01", "no column"),
    ],
)
def test_files_that_are_no_table_say_so(tmp_path, content, says):
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        laws.read(path)


def test_rows_without_steps_may_not_repeat_a_resource():
    rows = [{"n_params": 7e9, "samples": d, "test_loss": 0.5} for d in (512, 1024, 512)]
    with pytest.raises(ValueError, match="row 3: a second row of 7e\\+09, seed 0, samples 512"):
        laws.from_rows(rows)


def test_a_perfect_score_counts_as_half_a_wrong_answer():
    row = {"n_params": 1e5, "samples": 512, "test_loss": 0.0}
    assert laws.from_rows([row | {"correct": 20, "total": 20}])["test_loss"][0] == 0.025
    with pytest.raises(ValueError, match="not positive"):
        laws.from_rows([row])


def test_single_runs_and_patterns_of_files_are_read(tmp_path, exact_rows, write_csv):
    rows = exact_rows()
    write_csv(tmp_path / "part_a.csv", rows[:80])
    write_csv(tmp_path / "part_b.csv", rows[80:])
    assert len(laws.read(tmp_path / "part_*.csv")) == len(rows)
    run = tmp_path / "one"
    run.mkdir()
    log = [
        {"step": s, "scaling/test_loss": 0.9 - 0.1 * s, "scaling/samples": 64 * s, "scaling/flops_paper": 1e12 * s,
         "scaling/n_nominal": 1e5, "scaling/n_nonembed": 9e4} for s in range(4)
    ]  # fmt: skip
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, log)) + "\n")
    assert set(laws.read(run).model) == {"one"}
    (run / "config.json").write_text(json.dumps({"name": "d64", "seed": 2, "model": {"name": "other"}}))
    for path in (run, run / "metrics.jsonl"):
        table = laws.read(path)
        assert set(table.model) == {"d64"} and set(table["seed"]) == {2}
