"""Evaluations of a tiny model: chunks, interruption, overlap of grading and sampling, and what is refused."""

import copy
import json
import shutil
import threading

import jax
import pytest

from rlscale_jax.evaluation import journal, runner, scoring
from rlscale_jax.experiment.records import RecordFile
from rlscale_jax.models import checkpoint


class Silent:
    """Progress that only remembers."""

    def __init__(self, total):
        self.total, self.steps = total, []

    def update(self, step, **values):
        self.steps.append(step)


@pytest.fixture(scope="module")
def defaults(experiment, model_directory, problem_file):
    return {
        "experiment": experiment,
        "checkpoint": str(model_directory),
        "places": {"sums": str(problem_file)},
        "chunk_sequences": 24,  # 18 problems of 3 samples: 3 chunks
    }


@pytest.fixture
def request_for(defaults, tmp_path):
    return lambda **changes: runner.Request(**defaults | {"out": tmp_path / "out"} | changes)


@pytest.fixture
def done(request_for, finished):
    """As `request_for`, in a directory where an evaluation is finished."""
    shutil.copytree(finished, request_for().out)
    return request_for


def rows(out) -> list[dict]:
    return RecordFile(out / "responses" / "sums.jsonl").rows()


@pytest.fixture(scope="module")
def finished(defaults, one_device, tmp_path_factory):
    """The directory of an evaluation that nothing disturbed."""
    out = tmp_path_factory.mktemp("finished")
    runner.evaluate(runner.Request(**defaults, out=out), progress=Silent)
    return out


@pytest.fixture(scope="module")
def whole(finished):
    """Its figures and responses."""
    return json.loads((finished / "results.json").read_text())["figures"], rows(finished)


def test_every_response_is_kept_with_its_verdict_and_the_figures_follow(whole):
    figures, kept = whole
    assert [(row["problem_id"], row["sample"]) for row in kept[:4]] == [
        *(("sums/0", sample) for sample in range(3)),
        ("sums/1", 0),
    ]
    assert len(kept) == 18 * 3 and len({row["response"] for row in kept}) > 18
    assert all(row["correct"] == (len(row["response"]) % 2 == 0) for row in kept)
    accuracy = sum(row["correct"] for row in kept) / len(kept)
    assert 0.2 < accuracy < 0.8
    assert figures["sums"]["accuracy"] == pytest.approx(accuracy)
    assert figures["sums"]["num_overlong_dropped"] == 2
    assert figures["sums"]["truncated_rate"] == pytest.approx(
        sum(row["num_tokens"] == 24 for row in kept) / 54, abs=0.1
    )
    assert 0 < figures["sums"]["truncated_rate"] < 1


@pytest.mark.parametrize("chunk", [7, 54])
def test_chunks_change_nothing(request_for, whole, chunk):
    request = request_for(chunk_sequences=chunk)
    assert runner.evaluate(request, progress=Silent) == whole[0]
    assert rows(request.out) == whole[1]


@pytest.mark.parametrize("kept_chunks", [0, 2])
def test_an_interrupted_evaluation_goes_on_to_the_same_results(request_for, whole, monkeypatch, kept_chunks):
    request, append = request_for(), journal.Journal.append

    def interrupt(self, score, *, step):
        if self.num_done("sums") == kept_chunks * 24:
            raise KeyboardInterrupt
        append(self, score, step=step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(journal.Journal, "append", interrupt)
        runner.evaluate(request, progress=Silent)
    assert len(rows(request.out)) == kept_chunks * 24
    assert not (request.out / "results.json").exists()
    assert runner.evaluate(request, progress=Silent) == whole[0]
    assert rows(request.out) == whole[1]


def test_a_line_cut_short_is_written_again(done, whole):
    file = done().out / "responses" / "sums.jsonl"
    file.write_bytes(file.read_bytes()[:-700])
    assert runner.evaluate(done(), progress=Silent) == whole[0]
    assert rows(done().out) == whole[1]


def test_a_finished_evaluation_samples_nothing(done, whole, monkeypatch):
    monkeypatch.setattr(scoring.Scorer, "start", None)
    assert runner.evaluate(done(), progress=Silent) == whole[0]


def test_grading_one_chunk_overlaps_sampling_the_next(request_for, monkeypatch):
    """The first chunk's verdicts are held back until the second has been sampled."""
    result, start, second = scoring.PendingScore.result, scoring.Scorer.start, threading.Event()
    order = []

    def slow_result(self):
        assert second.wait(120), "the second chunk was not sampled while the first was graded"
        order.append("graded")
        return result(self)

    def watched_start(self, problems, *, source):
        pending = start(self, problems, source=source)
        order.append("sampled")
        if order.count("sampled") == 2:
            second.set()
        return pending

    monkeypatch.setattr(scoring.PendingScore, "result", slow_result)
    monkeypatch.setattr(scoring.Scorer, "start", watched_start)
    runner.evaluate(request_for(chunk_sequences=27), progress=Silent)
    assert order == ["sampled", "sampled", "graded", "graded"]


def test_progress_counts_responses_and_knows_what_was_there(done):
    told = []

    def progress(total):
        told.append(Silent(total))
        return told[-1]

    file = done().out / "responses" / "sums.jsonl"
    file.write_text("".join(line + "\n" for line in file.read_text().splitlines()[:24]))
    runner.evaluate(done(), progress=progress)
    assert [(one.total, one.steps) for one in told] == [(54, [24, 48, 54])]


def test_sets_are_added_and_results_kept(done, problem_file, tmp_path):
    shutil.copyfile(problem_file, tmp_path / "more.jsonl")
    added = runner.evaluate(done(places={"more": str(tmp_path / "more.jsonl")}), progress=Silent)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(added) == {"more"} and set(results["figures"]) == set(results["sets"]) == {"sums", "more"}


def change(experiment, name, value):
    changed = copy.deepcopy(experiment)
    group, _, field = name.rpartition(".")
    setattr(getattr(changed, group) if group else changed, field, value)
    return changed


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("evaluation.temperature", 1.0, r"protocol\.temperature: was 0\.7, now 1\.0"),
        ("evaluation.num_samples", 2, r"protocol\.num_samples: was 3, now 2"),
        ("evaluation.max_new_tokens", 25, r"protocol\.max_new_tokens: was 24, now 25"),
        ("seed", 1, r"protocol\.seed: was 0, now 1"),
        ("model.compute_dtype", "bfloat16", r"protocol\.compute_dtype: was 'float32', now 'bfloat16'"),
        ("data.max_prompt_tokens", 100, r"sets\.sums\.num_problems: was 18, now 20"),
    ],
)
def test_another_protocol_is_refused_before_weights_are_read(done, experiment, monkeypatch, name, value, reason):
    before = rows(done().out)
    monkeypatch.setattr(runner.subject.Subject, "load", None)
    with pytest.raises(ValueError, match=reason):
        runner.evaluate(done(experiment=change(experiment, name, value)), progress=Silent)
    assert rows(done().out) == before


