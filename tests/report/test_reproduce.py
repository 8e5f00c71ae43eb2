import pytest
from typer.testing import CliRunner

from mqar_bench.cli import app
from mqar_bench.store import Store


@pytest.fixture
def reproduce(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["reproduce", "--scale", "smoke", *words])


def test_from_nothing_to_figures_and_report(reproduce, tmp_path):
    first = reproduce("fig3", "lr", "--executor", "inline", "--quiet")
    assert first.exit_code == 0, first.stderr
    report = (tmp_path / "results/REPORT.md").read_text()
    pictures = [line.partition("](")[2].rstrip(")") for line in report.splitlines() if line.startswith("![")]
    assert pictures == ["figures/smoke/fig3.png", "figures/smoke/lr.png"]
    assert all((tmp_path / "results" / picture).stat().st_size > 1000 for picture in pictures)
    assert "RAM-Net is above attention at equal state size" in report and "14 runs; seeds 123" in report
    assert report.count("\n| ramnet |") >= 2
    again = reproduce("fig3", "lr", "--no-train")
    assert again.exit_code == 0 and (tmp_path / "results/REPORT.md").read_text() == report
    assert Store("results").results()[1] == []  # what it leaves there is taken for no record


def test_mistakes(reproduce):
    for words, message in ((["fig33"], "no figure named 'fig33'"), (["fig4", "--no-train"], "nothing to report")):
        result = reproduce(*words)
        assert result.exit_code == 2 and message in result.stderr.splitlines()[-1]
