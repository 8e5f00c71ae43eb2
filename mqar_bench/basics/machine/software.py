"""The packages and the code that run here. Imports nothing that may be missing: `mqar-bench doctor` looks for that."""

from __future__ import annotations

import importlib.metadata
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

NAME = "mqar-bench"
#: The checkout, if this package runs from one.
ROOT = Path(__file__).resolve().parents[3]


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
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        return Project(project["version"], project["requires-python"], tuple(project["dependencies"]))


def find_version(package: str) -> str | None:
    """Of an installed package; None where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def package_versions() -> dict[str, str]:
    """Of this package and of those that numbers come from, where they are installed."""
    packages = (NAME, "torch", "numpy", "numba", "triton", "flash-linear-attention")
    return {package: version for package in packages if (version := find_version(package)) is not None}


@cache
def git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout this package runs from, and whether it has changes; (None, None) outside of one."""
    if not (ROOT / ".git").exists():
        return None, None
    try:
        return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