def test_mesh_waves_and_workers_change_no_answer(request_for, experiment, whole, one_device, monkeypatch):
    monkeypatch.setattr(runner.meshes, "make_mesh", one_device)
    changed = change(experiment, "mesh.fsdp", 2)  # of 8 devices
    changed.sampling.wave_sequences, changed.reward_workers = 6, 2
    request = request_for(experiment=changed)
    assert runner.evaluate(request, progress=Silent) == whole[0]
    assert rows(request.out) == whole[1]


def test_another_model_or_set_is_refused(done, other_model_directory, problem_file, tmp_path):
    with pytest.raises(ValueError, match=r"holds another evaluation.*\n  fingerprint: was '\w+', now '\w+'$"):
        runner.evaluate(done(checkpoint=str(other_model_directory)), progress=Silent)
    changed = tmp_path / "sums.jsonl"
    changed.write_text(problem_file.read_text().replace('"answer": "1"', '"answer": "2"'))
    with pytest.raises(ValueError, match=r"sets\.sums\.content: was"):
        runner.evaluate(done(places={"sums": str(changed)}), progress=Silent)


def test_the_same_model_and_set_may_lie_elsewhere(done, whole, model_directory, problem_file, tmp_path):
    shutil.copytree(model_directory, tmp_path / "moved")
    shutil.copyfile(problem_file, tmp_path / "sums.jsonl")
    request = done(checkpoint=str(tmp_path / "moved"), places={"sums": str(tmp_path / "sums.jsonl")})
    assert runner.evaluate(request, progress=Silent) == whole[0]


def test_a_converted_checkpoint_answers_as_the_published_one(request_for, whole, model_directory, tmp_path):
    checkpoint.import_hf(model_directory, tmp_path / "converted")
    request = request_for(checkpoint=str(tmp_path / "converted"))
    assert runner.evaluate(request, progress=Silent) == whole[0]
    assert rows(request.out) == whole[1]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("evaluation.max_new_tokens", 121, r"make 129; the model's limit is 128 positions"),
        ("data.max_prompt_tokens", 3, r"sums: all 20 prompts are longer than data\.max_prompt_tokens = 3"),
        ("sampling.wave_sequences", 2, r"wave_sequences = 2 is less than evaluation\.num_samples = 3"),
        ("mesh.tensor", 3, r"mesh data=-1, fsdp=1, tensor=3 needs a multiple of 3 devices"),
        ("data.verifier", "", r"no verifier for data_source 'sums'"),
        ("data.verifier", "nowhere.py:grade", r"verifier 'nowhere\.py:grade' cannot be loaded"),
    ],
)
def test_what_cannot_be_is_said_before_weights_are_read(request_for, experiment, monkeypatch, name, value, reason):
    monkeypatch.setattr(runner.subject.Subject, "load", None)
    request = request_for(experiment=change(experiment, name, value))
    with pytest.raises(ValueError, match=reason):
        runner.evaluate(request, progress=Silent)
    assert not request.out.exists()


def test_two_evaluations_do_not_write_into_one_directory(request_for, monkeypatch):
    start = scoring.Scorer.start

    def start_another(self, problems, *, source):
        with pytest.raises(ValueError, match="another process evaluates into it"):
            runner.evaluate(request_for(), progress=Silent)
        monkeypatch.setattr(scoring.Scorer, "start", start)
        return start(self, problems, source=source)

    monkeypatch.setattr(scoring.Scorer, "start", start_another)
    runner.evaluate(request_for(), progress=Silent)
    assert len(rows(request_for().out)) == 54


def test_programs_need_isolation(request_for, experiment, monkeypatch, tmp_path):
    (tmp_path / "programs.jsonl").write_text('{"prompt": "1+1=", "answer": "x", "data_source": "codegen__mine"}\n')
    monkeypatch.setattr(runner.sandbox, "missing_isolation", lambda: "no namespaces")
    places = {"programs": str(tmp_path / "programs.jsonl")}
    with pytest.raises(ValueError, match=r"cannot be isolated on this machine.*allow_weak_sandbox"):
        runner.evaluate(request_for(experiment=change(experiment, "data.verifier", ""), places=places), progress=Silent)


def test_several_hosts_are_refused_before_anything_is_written(request_for, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="one host"):
        runner.evaluate(request_for(), progress=Silent)
    assert not request_for().out.exists()
