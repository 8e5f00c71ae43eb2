"""Numbers as bars of text, for a terminal or a file."""

from __future__ import annotations

from collections.abc import Sequence

#: From nothing to a whole character, in eighths.
BARS = " ▁▂▃▄▅▆▇█"
#: The same where output has no such characters.
ASCII = " ....:::#"


def draw_bars(
    ends: Sequence[float], values: Sequence[float], high: float, width: int, height: int, bars: str = BARS
) -> list[str]:
    """Lines, of ``width`` characters but for spaces at their ends, the top one first, of bars that reach from 0 to
    ``high``.

    The width is shared out over 0 to the last of ``ends``, and a column shows what holds at its middle: a value holds
    from the end of the one before to its own. What is above 0 is seen, be it ever so little.

    Args:
        ends: where values end, rising, above 0.
        values: as many, from 0 to ``high``.
        high: what fills the height, above 0.
        width: characters.
        height: lines.
        bars: nine characters, from nothing to a whole one.
    """
    eighths, at = [], 0
    for column in range(width):
        middle = (column + 0.5) / width * ends[-1]
        while ends[at] < middle:
            at += 1
        eighths.append(max(round(values[at] / high * 8 * height), values[at] > 0))
    rows = range(height - 1, -1, -1)
    return ["".join(bars[min(8, max(0, bar - 8 * row))] for bar in eighths).rstrip() for row in rows]
