"""On the page, ``published``: ours beside what others have published."""

from __future__ import annotations

import pandas as pd

from plots.page.axes import accuracy_axis, places_axis
from plots.page.spec import Drawing, Key, Look, Panel, Rule, Series, split_ids
from plots.style import SERIES


def published(points: pd.DataFrame) -> Drawing:
    """A full marker for ours, a hollow one for theirs, a line between them."""
    places = list(range(len(points)))
    ours, theirs = Look(SERIES[0][0], dash="none"), Look("#000000", "square", "none", hollow=True, size=11)
    rows = points.to_dict("records")
    says = [
        f"{row['experiment']}: {row['accuracy']:.3f}"
        + ("" if pd.isna(row["published"]) else f", published {row['published']:g} ({row['what']}; {row['source']})")
        for row in rows
    ]
    known = points["published"].notna()
    runs = split_ids(points["run_ids"])
    low, high = points["accuracy_low"], points["accuracy_high"]
    series = [
        Series("ours", ours, list(points["accuracy"]), places, runs, says, list(low), list(high), sideways=True),
        Series(
            "published", theirs, list(points.loc[known, "published"]), [i for i in places if known.iloc[i]],
            [runs[i] for i in places if known.iloc[i]], [says[i] for i in places if known.iloc[i]],
        ),
    ]  # fmt: skip
    rules = [
        Rule((row["accuracy"], row["published"]), (i, i), dash="solid")
        for i, row in enumerate(rows)
        if not pd.isna(row["published"])
    ]
    panel = Panel(
        accuracy_axis(), places_axis("", points["experiment"], last_first=True), series=series, rules=rules,
        height=110 + 28 * len(points),
    )  # fmt: skip
    return Drawing([panel], [Key("ours", "ours", ours), Key("published", "published", theirs)])
