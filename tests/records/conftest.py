import pytest

from mqar_bench.records.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def other(tmp_path) -> Store:
    """The store of another machine."""
    return Store(tmp_path / "other")
