"""What a running job's test loss is heading for: a forecast for its last step, renewed at every evaluation."""

from collections.abc import Iterable
from typing import Any

from rlscale_jax.laws import MIN_POINTS, Forecast, forecast

Row = dict[str, Any]
CONFIDENCE = 0.9


class Outlook:
    """The test losses of a run so far, and the loss to expect at its last step.

    It is rebuilt from the run's metric rows, so that a resumed run forecasts what an undisturbed one would.
    """

    def __init__(self, num_steps: int, rows: Iterable[Row] = ()):
        self._num_steps = num_steps
        self._points: list[tuple[int, float]] = []
        self._forecast: Forecast | None = None
        for row in rows:
            self._add(row)

    def after(self, row: Row) -> Row:
        """Takes in a step's row; the forecast as fields of that row, {} where it says nothing new."""
        self._forecast = None if row["step"] >= self._num_steps else self._forecast
        if not self._add(row) or row["step"] >= self._num_steps or len(self._points) < MIN_POINTS:
            return {}
        found = forecast(self._points, self._num_steps, confidence=CONFIDENCE, trials=float(row["scaling/total"]))
        self._forecast = found
        ends = {"forecast/test_loss_low": found.low, "forecast/test_loss_high": found.high}
        return {"forecast/test_loss": found.loss, **ends}

    @property
    def words(self) -> str:
        """`forecast: L = .43 ± .02 at step 105`; ± is half of the 90 % interval. Empty while there is none."""
        if self._forecast is None:
            return ""
        half = (self._forecast.high - self._forecast.low) / 2
        decimals = 2 if half >= 0.0095 else 3
        loss, half = (f"{value:.{decimals}f}".removeprefix("0") for value in (self._forecast.loss, half))
        return f"forecast: L = {loss} ± {half} at step {self._num_steps}"

    def _add(self, row: Row) -> bool:
        """True where the row holds an evaluation beyond step 0, which has spent nothing."""
        if row["step"] < 1 or "scaling/test_loss" not in row:
            return False
        self._points.append((row["step"], float(row["scaling/test_loss"])))
        return True
