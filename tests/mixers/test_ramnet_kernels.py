"""The kernels compile for a GPU without one, and keep to its registers; `make kernels` compiles all variants."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")
SCRIPT = Path(__file__).parents[1] / "kernels.py"


@pytest.mark.slow
def test_the_papers_sizes_compile_without_spills_and_scan_without_shuffles(tmp_path):
    table = tmp_path / "kernels.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--json", table], capture_output=True, text=True, cwd=SCRIPT.parents[1]
    )
    assert done.returncode == 0, done.stderr
    kernels = {row["kernel"]: row for row in json.loads(table.read_text())["kernels"]}
    assert not any(row["spills"] for row in kernels.values())
    # a tile's scans were 250 shuffles when its rows lay on the lanes; what is left sums up z and finds the last row
    assert kernels["scan_reads"]["shuffles"] < 50
