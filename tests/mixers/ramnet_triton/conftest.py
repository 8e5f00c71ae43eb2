import pytest
import torch


@pytest.fixture(autouse=True)
def poison_and_determinism():
    torch.use_deterministic_algorithms(True)  # also fills what torch.empty returns
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def short_chunks(monkeypatch):
    from mixers.ramnet import memory_triton

    monkeypatch.setattr(memory_triton, "CHUNK", 64)
