import functools
import inspect

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def quick_interpreter():
    """Triton's interpreter looks through all of its language at every call of a function by a kernel, for what it has
    replaced already: nearly half of its time. Here it knows the names after the first look."""
    interpreter = pytest.importorskip("triton.runtime.interpreter", reason="triton is not installed")
    is_builtin = interpreter.tl.core.is_builtin

    @functools.cache
    def builtins(package):
        return [name for name, member in inspect.getmembers(package) if is_builtin(member)]

    def patch_builtin(package, *scope):
        for name in builtins(package):
            if is_builtin(member := getattr(package, name)):
                interpreter._patch_attr(package, name, member, *scope)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_builtin", patch_builtin)
        yield


@pytest.fixture(autouse=True)
def poison_and_determinism():
    torch.use_deterministic_algorithms(True)  # also fills what torch.empty returns
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def short_chunks(monkeypatch):
    from mixers.ramnet import memory_triton

    monkeypatch.setattr(memory_triton, "CHUNK", 64)
