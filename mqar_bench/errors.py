"""What a user did wrong, as opposed to what went wrong; either in one line."""

from __future__ import annotations

#: Characters of a message apart from its path.
MAX_TEXT = 300


class UsageError(ValueError):
    """A mistake of the user's, said in one line."""


def one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
