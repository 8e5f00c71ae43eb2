"""A limit on the time a launch takes, and how long runs are expected to take."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterable

from mqar_bench.basics.errors import UsageError
from mqar_bench.config import RunConfig
from mqar_bench.records.result import RunResult

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: Kept free at the end, for checkpoints and for stopping: a share of the budget within these bounds, in seconds.
MARGIN_SHARE, MARGIN_LEAST, MARGIN_MOST = 0.05, 5.0, 15.0


def parse_duration(text: str) -> float:
    """Seconds, from ``90``, ``90s``, ``9m``, ``1.5h``, ``1h30m`` or ``2d``.

    Raises:
        UsageError: it is no such thing, or not positive.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        text += "s"
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise UsageError(f"{text!r} is no duration: give one such as 90s, 9m or 1h30m")
    seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)([smhd])", text))
    if seconds <= 0:
        raise UsageError(f"the duration {text!r} must be positive")
    return seconds


class Budget:
    """When a launch ends.

    Args:
        seconds: from ``started`` on.
        started: by ``time.monotonic()``; now, if not given.
    """

    def __init__(self, seconds: float, started: float | None = None) -> None:
        if seconds <= 0:
            raise UsageError(f"the time budget must be positive, got {seconds:g} s")
        self.seconds = seconds
        margin = min(max(MARGIN_SHARE * seconds, MARGIN_LEAST), MARGIN_MOST)
        self._end = (time.monotonic() if started is None else started) + seconds - min(margin, seconds / 2)

    @property
    def left(self) -> float:
        """Seconds that runs still have: what stopping needs is taken off."""
        return self._end - time.monotonic()

    def has_room(self, expected: float | None, has_checkpoint: bool) -> bool:
        """Whether to start a run of so many seconds (``None``: nobody knows).

        One that has a checkpoint goes on in any case, and one that is longer than the whole budget is begun: it goes
        from checkpoint to checkpoint, and would never be run otherwise.
        """
        left = self.left
        return left > 0 and (expected is None or has_checkpoint or expected <= left or expected > self.seconds)


class Durations:
    """How long runs take, learnt from those that are done: of the same model and training, else of the same mixer,
    else of any, whichever is known first; seconds are scaled by the tokens trained on."""

    def __init__(self, results: Iterable[RunResult] = ()) -> None:
        self._rates: dict[str, list[float]] = {}
        for result in results:
            self.add(result)

    def add(self, result: RunResult) -> None:
        if result.status == "done" and result.seconds > 0:
            for key in _keys(result.config):
                self._rates.setdefault(key, []).append(result.seconds / _work(result.config))

    def expect(self, config: RunConfig) -> float | None:
        """Seconds, or ``None`` if nothing is known."""
        for key in _keys(config):
            if key in self._rates:
                return statistics.median(self._rates[key]) * _work(config)
        return None


def _keys(config: RunConfig) -> tuple[str, str, str]:
    return config.variant, config.mixer, ""


def _work(config: RunConfig) -> float:
    """Tokens trained on and scored, if training is not stopped early."""
    guides, test = (
        sum(s.num_examples * s.input_seq_len for s in part) for part in (config.data.guides, config.data.test)
    )
    epochs = config.train.max_epochs
    trained = 3 * config.tokens_after(epochs) + epochs * guides  # forward and backward
    return trained + (test if config.data.validation else 0)
