"""The report as a whole: what is written, that the page needs nothing else, and that gaps are said."""

import csv
import html.parser
import pathlib
import re

from rlscale_jax import laws, report
from rlscale_jax.experiment import flags

ROOT = pathlib.Path(__file__).parent.parent.parent
PNG = b"\x89PNG\r\n\x1a\n"


class _Links(html.parser.HTMLParser):
    """Every place that a page points to, and how often each tag is open at its end."""

    def __init__(self):
        super().__init__()
        self.sources, self.depth = [], 0

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.depth += tag not in ("img", "meta")

    def handle_endtag(self, tag):
        self.depth -= 1


def test_the_figures_of_the_study_are_drawn(written):
    names = {path.stem for path in (written / "figures").glob("*.png")}
    assert names >= {
        "loss_compute", "loss_data", "k_of_n", "k_predicted", "prediction_compute", "prediction_data",
        "reward_length", "final_loss", "decomposition", "group_size_d64", "reuse_d64", "reuse_setup", "transfer",
        "suites",
    }  # fmt: skip
    for path in (written / "figures").glob("*.png"):
        assert path.read_bytes().startswith(PNG) and path.stat().st_size > 5000


def test_every_figure_and_table_of_the_paper_is_there_or_its_command(written):
    with (written / "tables" / "contents.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["paper"] for row in rows] == [f"Figure {i}" for i in range(1, 16)] + [f"Table {i}" for i in range(1, 8)]
    for row in rows:
        assert row["here"] != "–" or "python -m rlscale_jax.study --config=" in row["to run for what is missing"], row
    absent = {row["paper"] for row in rows if row["here"] == "–"}
    assert absent == {"Figure 6", "Figure 10", "Figure 12", "Table 3"}  # no Llama, no instruct start, no rollouts here


def test_commands_for_what_is_missing_can_be_run(written):
    page = (written / "report.html").read_text()
    for command in set(re.findall(r"--config=(configs/[a-z0-9_.:-]+)", page)):
        assert flags.load(str(ROOT / command))


def test_runs_of_a_sweep_have_no_part_in_the_law(written):
    fitted = (written / "tables" / "fits.csv").read_text()
    assert "group_size" not in fitted
    with (written / "tables" / "settings.csv").open() as file:
        settings = {row["setting"]: row["value"] for row in csv.DictReader(file)}
    assert settings["grpo.group_size"] == "8, 16, 4"


def test_the_page_needs_no_other_file(written):
    links = _Links()
    links.feed((written / "report.html").read_text())
    assert links.depth == 0
    assert len(links.sources) >= 14 and all(source.startswith("data:image/png;base64,") for source in links.sources)


def test_tables_are_written_as_csv_and_latex(written):
    with (written / "tables" / "fits.csv").open() as file:
        rows = list(csv.DictReader(file))
    fit = laws.fit(written, resource="data")
    ours = next(row for row in rows if row["X"] == "data" and row["protocol"] == "full")
    assert float(ours["K_max"]) == round(fit.parameters["k_max"], 4)
    assert {(row["X"], row["protocol"]) for row in rows} == {
        (x, p) for x in ("compute", "data") for p in ("full", "inter", "intra")
    }
    tex = (written / "tables" / "fits.tex").read_text()
    assert tex.count("\\\\") == len(rows) + 1 and "$^2$" in tex and "²" not in tex


def test_the_findings_are_judged(written):
    with (written / "tables" / "findings.csv").open() as file:
        verdicts = [row["verdict"] for row in csv.DictReader(file)]
    assert len(verdicts) == 7 and verdicts[0] == "supported"
    assert set(verdicts) <= {"supported", "not supported", "undecided", "no data"}


def test_end_losses_have_no_deviation_for_one_run(written, tmp_path):
    with (written / "tables" / "end_losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["runs"] for row in rows] == ["2"] * 4 and all(row["std"] != "–" for row in rows)


def test_a_csv_alone_makes_a_report_that_says_what_is_missing(tmp_path, written):
    lines = (written / "curves.csv").read_text().splitlines()
    kept = [lines[0], *(line.replace("d64,", "<b>&64,") for line in lines[1:] if line.split(",")[2] == "0")]
    (tmp_path / "curves.csv").write_text("\n".join(kept))
    page = report.write(tmp_path, formats=()).read_text()
    for missing in ("Rollout group size", "Data reuse", "Domain transfer", "Reward and length"):
        assert f"<b>{missing}</b>" in page
    assert "python -m rlscale_jax.study" in page
    assert "&lt;b&gt;&amp;64" in page and "<b>&64" not in page
    with (tmp_path / "tables" / "end_losses.csv").open() as file:
        assert all(row["std"] == "–" for row in csv.DictReader(file))


def test_one_size_still_makes_a_report(tmp_path, written):
    lines = (written / "curves.csv").read_text().splitlines()
    (tmp_path / "curves.csv").write_text("\n".join([lines[0], *(li for li in lines if li.startswith("d64,"))]))
    assert "loglinear law" in report.write(tmp_path, formats=()).read_text()
