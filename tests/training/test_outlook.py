"""The forecast of a running job: what it says, when, and that a resumed run says the same."""

import dataclasses
import re

import jax

from rlscale_jax import laws
from rlscale_jax.experiment.records import RecordFile
from rlscale_jax.training import assets, loop
from rlscale_jax.training.outlook import Outlook


def _rows(num, *, every=1):
    rows = []
    for step in range(num + 1):
        row = {"step": step, "critic/rewards/mean": 0.5}
        if step % every == 0:
            row |= {"scaling/test_loss": 0.8 * (step + 1) ** -0.1, "scaling/total": 500}
        rows.append(row)
    return rows


def test_it_forecasts_the_last_step_from_the_third_evaluation_on():
    outlook = Outlook(105)
    found = [outlook.after(row) for row in _rows(20, every=2)]
    assert [i for i, fields in enumerate(found) if fields] == list(range(6, 21, 2))
    points = [(row["step"], row["scaling/test_loss"]) for row in _rows(20, every=2) if "scaling/test_loss" in row]
    expected = laws.forecast(points, 105)
    assert found[-1]["forecast/test_loss"] == expected.loss
    assert found[-1]["forecast/test_loss_low"] == expected.low < expected.high == found[-1]["forecast/test_loss_high"]


def test_it_is_said_in_words_until_the_run_ends():
    outlook = Outlook(20)
    said = []
    for row in _rows(20, every=2):
        outlook.after(row)
        said.append(outlook.words)
    assert said[:6] == [""] * 6 and said[20] == ""
    assert all(re.fullmatch(r"forecast: L = \.\d{2,3} ± \.\d{2,3} at step 20", words) for words in said[6:20])
    assert said[6] == said[7]  # between evaluations the last forecast stands


def test_a_resumed_run_forecasts_what_an_undisturbed_one_does():
    rows = _rows(12)
    whole, resumed = Outlook(50), Outlook(50, rows[:-1])
    for row in rows[:-1]:
        whole.after(row)
    assert whole.after(rows[-1]) == resumed.after(rows[-1])


def test_a_run_records_its_forecasts_and_shows_them(tiny, tiny_assets, tmp_path):
    base = tiny.experiment()
    evaluated = dataclasses.replace(base.evaluation, every_steps=1)
    experiment = assets.ensure(
        dataclasses.replace(base, evaluation=evaluated), tiny_assets, log_path=tiny_assets / "log.txt"
    )
    loop.train(experiment, tmp_path, devices=jax.devices()[:1])
    rows = RecordFile(tmp_path / "metrics.jsonl").rows()
    assert [row["step"] for row in rows if "forecast/test_loss" in row] == [3, 4]
    assert all(row["forecast/test_loss_low"] < row["forecast/test_loss_high"] for row in rows[3:5])
