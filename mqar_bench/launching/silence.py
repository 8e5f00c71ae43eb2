"""Waits that are spoken of now and then."""

from __future__ import annotations

import time

#: When to speak of one, in seconds: at first, then at every multiple of the last.
TELL_SECONDS = (10.0, 60.0, 300.0, 1800.0)


class Silence:
    """A wait, from now on."""

    def __init__(self) -> None:
        self._began, self._told = time.monotonic(), 0

    def word(self) -> str:
        """How long it has lasted, such as ``5 min``, where it is time to say so again; else empty."""
        seconds = time.monotonic() - self._began
        due = sum(seconds >= each for each in TELL_SECONDS[:-1]) + int(seconds // TELL_SECONDS[-1])
        is_due, self._told = due > self._told, due
        return show_span(seconds) if is_due else ""


def show_span(seconds: float) -> str:
    """A number of seconds in words, in the largest unit of which there are two or more."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
