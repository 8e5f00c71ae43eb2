"""Sweeps that are killed and stopped for minutes, and how long that takes; ``make soak`` runs them.

``SOAK_SIZE=0.1`` does a tenth of it, ``SOAK_RESULTS=DIR`` writes what was measured to ``DIR/<name>.json``.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from mqar_bench.basics.console import print_table
from mqar_bench.records.result import now, provenance
from tests.launching.conftest import drive, folder  # noqa: F401
from tests.launching.family import CAN_WATCH

SIZE = float(os.environ.get("SOAK_SIZE", "1"))
RESULTS = os.environ.get("SOAK_RESULTS")
STARTED_AT, LOAD = now(), os.getloadavg()[0]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.soak)


@pytest.fixture(autouse=True)
def _needs():
    pytest.importorskip("ray")
    if not CAN_WATCH:
        pytest.skip("watches processes through /proc")


@pytest.fixture
def scaled():
    """A number of things to do, of those of the whole soak: at least ``least``."""
    return lambda number, least=1: max(least, round(SIZE * number))


@pytest.fixture
def is_quiet():
    """Whether the machine had nothing else to do when this began."""
    return LOAD <= 2


@pytest.fixture
def report(capsys):
    """Shows figures as a table, a column for each dictionary, and writes them where they are asked for."""

    def give(name, *rows):
        with capsys.disabled():
            print(f"\n{name}, load average {LOAD:.1f} at first")
            header, *lines = [[key, *(str(row[key]) for row in rows)] for key in rows[0]]
            print_table(header, lines)
        if RESULTS:
            made = provenance(torch.device("cpu"), STARTED_AT).model_dump()
            figures = {"soak_schema_version": 1, "name": name, "provenance": made, "cpus": os.cpu_count()}
            figures |= {"load_average": round(LOAD, 2), "size": SIZE, "rows": list(rows)}
            Path(RESULTS).mkdir(parents=True, exist_ok=True)
            Path(RESULTS, f"{name}.json").write_text(json.dumps(figures) + "\n")

    return give
