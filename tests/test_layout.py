"""The order of the packages: a module imports from its own and from those before it, and no circle is left."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mqar_bench"
#: From what stands on nothing to what sees everything.
ORDER = (
    "basics", "tasks", "text", "config", "records", "training", "contract", "analysis", "language", "tracking",
    "launching", "zoology", "perf", "doctor", "cli",
)  # fmt: skip
FILES = {".".join(("mqar_bench", *p.relative_to(ROOT).with_suffix("").parts)): p for p in ROOT.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}


def imported(path):
    """The modules of the package that a file names in imports, wherever in it these are."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (part if part in MODULES else node.module for part in parts)


def place(module):
    """Of a module's package in the order."""
    return ORDER.index(module.split(".")[1])


def test_every_package_has_its_place_and_says_what_lives_there():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ORDER)
    for package in ORDER:
        assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
    assert len(list(ROOT.glob("*.py"))) <= 3


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("mqar_bench", "mqar_bench.__main__")])
def test_imports_run_one_way(module):
    against = [other for other in imported(MODULES[module]) if other.count(".") and place(other) > place(module)]
    assert against == [], f"{module} is before {against}"


def test_no_module_imports_itself_by_way_of_others():
    left = {module: set(imported(path)) - {module} for module, path in MODULES.items()}
    while free := [module for module, others in left.items() if not others & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


@pytest.mark.parametrize("module", MODULES)
def test_a_file_is_one_idea(module):
    assert len(MODULES[module].read_text().splitlines()) <= 330


def test_what_a_script_needs_is_at_the_top_and_loads_when_it_is_asked_for():
    code = (
        "import sys, mqar_bench\n"
        "print({'torch', 'numpy', 'pandas', 'pydantic', 'ray', 'matplotlib', 'scipy'} & set(sys.modules))\n"
        "print(set(mqar_bench.__all__) <= set(dir(mqar_bench)))\n"
        "from mqar_bench import *\n"
        "print(sorted(mqar_bench.__all__) == sorted(mqar_bench._HOMES))\n"
        "print(all(callable(getattr(mqar_bench, name)) for name in mqar_bench.__all__))\n"
        "try: mqar_bench.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.splitlines() == [
        "set()", "True", "True", "True", "module 'mqar_bench' has no attribute 'nothing'",
    ]  # fmt: skip
