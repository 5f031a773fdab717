"""The fit command from a shell: output, JSON, decisions, and mistakes that end in one line."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from rlscale_jax.laws.simulation import Design, simulate

ROOT = pathlib.Path(__file__).parent.parent
DESIGN = Design(num_steps=30)


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """A simulated study as another trainer's CSV."""
    table = simulate(DESIGN, seed=0).table
    path = tmp_path_factory.mktemp("curves") / "curves.csv"
    names = ("n_params", "seed", "step", "samples", "compute_flops", "test_loss")
    rows = zip(*(table[name] for name in names), strict=True)
    path.write_text("\n".join([",".join(names), *(",".join(map(repr, map(float, row))) for row in rows)]))
    return path


def _fit(*args):
    command = [sys.executable, "-m", "rlscale_jax.fit", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_a_fit_is_printed_and_written(curves, tmp_path):
    out = tmp_path / "deep" / "fits.json"
    done = _fit(f"--curves={curves}", "--resource=data", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert "k_max" in done.stdout and "Note: N0" in done.stdout
    fit = json.loads(out.read_text())
    assert {"k_max", "n0", "r2", "r2_log", "models", "intervals", "converged", "notes"} <= set(fit)
    low, high = fit["intervals"]["n0"]
    assert low < fit["n0"] < high and 0.3 < fit["n0"] / DESIGN.n0 < 3
    assert len(fit["models"]) == 6
    assert all({"k", "E", "r2", "log_rmse"} <= set(model) for model in fit["models"].values())


def test_a_protocol_keeps_points_and_scores_them(curves, tmp_path):
    out = tmp_path / "fits.json"
    done = _fit(
        f"--curves={curves}", "--protocol=intra", "--intra_drop_first=2", "--intra_drop_last=10", f"--out={out}"
    )
    assert done.returncode == 0, done.stderr
    fit = json.loads(out.read_text())
    assert {model["num_points"] for model in fit["models"].values()} == {18}
    assert {row["num_points"] for row in fit["held_out"]} == {10}
    assert "last value" in done.stdout


def test_a_decision_names_a_size(curves):
    done = _fit(f"--curves={curves}", "--decide", "--budget=1e20", "--target_loss=0.4")
    assert done.returncode == 0, done.stderr
    assert "Budget 1e+20 FLOPs: N = " in done.stdout and "L = 0.4: least FLOPs" in done.stdout
    assert "overtakes" in done.stdout


def test_everything_asked_is_in_the_text_and_in_the_file(curves, tmp_path):
    out = tmp_path / "fits.json"
    asked = ("--joint", "--forecasts", "--decide", "--budget=2e19", "--bootstrap=steps", "--num_bootstrap=50")
    done = _fit(f"--curves={curves}", *asked, f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert all(words in done.stdout for words in ("Joint fit of one k(N)", "At 25%:", "Budget 2e+19 FLOPs"))
    fit = json.loads(out.read_text())
    assert {"linkage", "joint", "forecasts", "decision"} <= set(fit)
    assert "bootstrap over steps" in fit["interval_basis"] and "left out" in fit["interval_basis"]
    assert fit["decision"]["choice"]["model"] in fit["models"]


@pytest.mark.parametrize("law", ["decomposition", "sigmoid"])
def test_laws_with_a_floor_are_a_flag_away(curves, tmp_path, law):
    done = _fit(f"--curves={curves}", "--resource=data", f"--law={law}", f"--out={tmp_path / 'fits.json'}")
    assert done.returncode == 0, done.stderr
    fit = json.loads((tmp_path / "fits.json").read_text())
    assert fit["law"] == law and fit["k_max"] is None and len(fit["models"]) == 6


def test_findings_are_judged_on_any_curves(curves):
    done = _fit(f"--curves={curves}", "--findings")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SUPPORTED: Larger models learn more efficiently")
    assert "NO DATA: With D_total fixed" in done.stdout


def test_bootstrap_intervals_are_named(curves):
    done = _fit(f"--curves={curves}", "--resource=data", "--bootstrap=runs", "--num_bootstrap=50", "--compare")
    assert done.returncode == 0, done.stderr
    assert "baseline: last value" in done.stdout and "Sensitivity" in done.stdout


def test_the_published_fits_are_printed(shared_data):
    done = _fit(f"--reproduce={shared_data / 'curves'}")
    assert done.returncode == 0, done.stderr
    assert "| qwen25_base | compute | inter | 0.152 | 0.1518 | 17.4 | 17.37 | 0.994 | 0.9944 |" in done.stdout


def test_a_mistake_is_one_line(curves):
    mistakes = [
        ([], "no curves given"),
        ([f"--curves={curves}", "--resource=time"], "--resource=time"),
        ([f"--curves={curves}", "--protocol=intra"], "leaves 0 of 30 points"),
        ([f"--curves={curves}", "--decide"], "--decide needs --budget"),
        ([f"--curves={curves}", "--bootstrap=questions"], "--curves=DIR"),
        ([f"--curves={curves}", "--intra_drop_frist=3"], "intra_drop_frist"),
    ]
    for (args, says), (code, error) in zip(mistakes, _mistakes([args for args, _ in mistakes]), strict=True):
        assert code == 2, args
        assert says in error and error.count("\n") == 1 and "Traceback" not in error


def _mistakes(cases):
    """(exit status, stderr) of the command for each list of arguments; what it imports is imported once."""
    code = """
import json, os, runpy, sys
import rlscale_jax.laws.request
for args in json.loads(sys.argv[1]):
    read, write = os.pipe()
    if not (child := os.fork()):
        os.dup2(write, 2)
        sys.argv = ["fit", *args]
        runpy.run_module("rlscale_jax.fit", run_name="__main__")
    os.close(write)
    error = open(read).read()
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), error]), flush=True)  # or children do so too
"""
    command = [sys.executable, "-c", code, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_lists_the_flags():
    done = _fit("--help")
    assert done.returncode == 0
    assert all(f"--{flag}" in done.stdout for flag in ("curves", "law", "intra_drop_last", "budget", "reproduce"))
    assert np.all([line in done.stdout for line in ("n_params", "compute_flops")])
