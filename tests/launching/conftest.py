import sys

import pytest

from mqar_bench.records.store import Store
from tests.launching.drivers import Driver, Folder
from tests.launching.tiny import MIXERS


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def drive(folder):
    """Starts drivers on the folder; whatever they have started is gone afterwards."""
    drivers = []

    def start(configs, *arguments, **settings):
        drivers.append(Driver(folder, configs, *arguments, **settings))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.destroy()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def my_mixers(tmp_path, monkeypatch):
    (tmp_path / "mixers_of_mine.py").write_text(MIXERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mixers_of_mine"
    sys.modules.pop("mixers_of_mine", None)
