"""What lies at a dotted path: classes of the user's own, which nothing registers."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from mixers.checks import brief


class NotFound(ValueError):
    """There is no such module, or nothing of that name in it; one line."""


def find_at(path: str, kind: str) -> Any:
    """What is at a dotted path such as ``my_package.Mine``, after importing its module.

    Args:
        path: with at least one dot; its parts are identifiers.
        kind: what it should be, for the message: ``mixer``.

    Raises:
        NotFound: there is no such module, or it has no such name.
        Exception: what the module raises, as it is.
    """
    module_name, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise  # the module is there, but something it imports is not
        raise NotFound(f"{kind} {brief(path)}: there is no module {brief(error.name)}") from None
    found = getattr(module, attribute, None)
    if found is None:
        close = difflib.get_close_matches(attribute, vars(module), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise NotFound(f"{kind} {brief(path)}: module {brief(module_name)} has no {brief(attribute)}{hint}")
    return found
