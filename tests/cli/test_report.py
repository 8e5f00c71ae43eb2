"""``report`` and what ``reproduce`` does with the page; what is in the page is tested with ``plots.page``."""

from importlib.metadata import PackageNotFoundError, distribution

import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.records.store import Store
from plots.page import libraries
from tests.plots.records import config, record


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Store("results").write(record(config("gla"), 0.5))
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture(params=["plotly", "itables"])
def missing(monkeypatch, request):
    """A package that is not installed."""

    def find(name):
        if name == request.param:
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(libraries, "distribution", find)
    return request.param


def test_the_page_is_written_by_both_commands_alike(invoke, tmp_path):
    result = invoke("report", "fig3", "--scale", "demo")
    assert result.exit_code == 0 and result.stdout == "report.html\n", result.stderr
    again = invoke("reproduce", "fig3", "--scale", "demo", "--no-train")
    assert again.exit_code == 0 and again.stdout.split() == ["results/REPORT.md", "results/report.html"]
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "results/report.html").read_bytes()


def test_a_missing_package_is_one_line_and_costs_reproduce_the_page_alone(invoke, missing, tmp_path):
    result = invoke("report", "fig3", "--scale", "demo")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: the page needs {missing}, which is not installed: pip install 'mqar-bench[page]'\n"
    )
    again = invoke("reproduce", "fig3", "--scale", "demo", "--no-train")
    assert again.exit_code == 0 and again.stdout == "results/REPORT.md\n"
    line = f"report.html is left out, which needs {missing}: pip install 'mqar-bench[page]'"
    assert again.stderr.splitlines() == [line] and not (tmp_path / "results/report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fig33 --scale demo", "no figure named 'fig33' to report: did you mean 'fig3'?"),
        ("fig3 --scale large", "no run of fig3 at scale large is done in results"),
        ("fig3 --scale demo --out .", "--out . is a folder: give a file, such as report.html"),
        ("fig3 --scale demo --out file/x.html", "cannot write file/x.html"),
        ("fig3 --scale demo --results nowhere", "no run of fig3 at scale demo is done in nowhere"),
    ],
)
def test_mistakes_are_one_line(invoke, tmp_path, words, message):
    (tmp_path / "file").touch()
    result = invoke("report", *words.split())
    assert result.exit_code == 2 and message in result.stderr.splitlines()[-1]
