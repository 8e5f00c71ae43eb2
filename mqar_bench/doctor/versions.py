"""Packages against what this one asks for, by their metadata alone: nothing is imported that may be missing."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mqar_bench.doctor.check import Check

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
NAME = "mqar-bench"


class Project(NamedTuple):
    """What a project says of itself: requirements as in pyproject.toml."""

    version: str
    python: str
    requires: tuple[str, ...]


def read_project() -> Project:
    """Of the installed package, or of the checkout that this runs from."""
    try:
        data = importlib.metadata.metadata(NAME)
        return Project(data["Version"], data["Requires-Python"], tuple(importlib.metadata.requires(NAME) or ()))
    except importlib.metadata.PackageNotFoundError:
        project = tomllib.loads(PYPROJECT.read_text())["project"]
        return Project(project["version"], project["requires-python"], tuple(project["dependencies"]))


def check_versions() -> list[Check]:
    """This package, Python, and every package that it requires here."""
    project = read_project()
    ours = Check(NAME, f"{project.version}{_commit()}", values={"version": project.version})
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet
    except ImportError:  # matplotlib and ray bring it
        return [ours, Check("packaging", "missing: versions cannot be compared", "FIX", "pip install packaging")]
    checks = [ours, _check_python(SpecifierSet(project.python))]
    for requirement in map(Requirement, project.requires):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            checks.append(_check_package(requirement.name, requirement.specifier))
    return checks


def _check_python(specifier: SpecifierSet) -> Check:
    version = platform.python_version()
    fits = specifier.contains(version, prereleases=True)
    fix = None if fits else f"make a new environment, with Python {specifier}"
    return Check("python", f"{version}, needs {specifier}", "ok" if fits else "FIX", fix, {"version": version})


def _check_package(name: str, specifier: SpecifierSet) -> Check:
    needs = f"needs {specifier}" if str(specifier) else "needed"
    install = f"pip install {shlex.quote(f'{name}{specifier}')}"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, f"missing, {needs}", "FIX", install)
    fits = specifier.contains(version, prereleases=True)
    values = {"version": version}
    return Check(name, f"{version}, {needs}", "ok" if fits else "FIX", None if fits else install, values)


def _commit() -> str:
    """``, commit 0123456789ab and changes``, of a checkout."""
    try:
        from mqar_bench.result import git_state
    except (ImportError, OSError):  # what it imports is among what is checked here
        return ""
    commit, changed = git_state()
    return f", commit {commit[:12]}{' and changes' if changed else ''}" if commit else ""
