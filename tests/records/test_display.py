"""What a notebook and a traceback show of a record."""

import re

import pytest

from mqar_bench.config import DataConfig, RunConfig
from mqar_bench.records.result import Epoch, Provenance, RunResult
from mqar_bench.tasks import MQARConfig

PROVENANCE = Provenance(
    device="cpu", threads=1, python="3.11", versions={}, git_commit=None, git_dirty=None, started_at="2026-01-01"
)
TASKS = tuple(MQARConfig(input_seq_len=8 * n, num_kv_pairs=n) for n in (4, 8))
CONFIG = RunConfig(data=DataConfig(test=TASKS))


def record(**changes):
    return RunResult(run_id=CONFIG.run_id, status="done", config=CONFIG, provenance=PROVENANCE, seconds=3.25, **changes)


def epochs(*accuracies):
    return tuple(Epoch(epoch=i, loss=1.0, accuracy=a, settings={}) for i, a in enumerate(accuracies))


DONE = record(accuracy=0.95, settings={"L32-kv4": 1.0, "L64-kv8": 0.9}, state_size=12345, epochs=epochs(0.0, 0.5, 1.0))
FAILED = record(error="ValueError: <boom> & more\nand a second line").model_copy(update={"status": "failed"})


@pytest.mark.parametrize("show", [repr, str])
@pytest.mark.parametrize(
    ("result", "facts"),
    [
        (DONE, "accuracy 0.950, capacity at least 8 pairs at 0.9, state 12,345 elements, time 3.2 s"),
        (FAILED, "error ValueError: <boom> & more, time 3.2 s"),
        (FAILED.model_copy(update={"lost": True}), "lost ValueError: <boom> & more, time 3.2 s"),
    ],
    ids=["done", "failed", "lost"],
)
def test_a_record_is_one_line_of_what_came_of_it(show, result, facts):
    assert show(result) == f"<RunResult {CONFIG.run_id} {result.status} adhoc/custom attention: {facts}>"


def test_a_notebook_shows_accuracies_settings_and_the_curve():
    html = DONE._repr_html_()
    for name, value in [("accuracy on L64-kv8", "0.900"), ("accuracy", "0.950"), ("mixers", "short_conv attention")]:
        assert re.search(f"<td[^>]*>{name}</td><td[^>]*>{value}</td>", html)
    assert "<title>test accuracy by epoch, from 0 to 1</title>" in html
    (points,) = re.findall("points='(.*?)'", html)
    assert points == "1.0,35.0 80.0,18.0 159.0,1.0"  # from the lower left to the upper right


@pytest.mark.parametrize(("accuracies", "lines"), [((), 0), ((0.5,), 1)], ids=["none", "one epoch"])
def test_few_epochs_are_no_trouble(accuracies, lines):
    assert record(accuracy=0.5, epochs=epochs(*accuracies))._repr_html_().count("<polyline") == lines


def test_an_error_is_text():
    html = FAILED._repr_html_()
    assert "ValueError: &lt;boom&gt; &amp; more" in html and "second line" not in html
