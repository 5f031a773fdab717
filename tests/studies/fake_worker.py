"""Stands in for a run: fails as often as its directory's name says, then finishes."""

import json
import pathlib
import sys

directory = pathlib.Path(sys.argv[1])
starts = directory / "starts.txt"
starts.write_text((starts.read_text() if starts.exists() else "") + "x")
failures = int(directory.name.split("_")[0].removeprefix("fails"))  # fails2_s0: twice
if len(starts.read_text()) <= failures:
    sys.exit("it failed")
steps = json.loads((directory / "study_config.json").read_text())["num_steps"]
(directory / "done.json").write_text(json.dumps({"steps": steps}))
