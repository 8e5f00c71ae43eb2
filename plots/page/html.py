"""Text for HTML, so that nothing in it can be taken for more than text."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any


def escape(text: str) -> str:
    return html.escape(text, quote=True)


def paragraph(text: str) -> str:
    """Escaped, with what stands between backticks as code.

    >>> paragraph("at `paper`, a < b")
    '<p>at <code>paper</code>, a &lt; b</p>'
    """
    return f"<p>{inline(text)}</p>"


def inline(text: str) -> str:
    return re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", escape(text))


def table(name: str, header: Sequence[str], rows: Iterable[Sequence[str]], widths: str = "") -> str:
    """A table that sorts and filters where scripts run; its cells are HTML already.

    Args:
        name: what it is of, for those who cannot see where it stands.
        header: names of the columns, as text.
        rows: cells, as HTML.
        widths: a class of its style.
    """
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="sorted {widths}" aria-label="{escape(name)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def link_run(run_id: str) -> str:
    """A link that opens a run's record."""
    return f'<a href="#run={escape(run_id)}">{escape(run_id[:8])}</a>'


def data(name: str, value: Any) -> str:
    """A value for scripts to read, as JSON in which no tag can begin or end."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="{name}">{text.replace("<", chr(92) + "u003c")}</script>'


def script(code: str) -> tuple[str, str]:
    """An inline script, and the source expression that allows it, and only it, under a content security policy."""
    code = code.replace("</script", r"<\/script").replace("<!--", r"<\!--")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return f"<script>{code}</script>", f"'sha256-{digest}'"
