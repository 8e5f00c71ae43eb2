"""Packages against what this one asks for, by their metadata alone: nothing is imported that may be missing."""

from __future__ import annotations

import platform
import shlex
from typing import TYPE_CHECKING

from mqar_bench.basics.machine.software import NAME, find_version, git_state, read_project
from mqar_bench.doctor.sections import Check

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def check_versions() -> list[Check]:
    """This package, Python, and every package that it requires here."""
    project, (commit, changed) = read_project(), git_state()
    code = f", commit {commit[:12]}{' and changes' if changed else ''}" if commit else ""
    ours = Check(NAME, f"{project.version}{code}", values={"version": project.version})
    try:
        from packaging.requirements import Requirement
    except ImportError:  # matplotlib and ray bring it
        return [ours, Check("packaging", "missing: versions cannot be compared", "FIX", "pip install packaging")]
    python = _compare(Requirement(f"python {project.python}"), platform.python_version())
    needed = [r for r in map(Requirement, project.requires) if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [ours, python, *(_compare(requirement, find_version(requirement.name)) for requirement in needed)]


def _compare(needed: Requirement, version: str | None) -> Check:
    """What is needed with the version that is there."""
    name, wants = needed.name, f"needs {needed.specifier}" if str(needed.specifier) else "needed"
    fix = f"pip install {shlex.quote(f'{name}{needed.specifier}')}"
    if name == "python":
        fix = f"make a new environment, with Python {needed.specifier}"
    if version is None:
        return Check(name, f"missing, {wants}", "FIX", fix)
    if needed.specifier.contains(version, prereleases=True):
        return Check(name, f"{version}, {wants}", values={"version": version})
    return Check(name, f"{version}, {wants}", "FIX", fix, {"version": version})
