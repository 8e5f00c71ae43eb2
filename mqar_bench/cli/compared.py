"""What ``compare`` says: each size of a mixer beside the baselines, as tables or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mqar_bench.analysis.report.measure import Measure, loose_ends, measure_of
from mqar_bench.analysis.report.standing import Place, Standing, place, standings
from mqar_bench.basics.console import fold, make_console, print_table
from mqar_bench.cli.output import print_json
from mqar_bench.cli.show import is_missing, to_json
from mqar_bench.records.table import from_rows, to_row

if TYPE_CHECKING:
    from mqar_bench.config import MixerSpec, RunConfig
    from mqar_bench.records.baselines import Baselines
    from mqar_bench.records.result import RunResult

#: Packages that change numbers beyond the last digits.
VERSIONS = ("mqar-bench", "torch")
#: Words for how a size stands to an architecture, in their order.
VERDICTS = ("above", "equal", "not told apart", "below", "not tested")
#: Columns of a point in JSON.
NUMBERS = (
    "state_size", "active_state_size", "accuracy", "accuracy_low", "accuracy_high", "accuracy_seeds", "capacity",
    "capacity_low", "capacity_high", "capacity_seeds", "censored", "recalled_pairs", "seeds", "solved", "converged",
    "learning_rate", "learning_rates", "edge", "train_seconds", "tokens_per_second", "num_parameters", "failed",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """One size of the mixer: its options, its point with what it cost, and where it stands."""

    label: str
    spec: MixerSpec
    point: dict[str, Any]
    standing: list[Standing]
    place: Place


@dataclass(frozen=True, eq=False)
class Compared:
    """A mixer beside the baselines.

    ``label`` is what figures call it, ``folder`` where they go, ``frame`` what they are drawn from, ``notes`` lines on
    what is not as with the baselines.
    """

    shipped: Baselines
    label: str
    folder: str
    frame: pd.DataFrame
    measure: Measure
    sizes: list[Size]
    notes: list[str]
    checked: bool

    @classmethod
    def make(
        cls,
        shipped: Baselines,
        specs: Mapping[str, MixerSpec],
        configs: Sequence[RunConfig],
        records: Sequence[RunResult],
        checked: bool,
    ) -> Compared:
        """From what was trained; a size of which no run is done is left out.

        Args:
            shipped: the baselines.
            specs: the sizes, by label.
            configs: the runs that were planned.
            records: of the runs in full.
            checked: whether the mixer was asked for the contract.
        """
        from plots.fig3 import table
        from plots.select import select_points, summarise

        ours = [to_row(result) for result in records]
        frame, variants = from_rows([*shipped.rows, *ours]), {c.model.mixers[-1].model_dump_json(): c for c in configs}
        theirs = table(shipped.frame)
        mine = {}
        for point in select_points(from_rows(ours), ["variant"]) if ours else ():
            of_all = ("state_size", "active_state_size", "num_parameters")
            cost = {name: point.chosen[name].mean() for name in ("train_seconds", "tokens_per_second")}
            mine[point.at["variant"]] = {
                **{name: point.chosen[name].iloc[0] for name in of_all}, **cost, **summarise(point),
            }  # fmt: skip
        measure = measure_of(pd.concat([theirs, pd.DataFrame(list(mine.values()))])) if mine else Measure("accuracy")
        sizes = []
        for label, spec in specs.items():
            if (found := mine.get(variants[spec.model_dump_json()].variant)) is not None:
                standing = standings(found, theirs, measure)
                sizes.append(Size(label, spec, found, standing, place(found, standing, measure)))
        first = configs[0]
        notes = _notes(shipped, records, checked)
        notes += [f"no run of {label} is done" for label in specs if label not in {size.label for size in sizes}]
        notes += [line for size in sizes for line in _growth(size.label, variants[size.spec.model_dump_json()])]
        folder = f"{first.sweep}-{first.scale}"
        return cls(shipped, first.mixer, folder, frame, measure, sizes, notes, checked)


def print_compared(found: Compared, drawn: Sequence[Path], lacking: Sequence[str], as_json: bool) -> None:
    """Tables, who is above and who below, what differs, and the files; or all of it as JSON."""
    if as_json:
        print_json(_plain(found, drawn, lacking))
        return
    theirs = found.shipped.frame
    train = found.shipped.protocol["train"]
    print(
        f"{found.label} at {found.shipped.scale} beside {theirs['mixer'].nunique()} architectures:"
        f" {train['max_epochs']} epochs in batches of {train['batch_size']}\n"
    )
    _print_recall(found)
    print()
    _print_cost(found)
    print()
    console = make_console()
    for size in found.sizes:
        print(fold(_describe_standing(size, found.measure), console, f"{size.label}: "))
    for line in (*found.notes, *lacking):
        print(fold(line, console, "note: "))
    for path in drawn:
        print(path)


def _print_recall(found: Compared) -> None:
    capacity = found.measure.column == "capacity"
    header = ["size", "state", "active", "accuracy", *(["capacity"] if capacity else []), "rank", "to the best"]
    rows = []
    for size in found.sizes:
        point = size.point
        cells = [size.label, _count(point["state_size"]), _count(point["active_state_size"])]
        cells.append(f"{point['accuracy']:.3f}")
        if capacity:
            cells.append(
                _with_interval(found.measure.show(point), point["capacity_low"], point["capacity_high"], ".3g")
            )
        rank = f"{size.place.rank} of {size.place.of}" if size.place.of > 1 else "-"
        rows.append([*cells, rank, _to_best(size, found.measure)])
    print_table(header, rows, header[1:-2])


def _print_cost(found: Compared) -> None:
    header = ["size", "rate", "edge", "converged", "seeds", "training s", "tokens/s", "parameters"]
    rows = []
    for size in found.sizes:
        point = size.point
        known = point["converged"]
        converged = "-" if is_missing(known) else "yes" if known else "no"
        edge = "-" if is_missing(point["edge"]) else point["edge"] or "no"
        cells = [f"{point['learning_rate']:g}", edge, converged, str(point["seeds"]), f"{point['train_seconds']:.0f}"]
        speed = point["tokens_per_second"]
        cells += ["-" if is_missing(speed) else f"{speed:,.0f}", _count(point["num_parameters"])]
        rows.append([size.label, *cells])
    print_table(header, rows, ["rate", *header[4:]])


def _to_best(size: Size, measure: Measure) -> str:
    best = size.place.best
    if best is None:
        return "-"
    return f"{_difference(size.point, best, measure)} {best.mixer}"


def _difference(ours: Mapping[str, Any], theirs: Standing, measure: Measure) -> str:
    """Ours over theirs: a ratio of capacities, or a difference of accuracies, with its interval."""
    difference, low, high, _ = theirs.duel.difference
    if measure.column == "capacity":
        ratio = f"{_bound(ours['censored'], theirs.censored)}{2**difference:.2f} x"
        return _with_interval(ratio, 2**low, 2**high, ".2f")
    return _with_interval(f"{difference:+.3f}", low, high, "+.3f")


def _bound(ours: str, theirs: str) -> str:
    """What a ratio is, of capacities that may be bounds: at most, at least, or neither can be said."""
    less, more = loose_ends(ours, theirs)
    return "~ " if less and more else "< " if less else "> " if more else ""


def _with_interval(text: str, low: float, high: float, form: str) -> str:
    return f"{text} ({low:{form}} to {high:{form}})" if low < high else text


def _describe_standing(size: Size, measure: Measure) -> str:
    """The architectures by how the seeds decide, each with what it recalls with no more state."""
    words = {"not tested": "not tested, as all of theirs have more state"}
    parts = []
    for verdict in VERDICTS:
        those = [each for each in size.standing if each.verdict == verdict]
        if those:
            known = verdict != "not tested"
            names = ", ".join(each.mixer + f" {_value(each, measure)}" * known for each in those)
            parts.append(f"{words.get(verdict, verdict)}: {names}")
    return "; ".join(parts)


def _value(theirs: Standing, measure: Measure) -> str:
    """With more state than ours, that too."""
    more = f" with {theirs.states[0]:,} elements" if theirs.basis == "more" else ""
    return measure.show({measure.column: theirs.value, "censored": theirs.censored}) + more


def _growth(label: str, config: RunConfig) -> list[str]:
    """A line if the state of a model grows with the sequence, so that its size is that of one length."""
    from mqar_bench.analysis.state_size import count_state

    length = config.sequence_length
    if count_state(config.model, length).total == count_state(config.model, 2 * length).total:
        return []
    return [f"{label}: its state grows with the sequence, and is counted after {length:,} tokens"]


def _notes(shipped: Baselines, records: Sequence[RunResult], checked: bool) -> list[str]:
    """What is not as with the baselines, a line each."""
    lines = (
        [] if checked else ["the contract was not checked (--skip-check): the numbers may be of a mixer that cheats"]
    )
    for line in dict.fromkeys(line for result in records for line in shipped.differences(result.config)):
        lines.append(f"not the baselines' protocol: {line}")
    for package in VERSIONS:
        theirs = set(shipped.versions.get(package, ["unknown"]))
        ours = {result.provenance.versions.get(package, "unknown") for result in records}
        if ours - theirs:
            lines.append(f"{package} {_list(ours)} here, {_list(theirs)} of the baselines")
    older = {result.schema_version for result in records} - {shipped.schema_version}
    if older:
        lines.append(f"records of version {_list(older)} here, {shipped.schema_version} of the baselines")
    ours, theirs = {result.provenance.device for result in records}, set(shipped.frame["device"])
    if ours - theirs:
        lines.append(f"trained on {_list(ours)}, the baselines on {_list(theirs)}")
    if shipped.screening is None:
        lines.append(
            "the baselines' rates were not screened: each was trained in full, and the best is shown, with its seed"
        )
    done = shipped.frame[shipped.frame["status"] == "done"]
    seeds = done.groupby(["variant", "learning_rate"])["seed"].nunique()
    if seeds.min() == 1:
        lines.append("baselines of one seed, which tells nothing apart: ranks are by what was measured")
    return lines


def _list(values: set[Any]) -> str:
    return ", ".join(sorted(map(str, values)))


def _count(value: Any) -> str:
    return "-" if is_missing(value) else f"{int(value):,}"


def _plain(found: Compared, drawn: Sequence[Path], lacking: Sequence[str]) -> dict[str, Any]:
    shipped = found.shipped
    return {
        "mixer": found.label,
        "scale": shipped.scale,
        "checked": found.checked,
        "measure": found.measure.column,
        "protocol": shipped.protocol,
        "sizes": [_plain_size(size, found.measure) for size in found.sizes],
        "notes": [*found.notes, *lacking],
        "figures": [str(path) for path in drawn],
    }


def _plain_size(size: Size, measure: Measure) -> dict[str, Any]:
    best = size.place.best
    return {
        "size": size.label,
        "options": size.spec.options,
        **{name: to_json(size.point[name]) for name in NUMBERS if name in size.point},
        "rank": size.place.rank,
        "of": size.place.of,
        "best": None if best is None else best.mixer,
        "to_best": None if best is None else _plain_difference(best, measure),
        "against": [
            {
                "mixer": each.mixer,
                "basis": each.basis,
                "state_sizes": list(each.states),
                measure.column: each.value,
                "verdict": each.verdict,
                **_plain_difference(each, measure),
            }
            for each in size.standing
        ],
    }


def _plain_difference(standing: Standing, measure: Measure) -> dict[str, Any]:
    """Ours over theirs, as ``_difference`` writes it; the interval is null of a single seed."""
    numbers = standing.duel.difference[:3]
    values = [2**number if measure.column == "capacity" else number for number in numbers]
    names = ("ratio" if measure.column == "capacity" else "difference", "low", "high")
    return {name: to_json(value) for name, value in zip(names, values, strict=True)}
