"""A page of made-up records of every figure, with a name and an error that try to be more than text."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import plots
from mqar_bench.cli import app
from mqar_bench.records.result import Curve
from mqar_bench.records.store import Store
from tests.plots.records import config, record, records

EVIL = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


def write(folder, *words):
    """The page as the command writes it, its path."""
    out = folder / "report.html"
    command = ["report", *words, "--scale", "demo", "--results", str(folder / "results"), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, (result.stdout, result.stderr)
    assert result.stdout == f"{out}\n"
    return out


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Records and page: a pair of a folder and the text."""
    folder = Path(tmp_path_factory.mktemp("page"))
    store = Store(folder / "results")
    learnt = Curve(steps=(100, 100), tokens=(6400, 6400), loss=(2.0, 1.0), accuracy=(0.25, 0.75))
    for name in plots.names():
        if plots.sweeps(name):
            for one in records(name):
                done = {"curve": learnt} if len(one.epochs) == 2 else {}
                store.write(one.model_copy(update=done))
    run = config("attention", d_model=32).model_copy(update={"mixer": EVIL})
    store.write(record(run, None).model_copy(update={"error": EVIL, "traceback": EVIL}))
    return folder, write(folder).read_text()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium that keeps what its console and its network say."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with its chromedriver: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1200,900", "hide-scrollbars",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as running:
        running.set_script_timeout(20)
        yield running
