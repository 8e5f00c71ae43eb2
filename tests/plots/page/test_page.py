"""The page as text: what is in it, that it asks for nothing, and that records stay text."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

import plots
from mqar_bench.records.store import Store
from plots.page.drawings import DRAWINGS
from plots.page.libraries import Libraries, read_libraries
from plots.page.spec import SYMBOLS, Look, to_plain, words
from plots.style import _SPARE, _STYLES, SERIES
from tests.plots.page.conftest import EVIL, write

FIGURES = tuple(name for name in plots.names() if plots.sweeps(name))


class Reader(HTMLParser):
    """Tags with their attributes, and the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
            self._open = True

    def handle_endtag(self, tag):
        self._open = False if tag == "script" else self._open

    def handle_data(self, data):
        if self._open:
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def page(made):
    return Reader(made[1])


@pytest.fixture(scope="module")
def told(page):
    """What the scripts read, by its id."""
    ids = [attributes.get("id") for tag, attributes in page.tags if tag == "script"]
    return {name: json.loads(text) for name, text in zip(ids, page.scripts, strict=True) if name}


def runs_of(value):
    """All run ids anywhere in a drawing."""
    if isinstance(value, dict):
        found = [run for name in ("runs", "run") for run in flat(value.get(name, []))]
        return found + [run for each in value.values() for run in runs_of(each)]
    return [run for each in value for run in runs_of(each)] if isinstance(value, list) else []


def flat(value):
    return [each for part in value for each in flat(part)] if isinstance(value, list) else [value]


def test_every_figure_with_records_is_drawn_and_every_point_has_its_runs(told, made):
    assert set(DRAWINGS) == set(FIGURES) and set(told["drawings"]) == set(FIGURES)
    known = {result.run_id for result in Store(made[0] / "results").results()[0]}
    for name, drawing in told["drawings"].items():
        assert drawing["panels"] and set(runs_of(drawing)) <= known, name
        for panel in drawing["panels"]:
            for line in panel.get("series", []):
                assert len(line["x"]) == len(line["y"]) == len(line["runs"]) == len(line["says"]), name
                assert all(line["runs"]), name
            drawn = {part["key"] for kind in ("series", "curves") for part in panel.get(kind, [])}
            legend = {entry["key"] for entry in [*drawing.get("legend", []), *panel.get("legend", [])]}
            assert drawn <= legend, name
    points = {line["key"]: line for line in told["drawings"]["fig3"]["panels"][0]["series"]}
    table = plots.table("fig3", frame_of(made[0], "fig3")).set_index(["mixer", "state_size"])
    for x, y, runs, low, high, seeds in zip(
        *(points["RAM-Net"][name] for name in ("x", "y", "runs", "low", "high", "seeds")), strict=True
    ):
        row = table.loc["ramnet", x]
        assert (y, low, high) == pytest.approx((row["accuracy"], row["accuracy_low"], row["accuracy_high"]), rel=1e-5)
        assert runs == row["run_ids"].split() and seeds == [float(each) for each in row["accuracy_seeds"].split()]


def frame_of(folder, sweep):
    from mqar_bench.records.table import to_frame

    return to_frame(Store(folder / "results").results(sweep)[0], curves=True)


def test_every_record_is_there_with_its_story(told, page, made):
    results = {result.run_id: result for result in Store(made[0] / "results").results()[0]}
    texts, runs = told["records"]["texts"], told["records"]["runs"]
    assert set(runs) == set(results)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    for run_id, result in results.items():
        facts = {texts[name]: texts[text] for name, text in runs[run_id]["facts"]}
        assert facts["run"] == f"{run_id}, {result.status}" and facts["started"] == "2026" and "cost" in facts
        assert facts["record"].startswith(f"{result.config.sweep}-demo/")
        assert {texts[name]: value for name, _, value in runs[run_id]["accuracies"]} == pytest.approx(
            result.settings, abs=1e-4
        )
        assert ("train.learning_rate", f"{result.config.train.learning_rate}") in [
            (texts[path], texts[value]) for path, value in runs[run_id]["settings"]
        ] or result.config.train.learning_rate == type(result.config.train)().learning_rate
        assert f"#run={run_id}" in links
    with_curve = next(result for result in results.values() if result.curve)
    curve = runs[with_curve.run_id]["curve"]
    assert curve["loss"] == [2.0, 1.0] and curve["accuracy"] == [0.25, 0.75] and curve["part"] == "test"
    assert curve["scored"] == [epoch.accuracy for epoch in with_curve.epochs]
    assert told["records"]["axes"][curve["at"]] == [[100, 200], [6400, 12800]]


@pytest.mark.parametrize(
    "text",
    [
        "Capacity is the most pairs recalled at 0.9 accuracy",
        "<code>paper</code>",
        "RAM-Net is above gla at equal state size",
        "runs of fig3 at demo are not done",
        "weight decay 0.1. ",
    ],
)
def test_it_says_what_the_report_says(made, text):
    assert text in made[1]


def test_it_asks_for_nothing_and_lets_no_other_script_run(page):
    loading = [(tag, value) for tag, attributes in page.tags for name, value in attributes.items()
               if name in ("src", "srcset", "data") or (name == "href" and tag == "link")]  # fmt: skip
    assert loading and all(value.startswith("data:") for _, value in loading)
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-inline'; script" not in policy
    allowed = re.search(r"script-src ([^;]*)", policy)[1].split()
    running = [attributes for tag, attributes in page.tags if tag == "script" and "type" not in attributes]
    assert len(allowed) == len(running) == 3 and all(each.startswith("'sha256-") for each in allowed)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_text_of_records_is_text(made, page, told):
    assert EVIL not in made[1] and "<img src=x" not in made[1]
    assert EVIL in told["records"]["texts"]
    assert len(page.scripts) == 5  # Plotly, tables, ours, and two of data


def test_the_same_records_give_the_same_bytes(made, tmp_path):
    shutil.copytree(made[0] / "results", tmp_path / "results")
    names = ("fig3", "lr", "curves", "trainability")
    assert write(tmp_path, *names).read_bytes() == write(tmp_path, *names).read_bytes()
    assert str(tmp_path) not in (tmp_path / "report.html").read_text()


def test_every_marker_of_the_printed_figures_has_a_symbol():
    used = {look.marker for look in _STYLES.values()} | {marker for _, marker in (*_SPARE, *SERIES)}
    assert used <= set(SYMBOLS)
    assert Look.of({"color": "#000000", "marker": "s", "linestyle": "--", "markerfacecolor": "white"}) == Look(
        "#000000", "square", "dash", hollow=True
    )


def test_plain_values():
    assert words(r"$M$ = 64, $e^\alpha$, $K^2 / M$, costs \$5") == "M = 64, e^α, K² / M, costs $5"
    assert to_plain([1.0, 1 / 3, float("nan"), True, None, "x", (2,)]) == [1, 0.333333, None, True, None, "x", [2]]


def test_libraries_are_whole_and_define_what_is_used():
    libraries = read_libraries()
    assert isinstance(libraries, Libraries) and "MIT" in libraries.plotly[:400]
    assert libraries.tables.count("globalThis.DataTable = ") == 1 and "export{" not in libraries.tables
