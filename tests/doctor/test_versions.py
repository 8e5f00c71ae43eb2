import importlib.metadata

from mqar_bench.basics.machine.software import read_project
from mqar_bench.doctor.versions import check_versions
from tests.doctor.checks import by_name


def test_every_requirement_is_held_against_what_is_there(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.12.1" if name == "numba" else real(name)

    assert {check.mark for check in check_versions()} == {"ok"}
    monkeypatch.setattr(importlib.metadata, "version", version)
    checks = by_name(check_versions())
    assert {"mqar-bench", "python", "torch", "flash-linear-attention", "ray", "pydantic", "numpy", "pandas"} <= set(
        checks
    )
    assert not {"pytest", "zoology"} & set(checks)  # extras
    assert {name for name, check in checks.items() if check.mark == "FIX"} == {"ray", "numba"}
    assert checks["ray"].text == "missing, needs >=2.40" and checks["ray"].fix == "pip install 'ray>=2.40'"
    assert checks["numba"].text == "0.12.1, needs >=0.61" and checks["numba"].fix == "pip install 'numba>=0.61'"


def test_a_checkout_that_is_not_installed_says_the_same(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    installed = read_project()
    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    checkout = read_project()
    assert (checkout.version, checkout.python) == (installed.version, installed.python)
    assert len(checkout.requires) == sum("extra" not in requirement for requirement in installed.requires) > 10
