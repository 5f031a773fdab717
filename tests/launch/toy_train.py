"""Stands for rlscale_jax.train on fake hosts: host 0 counts to 6 with checkpoints in the bucket, the rest wait."""

import json
import os
import pathlib
import sys
import time

flags = dict(arg.removeprefix("--").split("=", 1) for arg in sys.argv[1:])
assert flags["config"].startswith("configs/"), flags
assert pathlib.Path("configs").is_dir(), "the run starts in the code's directory"
assert os.environ["RLSCALE_DISTRIBUTED"] == "1"
name = flags["config"].partition(":")[2]
run = pathlib.Path(os.environ["FAKE_CLOUD"]) / "gs" / flags["workdir"].removeprefix("gs://") / "runs" / name
run.mkdir(parents=True, exist_ok=True)
checkpoint = run / "checkpoint"


def step() -> int:
    text = checkpoint.read_text() if checkpoint.exists() else ""
    return int(text or 0)


def preemption_is_due() -> bool:
    """The cloud takes a slice when it is asked for its state: on a busy machine the count would be over by then."""
    faults = pathlib.Path(os.environ["FAKE_CLOUD"]) / "faults.json"
    known = json.loads(faults.read_text()) if faults.exists() else []
    return any(fault["kind"] == "preempt" and step() >= fault["after_step"] for fault in known)


while step() < 6 or (run / "hold").exists():
    if pathlib.Path.home().name == "0" and step() < 6 and not preemption_is_due():
        if step() >= 2 and (run / "crash").exists():
            (run / "crash").unlink()
            sys.exit(1)
        if step() >= 2 and (run / "notice").exists():
            (run / "notice").unlink()
            sys.exit(143)
        with open(run / "metrics.jsonl", "a") as metrics:
            metrics.write(f"{step()}\n")
        temporary = run / "checkpoint.new"
        temporary.write_text(str(step() + 1))
        os.replace(temporary, checkpoint)
    time.sleep(0.05)
