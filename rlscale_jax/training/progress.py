"""Progress of a long job: a live line, or plain lines in a log, with the time left."""

import pathlib
import sys
import time
from collections import deque

_PLAIN_EVERY_SECS = 5.0  # a log file gets a line this often at most, and for the last step


class Progress:
    """Says `name step/total key=value … left m:ss` after each step.

    A terminal sees one line that is written over; `log_path` and a redirected output get plain lines.
    """

    def __init__(self, name: str, num_steps: int, *, log_path: pathlib.Path | None = None):
        self._name, self._num_steps, self._log_path = name, num_steps, log_path
        self._recent: deque[tuple[float, int]] = deque(maxlen=20)
        self._last_plain = 0.0

    def update(self, step: int, note: str = "", /, **values: float | str) -> None:
        """Shows step, values and a note (words that are no value)."""
        now = time.monotonic()
        self._recent.append((now, step))
        shown = " ".join(f"{key}={_short(value)}" for key, value in values.items())
        line = " ".join(
            filter(None, (f"{self._name} {step}/{self._num_steps}", shown, note, f"left={self._left(step)}"))
        )
        if sys.stderr.isatty():
            end = "\n" if step >= self._num_steps else ""
            print(f"\r\x1b[2K{line}", end=end, file=sys.stderr, flush=True)
        if step >= self._num_steps or now - self._last_plain >= _PLAIN_EVERY_SECS:
            self._last_plain = now
            self.say(line, terminal=False)

    def say(self, text: str, *, terminal: bool = True) -> None:
        """One plain line to the log file, and to the output unless a live line already shows it."""
        if terminal or not sys.stderr.isatty():
            fresh = "\r\x1b[2K" if sys.stderr.isatty() else ""
            print(f"{fresh}{text}", file=sys.stderr, flush=True)
        if self._log_path:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            with self._log_path.open("a") as file:
                file.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def _left(self, step: int) -> str:
        (first_time, first_step), (last_time, last_step) = self._recent[0], self._recent[-1]
        if last_step == first_step:
            return "?"
        secs = (last_time - first_time) / (last_step - first_step) * (self._num_steps - step)
        return f"{int(secs) // 60}:{int(secs) % 60:02d}"


def _short(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
