"""Ray's temporary folder, and what to do about errors of Ray's that say too little."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Ray keeps logs and sockets in its temporary folder, and warns of a disk that is almost full.
LITTLE_DISK = 500 * 2**20

TOKEN = "RAY_AUTH_MODE, and RAY_AUTH_TOKEN or ~/.ray/auth_token, must be the same here and on all nodes of the cluster"
_NODE = "this machine must be a node of the cluster: ray start --address={address}"
_FOLDERS = (
    "Ray writes to its temporary folder, see RAY_TMPDIR, and a token to ~/.ray: make both writable, or do without a"
    " token: export RAY_AUTH_MODE=disabled"
)

#: By a part of the error's text in lower case; the first that occurs counts.
_HINTS = {
    "af_unix path": "the path of Ray's sockets is too long: export RAY_TMPDIR=/tmp, or another short one",
    "no space left": "the disk of Ray's temporary folder is full: free some, or export RAY_TMPDIR=A_SHORT_PATH",
    "version mismatch": "use the Ray and the Python of the cluster here",
    "no node info found": _NODE,
    "local raylet": _NODE,
    "could not find any running ray": "no cluster runs here: start one with ray start --head, or give HOST:PORT",
    "authentication": TOKEN,
    "permission denied": _FOLDERS,
    "read-only file system": _FOLDERS,
    "no such file": _FOLDERS,
}


def find_hint(error: str, address: str | None = None) -> str | None:
    """What to do about an error of Ray's, by its text; None if it is not known.

    Args:
        address: of the cluster that was to be joined.
    """
    known = (hint for part, hint in _HINTS.items() if part in error.lower())
    return next((hint.replace("{address}", address or "HOST:PORT") for hint in known), None)


def temporary_folder() -> Path:
    """Where Ray keeps its sessions (their sockets, logs, and what does not fit into memory), as it chooses it."""
    names = ["RAY_TMPDIR", *(["TMPDIR"] if sys.platform == "linux" else [])]
    return Path(next((os.environ[name] for name in names if name in os.environ), "/tmp"))
