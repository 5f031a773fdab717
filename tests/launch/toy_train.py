"""Stands for rlscale_jax.train on fake hosts: host 0 counts to 6 with checkpoints in the bucket, the rest wait."""

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


while step() < 6 or (run / "hold").exists():
    if pathlib.Path.home().name == "0" and step() < 6:
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
