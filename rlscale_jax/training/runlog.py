"""What a run writes: rows, outcomes, samples, log lines, dashboards. First host only."""

from rlscale_jax.evaluation.scoring import Score
from rlscale_jax.experiment.config import Experiment
from rlscale_jax.experiment.records import RecordFile
from rlscale_jax.models import hosts
from rlscale_jax.training.collect import Collected
from rlscale_jax.training.metrics import Row
from rlscale_jax.training.outlook import Outlook
from rlscale_jax.training.progress import Progress
from rlscale_jax.training.rundir import RunDir
from rlscale_jax.training.tracking import Trackers


class RunLog:
    """Opened after step `after`: what is there of later steps is cut, so that none stands twice.

    `pending`: the row and outcomes of step `after` itself are still to be written.
    """

    def __init__(self, experiment: Experiment, rundir: RunDir, *, after: int, pending: bool):
        self._experiment, self._rundir, self._writes = experiment, rundir, hosts.is_first()
        if not self._writes:
            return
        self._files = [RecordFile(path) for path in (rundir.metrics, rundir.outcomes, rundir.rollouts)]
        self._metrics, self._outcomes, self._rollouts = self._files
        written = after - 1 if pending else after
        for file in self._files:
            file.cut_after(after if file is self._rollouts else written)
        self._trackers = Trackers(experiment, rundir.local, place=rundir.path, after=written)
        name = f"{experiment.name} seed {experiment.seed}"
        self._progress = Progress(name, experiment.num_steps, log_path=rundir.log)
        self._outlook = Outlook(experiment.num_steps, self._metrics.rows())
        self._test_loss: float | None = None
        self._tell_gaps(written)

    def row(self, step: int, row: Row) -> None:
        """A step's metrics, once they are complete."""
        if not self._writes:
            return
        row = row | self._outlook.after({"step": step, **row})
        self._metrics.append({"step": step, **row})
        self._trackers.add(step, row)
        self._test_loss = row.get("scaling/test_loss", self._test_loss)
        self._progress.update(step, self._outlook.words, **_shown(row, self._test_loss))
        self._rundir.push_sometimes()

    def outcomes(self, step: int, score: Score) -> None:
        """Which of a set's questions were answered right, sample by sample."""
        if self._writes:
            correct = ["".join("1" if right else "0" for right in sample) for sample in score.correct.T]
            self._outcomes.append({"step": step, "source": score.source, "correct": correct})

    def rollouts(self, step: int, collected: Collected) -> None:
        """One group in full, for people to read, every `log_rollouts_every` steps."""
        every = self._experiment.log_rollouts_every
        if not self._writes or not every or step % every:
            return
        problem = collected.problems[0]
        samples = [
            {"response": text, "correct": verdict.correct, "score": verdict.score, "status": verdict.status}
            for text, verdict in zip(collected.first_group(), collected.verdicts[0], strict=True)
        ]
        group = {"prompt": problem.text, "ground_truth": problem.ground_truth, "samples": samples}
        self._rollouts.append({"step": step, **group})

    def say(self, text: str) -> None:
        if self._writes:
            self._progress.say(text)

    def sync(self) -> None:
        """Everything so far on the disk, and in the bucket if the run lives there."""
        if self._writes:
            for file in self._files:
                file.sync()
            self._rundir.push()

    def close(self) -> None:
        if self._writes:
            self._trackers.close()
            self.sync()

    def _tell_gaps(self, after: int) -> None:
        missing = sorted(set(range(after + 1)) - {row["step"] for row in self._metrics.rows()})
        if missing:
            self.say(f"metrics.jsonl lacks {len(missing)} steps that the checkpoint has done, the first: {missing[0]}")


def _shown(row: Row, test_loss: float | None) -> dict[str, float]:
    names = {"reward": "critic/rewards/mean", "length": "response_length/mean", "tokens/s": "perf/throughput"}
    shown = {short: float(row[name]) for short, name in names.items() if name in row}
    return shown if test_loss is None else {"test_loss": float(test_loss), **shown}
