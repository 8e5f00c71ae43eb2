import io
import json
import subprocess
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

import mixers
from mqar_bench.cli import app
from mqar_bench.doctor import examine
from mqar_bench.doctor.sections import Check, Section

ROOT = Path(__file__).parents[2]


def doctor(*words):
    return CliRunner().invoke(app, ["doctor", *map(str, words)])


def test_all_of_it_without_ray(tmp_path):
    results = tmp_path / "a" / "results"
    result = doctor("--no-ray", "--results", results, "--json")
    found = json.loads(result.stdout)
    checks = {check["name"]: check for section in found["sections"] for check in section["checks"]}
    assert [check for check in checks.values() if check["mark"] == "FIX"] == [], result.stdout
    assert result.exit_code == found["fixes"] == 0
    assert set(mixers.names()) | {"torch", "ray", "CPU", "memory", "--gpus-per-run", "locks", "records"} <= set(checks)
    assert all(checks[name]["values"]["works"] for name in mixers.names())
    assert checks["folder"]["values"] == {"exists": False} and checks["ray"]["text"] == "not tried"
    assert list(tmp_path.iterdir()) == []


def test_something_to_fix_gives_exit_code_1_and_is_counted(monkeypatch, tmp_path):
    sections = [
        Section("Ray", (Check("ray", "hangs", "FIX", "give it time"), Check("wheel", "turns"))),
        Section("Records", (Check("disk", "full", "FIX"), Check("old", "is", "note"))),
    ]
    monkeypatch.setattr(examine, "examine", lambda *arguments: (section for section in sections))
    result = doctor("--results", tmp_path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "Ray", "  FIX   ray    hangs", "               give it time", "  ok    wheel  turns", "",
        "Records", "  FIX   disk  full", "  note  old   is", "",
        "2 things to fix",
    ]  # fmt: skip


def test_an_address_without_ray_is_a_mistake(tmp_path):
    result = doctor("--no-ray", "--address", "10.0.0.1:6379", "--results", tmp_path)
    assert result.exit_code == 2 and "--address and --no-ray exclude each other" in result.stderr


def test_without_torch_the_versions_are_told(tmp_path):
    code = textwrap.dedent("""
        import importlib.metadata, sys

        class NoTorch:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "torch":
                    raise ModuleNotFoundError("No module named 'torch'", name="torch")

        def version(name, real=importlib.metadata.version):
            if name == "torch":
                raise importlib.metadata.PackageNotFoundError(name)
            return real(name)

        sys.meta_path.insert(0, NoTorch())
        importlib.metadata.version = version
        from mqar_bench.cli import main
        main()
    """)
    command = [sys.executable, "-c", code, "doctor", "--results", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stderr) == (1, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    at = lines.index("FIX torch missing, needs >=2.11")
    assert lines[at + 1] == "pip install 'torch>=2.11'"
    assert "note imports not looked at: ModuleNotFoundError: No module named 'torch'" in lines
    assert lines[-1] == "1 thing to fix"


def test_lines_are_folded_to_a_terminal_and_left_whole_in_a_file():
    section = Section("Ray", (Check("ray", "word " * 20, "FIX", "pip install " + "x" * 60),), "a legend")
    out = io.StringIO()
    section.print(Console(file=out, force_terminal=True, color_system=None, width=50))
    lines = out.getvalue().splitlines()
    assert len(lines) == 8 and max(map(len, lines[:4])) <= 50
    assert "x" * 60 in out.getvalue()  # a long word stays whole
    out = io.StringIO()
    section.print(Console(file=out, width=50))
    assert len(out.getvalue().splitlines()) == 5
