"""What a user did wrong, as opposed to what went wrong; and either in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Characters of a message apart from its path.
MAX_TEXT = 300


class UsageError(ValueError):
    """A mistake of the user's, said in one line."""


def hint(given: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known."""
    known = list(known)
    close = difflib.get_close_matches(given, known, 1)
    return f": did you mean {close[0]!r}?" if close else f": there is {', '.join(known)}"


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
