"""How every run learns: accuracy in training and on validation against tokens seen, a panel per architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from mqar_bench.records.curves import Point, epoch_means
from plots import fig3
from plots.axes import accuracy_axis, count, small_panels
from plots.lines import Line, series
from plots.select import SOLVED, check_data, tabulate
from plots.style import RC, SMALL

SWEEPS = fig3.SWEEPS

#: How much of its architecture's colour the smallest state has; the largest has all of it.
PALEST = 0.35
#: What every row says of its run.
_RUN = ("run_id", "mixer", "stack", "state_size", "learning_rate", "seed", "steps_to_90", "tokens_to_90")


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure, a row each: of every run the windows of its training, then what its epochs scored.

    Args:
        frame: tidy rows with curves, one a run; runs that are not done are left out.

    Returns:
        columns run_id, mixer, stack, state_size, learning_rate, seed, steps_to_90 and tokens_to_90 (missing: never),
        part (training; validation, or test where that guides training), step and tokens (by the end of it), loss (of
        training), accuracy, epoch_accuracy (of training: the mean over the epoch's worth of steps that ends there).
        Runs without a curve have the mean loss of each epoch as training, and no accuracy there.

    Raises:
        ValueError: there is no finished run, or they are of different data.
    """
    done = frame[frame["status"] == "done"]
    check_data(done)
    done = done.sort_values(["mixer", "stack", "state_size", "learning_rate", "seed", "run_id"], kind="stable")
    rows = [
        {name: run[name] for name in _RUN} | point._asdict() | {"epoch_accuracy": mean}
        for run in done.to_dict("records")
        for point, mean in _with_means(run["curve"], run["steps"] // run["epochs"])
    ]
    whole = {"state_size": "Int64", "steps_to_90": "Int64", "tokens_to_90": "Int64"}
    numbers = dict.fromkeys(("loss", "accuracy", "epoch_accuracy"), "float64")
    return tabulate(rows, frame, SWEEPS[0]).astype(whole | numbers)


def _with_means(curve: Sequence[Point], epoch: int) -> Iterator[tuple[Point, float | None]]:
    """Each point with its mean over an ``epoch`` of steps; None where there are fewer, or it is not of training."""
    known = [point for point in curve if point.part == "training" and point.accuracy is not None]
    means = dict(zip(known, epoch_means(known, [point.accuracy or 0.0 for point in known], epoch), strict=True))
    for point in curve:
        yield point, round(means[point], 5) if point in means and point.step >= epoch else None


def figure(points: pd.DataFrame) -> Figure:
    """Draw the points of ``table``: a thick line for each run's epochs, a thin one for its training, smoothed over an
    epoch; paler ones have the smaller states, and a dot is the first epoch that ended at 0.9."""
    with plt.rc_context(RC):
        lines, common = series(points)
        fig, axes = small_panels(len(lines), 0.6)
        for ax, line in zip(axes, lines, strict=True):
            _panel(ax, line, line.of(points))
        axes[0].set_xlim(0, points["tokens"].max())
        axes[0].xaxis.set_major_locator(MaxNLocator(3))
        axes[0].xaxis.set_major_formatter(EngFormatter(sep=""))
        fig.supxlabel("Tokens seen", fontsize=8)
        fig.supylabel("MQAR accuracy", fontsize=8)
        fig.legend(
            handles=_legend(points), title=f"{common}; paler: smaller state", loc="outside upper center", ncols=3,
            frameon=False, title_fontsize=7, columnspacing=1.2, handlelength=1.4,
        )  # fmt: skip
    plt.close(fig)
    return fig


def _panel(ax: Axes, line: Line, points: pd.DataFrame) -> None:
    sizes = sorted(set(points["state_size"].dropna()))
    ends = count(sizes[0]) if len(sizes) == 1 else f"{count(sizes[0])} to {count(sizes[-1])}" if sizes else ""
    ax.set_title(f"{line.label}\n", loc="left", fontsize=7, pad=4)
    ax.text(0, 1.06, f"state {ends}" if ends else "", fontsize=SMALL, color="0.4", transform=ax.transAxes)
    ax.axhline(SOLVED, color="0.7", linewidth=0.5, linestyle=":")
    for _, run in points.groupby("run_id", sort=False):
        first = run.iloc[0]
        place = sizes.index(first["state_size"]) / (len(sizes) - 1) if len(sizes) > 1 else 1.0
        look: dict[str, Any] = {"color": shade(line.look["color"], place), "zorder": 2 + place, "clip_on": False}
        look["linestyle"] = line.look.get("linestyle", "-")
        trained, scored = (run[part] for part in (run["part"] == "training", run["part"] != "training"))
        trained = trained.dropna(subset="epoch_accuracy")
        if len(trained):
            ax.plot(trained["tokens"], trained["epoch_accuracy"], linewidth=0.5, **look)
        ax.plot(scored["tokens"], scored["accuracy"], linewidth=1.1, **_alone(scored), **look)
        reached = scored[scored["tokens"] == first["tokens_to_90"]]
        if len(reached):
            ax.plot(reached["tokens"], reached["accuracy"], "o", markersize=2.5, **look)
    accuracy_axis(ax)


def _alone(points: pd.DataFrame) -> Mapping[str, Any]:
    """One point makes no line."""
    return {"marker": "_", "markersize": 5} if len(points) == 1 else {}


def shade(color: str, share: float) -> tuple[float, float, float]:
    """A colour on white: ``PALEST`` of it at a share of 0, all of it at 1."""
    alpha = PALEST + (1 - PALEST) * share
    red, green, blue = (alpha * part + 1 - alpha for part in to_rgb(color))
    return red, green, blue


def _legend(points: pd.DataFrame) -> list[Line2D]:
    (guide,) = set(points["part"]) - {"training"}
    handles = [Line2D([], [], color="0.3", linewidth=1.1, label=f"{guide}, after each epoch")]
    if points["epoch_accuracy"].notna().any():
        handles.append(Line2D([], [], color="0.3", linewidth=0.5, label="training, mean over an epoch"))
    if points["tokens_to_90"].notna().any():
        handles.append(
            Line2D([], [], color="0.3", marker="o", markersize=2.5, linestyle="none", label=f"first at {SOLVED:g}")
        )
    return handles
