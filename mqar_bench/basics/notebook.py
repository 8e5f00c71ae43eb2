"""What a notebook shows of an object: HTML in which all text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

#: Size of a chart, in pixels.
WIDTH, HEIGHT = 160, 36


def html_table(title: str, rows: Iterable[tuple[str, str]], chart: str = "") -> str:
    """A compact table: a title across, then a name and what is to be said of it, a row each.

    Args:
        title: text.
        rows: pairs of text.
        chart: HTML as ``svg_curve`` gives it, in a last row.
    """
    cell = "style='text-align:left'"
    lines = [f"<tr><th colspan=2 {cell}>{escape(title)}</th></tr>"]
    lines += [f"<tr><td {cell}>{escape(name)}</td><td {cell}>{escape(text)}</td></tr>" for name, text in rows]
    if chart:
        lines.append(f"<tr><td colspan=2 {cell}>{chart}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def svg_curve(values: Sequence[float], title: str) -> str:
    """A line through values between 0 and 1, evenly spaced, in a frame from 0 to 1; nothing where there are none."""
    if not values:
        return ""
    steps = max(len(values) - 1, 1)
    points = [(1 + i / steps * (WIDTH - 2), 1 + (1 - value) * (HEIGHT - 2)) for i, value in enumerate(values)]
    if len(points) == 1:  # a level line
        points.append((WIDTH - 1.0, points[0][1]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' role='img'>"
        f"<title>{escape(title)}</title><rect width='{WIDTH}' height='{HEIGHT}' fill='none' stroke='#bbb'/>"
        f"<polyline points='{path}' fill='none' stroke='#1f77b4' stroke-width='1.5'/></svg>"
    )
