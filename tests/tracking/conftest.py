import pytest

from mqar_bench.records.store import Store
from tests.tracking.trackers import Hangs, Keeps


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture(autouse=True)
def _forget():
    Keeps.forget()
    yield
    Hangs.ends.set()
