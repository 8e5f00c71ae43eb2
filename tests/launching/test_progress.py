"""What a launch shows: lines, the display, labels and the time left."""

import io
import time

from rich.console import Console

from mqar_bench.config import RunConfig
from mqar_bench.launching import launch
from mqar_bench.launching.progress import Display, Eta, Lines, label_runs, make_watcher
from mqar_bench.training.session import Progress
from tests.launching.tiny import executed, tiny


def test_labels_tell_the_runs_of_a_mixer_apart():
    configs = [tiny("ramnet", top_k=2), tiny("ramnet", top_k=4, rate=1e-3), tiny()]
    assert list(label_runs(configs).values()) == [
        "ramnet top_k=2 lr=0.01 seed=123",
        "ramnet top_k=4 lr=0.001 seed=123",
        "attention lr=0.01 seed=123",
    ]


def test_labels_say_what_only_some_have_and_what_lies_below():
    bare, given = tiny("ramnet"), tiny("ramnet", top_k=4)
    spec = {"name": "ramnet", "options": {"cape": True}}
    deep = RunConfig.model_validate(bare.model_dump() | {"model": bare.model.model_dump() | {"mixers": [spec] * 2}})
    assert [label.removesuffix(" lr=0.01 seed=123") for label in label_runs([bare, given, deep]).values()] == [
        "ramnet",
        "ramnet top_k=4",
        "ramnet layer 0=ramnet 0.cape=True cape=True",
    ]


def test_plain_lines(store, my_mixers):
    stream = io.StringIO()
    configs = [tiny(), tiny(f"{my_mixers}.Broken")]
    launch(configs[:1], store, "inline")
    watcher = make_watcher(Console(file=stream, width=40))
    assert type(watcher) is Lines
    launch([*configs, tiny(rate=2e-2)], store, "inline", watcher=watcher)
    skipped, failed, done = stream.getvalue().splitlines()
    assert skipped == "1 of 3 runs are done already"
    assert failed.startswith("[2/3] mixers_of_mine.Broken lr=0.01 seed=123 FAILED RuntimeError: this mixer ")
    accuracy = store.read(tiny(rate=2e-2)).accuracy
    assert done.startswith(f"[3/3] attention lr=0.02 seed=123 accuracy {accuracy:.3f} ") and done.endswith("s")


def test_quiet_shows_failures_only(store, my_mixers):
    stream = io.StringIO()
    watcher = make_watcher(Console(file=stream, width=200, force_terminal=True), quiet=True)
    launch([tiny(), tiny(f"{my_mixers}.Broken")], store, "inline", watcher=watcher)
    assert stream.getvalue().count("\n") == 1 and "FAILED" in stream.getvalue()


def test_the_display_shows_every_run_under_way():
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True)
    display = make_watcher(console)
    assert isinstance(display, Display)
    configs = [tiny(rate=rate, epochs=4) for rate in (1e-3, 1e-2, 1e-1)]

    def shown():
        page = Console(file=io.StringIO(), width=100)  # not the one that is drawn upon meanwhile
        page.print(display.render())
        return page.file.getvalue()

    display.start(configs, 1)
    try:
        assert "1/3 runs" in shown() and "starting" in shown()
        display.progress(configs[0].run_id, Progress(0.25, 0, 4.5, 0.125))
        time.sleep(0.01)
        display.progress(configs[1].run_id, Progress(0.5, 1, 3.5, None))
        text = shown()
        assert "left" in text and configs[0].run_id[:8] in text
        assert "lr=0.001" in text and "epoch 1/4" in text and "loss 4.500" in text and "accuracy 0.125" in text
        assert "lr=0.01 " in text and "epoch 2/4" in text and "loss 3.500" in text
        display.finish(executed(configs[0]))
        assert "2/3 runs" in shown() and "lr=0.001" not in shown()
    finally:
        display.close()


def test_time_left_counts_from_the_first_report(monkeypatch):
    clock = iter([100.0, 110.0, 110.0, 115.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    eta = Eta()
    assert eta.left(10) is None
    eta.update(1.0)  # whatever came before took no part in the rate
    assert eta.left(10) is None
    eta.update(3.0)  # two runs in ten seconds: the other seven take 35
    assert eta.left(10) == 35.0
    assert eta.left(10) == 30.0  # and the clock runs on between reports
