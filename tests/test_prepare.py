"""From the study's files to problem sets: verified, overlap removed, readable by what follows."""

import json
import pathlib
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from rlscale_jax.data import hub, preparation, study_files
from rlscale_jax.data.problems import read_problems

ROOT = pathlib.Path(__file__).parent.parent


def command(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rlscale_jax.prepare", *flags], capture_output=True, text=True, cwd=ROOT
    )


@pytest.fixture(scope="module")
def source(shared_data, tmp_path_factory):
    """The real evaluation files and the smaller training files, which overlap them in known places."""
    directory = tmp_path_factory.mktemp("guru")
    for file in study_files.FILES:
        if file.role == study_files.EVALUATION or file.num_rows <= 2048:
            shutil.copyfile(shared_data / "guru" / file.filename, directory / file.filename)
    return directory


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    target = tmp_path_factory.mktemp("sets")
    result = command(f"--source={source}", f"--target={target}")
    assert result.returncode == 0, result.stderr
    return target, result


def test_every_evaluation_row_is_kept_in_order(prepared, source):
    target, _ = prepared
    evaluation = [file for file in study_files.FILES if file.role == study_files.EVALUATION]
    assert sum(file.num_rows for file in evaluation) == 2_953
    for file in evaluation:
        assert read_problems(target / file.name) == read_problems(source / file.filename)


def test_training_sets_lose_what_stands_twice(prepared, source):
    target, _ = prepared
    sets = {entry["name"]: entry for entry in json.loads((target / "report.json").read_text())["sets"]}
    counts = {name: (entry["num_rows"], entry["num_written"]) for name, entry in sets.items() if "train" in name}
    assert counts == {"train_2048": (2048, 2042), "train_1024": (1024, 1022), "train_512": (512, 512)}
    assert [pair[1] for pair in sets["train_1024"]["overlaps"]["amc2023"]] == ["amc2023/00013"]
    assert len(sets["train_2048"]["overlaps"]["heldout"]) == 3
    # An independent look, by the letters of the question alone.
    letters = {name: {squeeze(p.text) for p in read_problems(target / name)} for name in ("train_2048", *sets)}
    for name in ("heldout", "math500", "amc2023", "aime2024"):
        assert not letters["train_2048"] & letters[name]
    assert len(letters["train_2048"]) == 2042


def squeeze(text: str) -> str:
    for word in ("knowledgeable math assistant", "Please output the final answer", "Please solve step by step"):
        text = text.replace(word, "")
    return "".join(filter(str.isalnum, text.casefold()))


def test_training_sets_are_written_easy_to_hard(prepared, source):
    target, _ = prepared
    problems = read_problems(target / "train_512")
    keys = [(problem.difficulty, int(problem.problem_id.split("/")[1])) for problem in problems]
    assert keys == sorted(keys)
    original = {problem.problem_id: problem for problem in read_problems(source / "math__sampled_1_100_512.parquet")}
    assert {problem.problem_id: problem for problem in problems} == original


def test_the_table_says_what_happened(prepared):
    _, result = prepared
    line = next(line for line in result.stdout.splitlines() if line.startswith("train_2048"))
    assert line.split() == ["train_2048", "2048", "2042", "2", "heldout", "3,", "amc2023", "1"]
    assert result.stderr == ""


def test_overlap_can_be_kept(source, tmp_path):
    only = tmp_path / "source"
    only.mkdir()
    for name in ("math__sampled_1_50_1024.parquet", "amc2023.parquet"):
        shutil.copyfile(source / name, only / name)
    reports = preparation.prepare(only, tmp_path / "sets", remove_overlap=False)
    assert [(report.num_written, report.num_rows) for report in reports] == [(1024, 1024), (40, 40)]
    assert len(reports[0].overlaps["amc2023"]) == 1


def test_files_that_are_not_the_studys_are_refused(source, tmp_path):
    table = pq.read_table(source / "amc2023.parquet")
    pq.write_table(table.slice(0, 39), tmp_path / "amc2023.parquet")
    with pytest.raises(ValueError, match=r"amc2023\.parquet has 39 rows; the study's amc2023\.parquet has 40"):
        preparation.prepare(tmp_path, tmp_path / "sets")
    pq.write_table(table.take(list(range(39, -1, -1))), tmp_path / "amc2023.parquet")
    with pytest.raises(ValueError, match=r"SHA-256 is [0-9a-f]{64}, expected aad92733"):
        preparation.prepare(tmp_path, tmp_path / "sets")
    (tmp_path / "amc2023.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(ValueError, match=r"amc2023\.parquet"):
        preparation.prepare(tmp_path, tmp_path / "sets")
    assert not (tmp_path / "sets").exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((), "give both --source"),
        (("--source=missing", "--target=x"), "none of the study's files is in missing"),
        (("--source=a", "--target=b", "--remove_overlaps=false"), "remove_overlap"),
        (("--source=hub", "--target=gs://bucket/sets"), "needs a local --target"),
    ],
)
def test_mistakes_end_with_one_line(flags, reason):
    result = command(*flags)
    assert result.returncode == 2
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_file_of_the_table_is_listed_once():
    assert len({file.name for file in study_files.FILES}) == len({file.filename for file in study_files.FILES}) == 16
    assert all(len(file.sha256) == 64 for file in study_files.FILES if file.name != "train")


class Hub:
    """Stands for huggingface.co (huggingface_hub) and for the code repository (urllib)."""

    def __init__(self, source, published):
        self.source, self.published, self.urls = source, published, []

    def snapshot_download(self, repository, *, repo_type, allow_patterns):
        assert (repository, repo_type, allow_patterns) == ("Artemis0430/GURU-MATH-CL", "dataset", ["*.parquet"])
        return str(self.published)

    def urlopen(self, url, *, timeout):
        self.urls.append(url)
        return (self.source / url.rsplit("/", 1)[1]).open("rb")


def test_fetching_takes_the_curriculum_from_the_hub_and_benchmarks_from_the_code(source, tmp_path, monkeypatch):
    published, downloads = tmp_path / "published" / "data", tmp_path / "downloads"
    published.mkdir(parents=True)
    available = {file.filename for file in study_files.FILES if (source / file.filename).exists()}
    monkeypatch.setattr(study_files, "FILES", [file for file in study_files.FILES if file.filename in available])
    heldout = "math__full_difficulty_ordered_test_500.parquet"
    shutil.copyfile(source / heldout, published / heldout)
    fake = Hub(source, published.parent)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
    monkeypatch.setattr("urllib.request.urlopen", fake.urlopen)
    hub.fetch(pathlib.Path(downloads))
    assert {path.name for path in downloads.iterdir()} == available
    assert len(fake.urls) == len(available) - 1
    assert all(url.startswith("https://raw.githubusercontent.com/tanzelin430/") for url in fake.urls)
    hub.fetch(pathlib.Path(downloads))  # everything is there: nothing is fetched again
    assert len(fake.urls) == len(available) - 1


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("Name or service not known\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(
        ValueError, match=r"^cannot fetch huggingface\.co/.*not known; without a network, copy .* --source$"
    ):
        hub.fetch(pathlib.Path(tmp_path))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install huggingface_hub"):
        hub.fetch(pathlib.Path(tmp_path))
