"""What an option of a mixer may be: plain JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mixers.checks import brief

#: Levels of lists and objects within an option.
MAX_DEPTH = 10


def check_json(path: str, value: Any, depth: int) -> None:
    """Whether an option is plain JSON, so that it is the same after its record was written and read."""
    entries: Iterable[tuple[Any, Any]] = ()
    match value:
        case None | bool() | int():
            fine = True
        case float():
            fine = math.isfinite(value)
        case str():
            fine = not any("\ud800" <= character <= "\udfff" for character in value)  # half a pair
        case list() | tuple():
            fine, entries = depth > 0, enumerate(value)
        case dict():
            fine, entries = depth > 0 and all(isinstance(key, str) for key in value), value.items()
        case _:
            fine = False
    if not fine:
        allowed = f"finite numbers, Unicode text, {MAX_DEPTH} levels at most"
        raise ValueError(f"{brief(path)} must be JSON ({allowed}), got {brief(value)}")
    for key, inner in entries:
        check_json(path, key, depth)
        check_json(f"{path}.{key}", inner, depth - 1)
