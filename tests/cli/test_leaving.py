"""The command as a process: how it ends, and what it has said by then."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mixers

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "words, code, stdout, stderr",
    [
        (["--version"], 0, "mqar-bench 0", ""),
        (["sweep", "gird", "--scale", "demo"], 2, "", "error: no sweep named 'gird'"),
        (["mixers", "--format", "json"], 0, '[\n {\n  "name": ', ""),
    ],
    ids=["version", "mistake", "json"],
)
def test_the_command_leaves_with_its_code_and_all_it_has_to_say(words, code, stdout, stderr):
    ended = subprocess.run([sys.executable, "-m", "mqar_bench", *words], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == code
    assert ended.stdout.startswith(stdout) and ended.stderr.startswith(stderr)
    assert bool(ended.stdout) == bool(stdout) and bool(ended.stderr) == bool(stderr)
    assert "json" not in words or len(json.loads(ended.stdout)) == len(mixers.names())


def test_nobody_needs_to_read_to_the_end():
    command = f"{sys.executable} -m mqar_bench mixers | head -n 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout.startswith("mixer")
