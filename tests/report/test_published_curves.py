"""The report on the study's own curves (read off its figures): real sizes, 105 steps, no runs behind them."""

import csv
import os
import pathlib

import pytest

from rlscale_jax import report

DATA = (
    pathlib.Path(os.environ.get("RLSCALE_TEST_DATA", pathlib.Path(__file__).parents[3] / "shared" / "data")) / "curves"
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.exists(), reason="needs the study's curves")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One CSV with both resources: a row for each model and step that stands in both files."""
    directory = tmp_path_factory.mktemp("published")
    tables = []
    for name in ("qwen25_base_compute.csv", "qwen25_base_data.csv"):
        with (DATA / name).open() as file:
            tables.append({(row["model"], row["step"]): row for row in csv.DictReader(file)})
    with (directory / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "n_params", "step", "compute_flops", "samples", "test_loss"])
        for key, row in tables[0].items():
            if key in tables[1]:
                spent = (row["compute_flops"], tables[1][key]["samples"])
                writer.writerow([key[0], row["n_params"], key[1], *spent, row["test_loss"]])
    report.write(directory, formats=("png",))
    return directory


def test_published_sizes_are_told_to_run_published_configs(written):
    page = (written / "report.html").read_text()
    assert "configs/qwen2_5.py:instruct" in page and "configs/llama3.py:instruct" in page
    assert "ladder_cpu" not in page


def test_the_law_of_the_published_curves_stands_in_the_tables(written):
    with (written / "tables" / "fits.csv").open() as file:
        fits = {(row["X"], row["protocol"]): row for row in csv.DictReader(file)}
    assert set(fits) == {(x, p) for x in ("compute", "data") for p in ("full", "inter", "intra")}
    assert 0.10 < float(fits["compute", "inter"]["K_max"]) < 0.20
    with (written / "tables" / "pass_at_1.csv").open() as file:
        assert "published" in file.read()
