"""The Zoology that an experiment file lies in, or one of its many forks: what its classes take, read off their source.

Nothing of it is executed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from mqar_bench.basics.errors import UsageError
from mqar_bench.zoology.shim import ModuleConfig

#: Of what a class or a function takes: name to default.
Defaults = Mapping[str, Any]


class Default(Enum):
    """Where there is none, or one that only executing the code would tell."""

    REQUIRED = "required"
    UNREADABLE = "unreadable"


class Checkout:
    """The package at ``root``; None where there is none, of which nothing is known."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._read: dict[Path, dict[str, ast.ClassDef | ast.FunctionDef]] = {}

    @classmethod
    def around(cls, path: Path) -> Checkout:
        """The one that a file lies in, else the one that is installed."""
        folders = [each for p in path.resolve().parents for each in (p, p / "zoology") if each.name == "zoology"]
        folders += [Path(folder) / "zoology" for folder in sys.path]
        found = (f for f in folders if (f / "config.py").is_file() or (f / "experiments").is_dir())
        return cls(next(found, None))

    def fields(self, modules: Iterable[str], name: str) -> Defaults | None:
        """The fields of a class of settings, those of its bases too, or None if no such class is found."""
        files = [file for module in modules for file in self._files(module)]
        return next((self._fields(file, name) for file in files if name in self._definitions(file)), None)

    def arguments(self, module: str, name: str) -> Defaults | None:
        """What a function takes, or the constructor of a class, or None if no such thing is found."""
        for file in self._files(module):
            node = self._definitions(file).get(name)
            if isinstance(node, ast.ClassDef):
                node = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            if node is not None:
                return _arguments(node.args)
        return None

    def _files(self, module: str) -> list[Path]:
        """Where the contents of a module, or what a package brings up, may be defined."""
        if self.root is None:
            return []
        place = self.root.joinpath(*module.split(".")[1:])
        files = (place.with_suffix(".py"), place / "__init__.py", place / f"{place.name}.py")
        return [file for file in files if file.is_file()]

    def _definitions(self, file: Path) -> dict[str, ast.ClassDef | ast.FunctionDef]:
        """The classes and functions of a file, by name."""
        if file not in self._read:
            try:
                body = ast.parse(file.read_bytes()).body
            except (OSError, SyntaxError, ValueError, RecursionError) as error:
                line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
                raise UsageError(
                    f"{file}{line}: it would say which fields there are, but cannot be read: {error}"
                ) from None
            self._read[file] = {node.name: node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        return self._read[file]

    def _fields(self, file: Path, name: str) -> dict[str, Any]:
        node, found = self._definitions(file)[name], dict[str, Any]()
        if not isinstance(node, ast.ClassDef):
            return found
        for base in reversed(node.bases):
            inherited = ast.unparse(base).rpartition(".")[2]
            there = [f for f in (file, *self._files("zoology.config")) if inherited in self._definitions(f)]
            if there and inherited != name:
                found |= self._fields(there[0], inherited)
        own = [n for n in node.body if isinstance(n, ast.AnnAssign) and "ClassVar" not in ast.unparse(n.annotation)]
        return found | {n.target.id: _value(n.value) for n in own if isinstance(n.target, ast.Name)}


def _arguments(args: ast.arguments) -> dict[str, Any]:
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return {argument.arg: _value(default) for argument, default in pairs}


def _value(node: ast.expr | None) -> Any:
    """A default that is written out: plain values, and what Zoology writes around such."""
    if node is None or (isinstance(node, ast.Constant) and node.value is ...):
        return Default.REQUIRED
    if isinstance(node, ast.Call):
        values = {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
        plain = len(values) == len(node.keywords) and not any(isinstance(v, Default) for v in values.values())
        match ast.unparse(node.func).rpartition(".")[2], node.args:
            case "Field", [first]:
                return _value(first)
            case "Field", [] if not {"default", "default_factory"} & values.keys():
                return Default.REQUIRED
            case "Field", []:
                return values.get("default", Default.UNREADABLE)
            case "ModuleConfig" | "FunctionConfig", [] if plain and "name" in values:
                return ModuleConfig(**values)
            case "dict", [] if plain:
                return values
        return Default.UNREADABLE
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return Default.UNREADABLE
