"""What goes wrong with Ray and what to do about it: known errors, and the folder that it keeps its sessions in."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

from mqar_bench.basics.machine.disk import free_space

#: Ray keeps logs and sockets in its temporary folder, some hundred kilobytes for a start, and spills memory there.
LITTLE_DISK = 500 * 2**20
#: With less, its processes soon die for want of a place to write, and it does not start.
FULL_DISK = 10 * 2**20

TOKEN = "RAY_AUTH_MODE, and RAY_AUTH_TOKEN or ~/.ray/auth_token, must be the same here and on all nodes of the cluster"
NODE = "this machine must be a node of the cluster: ray start --address=ADDR"
FOLDERS = (
    "Ray writes to its temporary folder, see RAY_TMPDIR, and a token to ~/.ray: make both writable, or do without a"
    " token: export RAY_AUTH_MODE=disabled"
)
ELSEWHERE = "export RAY_TMPDIR=A_SHORT_PATH, on a disk with room"
ROOM = f"free some, or {ELSEWHERE}"

#: How long a cluster may take to be reached.
CONNECT_SECONDS = 5.0

#: What to do about errors, by a part of their text in lower case; the first that occurs counts.
HINTS = {
    "af_unix path": "the path of Ray's sockets is too long: export RAY_TMPDIR=/tmp, or another short one",
    "no space left": "the disk of Ray's temporary folder is full: free some, or export RAY_TMPDIR=A_SHORT_PATH",
    "version mismatch": "use the Ray and the Python of the cluster here",
    "no node info found": NODE,
    "local raylet": NODE,
    "could not find any running ray": "no cluster runs here: start one with ray start --head, or give HOST:PORT",
    "authentication": TOKEN,
    "permission denied": FOLDERS,
    "read-only file system": FOLDERS,
    "no such file": FOLDERS,
}


def find_hint(error: str, address: str | None) -> str | None:
    """What to do about an error of Ray's, by its whole text; ``None`` if it is not known."""
    known = next((hint for part, hint in HINTS.items() if part in error.lower()), None)
    return None if known is None else known.replace("ADDR", address or "ADDR")


def unreachable(address: str) -> str:
    """Why nothing listens at an address of the form ``host:port``, in the system's words; empty if something does."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ""


def temporary_folder() -> Path:
    """As Ray chooses it."""
    names = ["RAY_TMPDIR", *(["TMPDIR"] if sys.platform == "linux" else [])]
    return Path(next((os.environ[name] for name in names if name in os.environ), "/tmp"))


def lack_of_space(least: int = FULL_DISK) -> str:
    """Ray's temporary folder and its free space in words, where that is less than so many bytes; else empty."""
    folder = temporary_folder()
    free = free_space(folder / "ray")
    return f"Ray's temporary folder {folder} has {free / 2**20:.0f} MiB free" if free < least else ""


def dead_agent(logs: Path) -> str:
    """Which agent's end was that of the raylet, as that has written to its log before it ended; empty if none was.

    Ray's agents are processes of which each takes the raylet along, and that the process which drives it.
    """
    try:
        found = re.search(r"agent_name = (\w+)", (logs / "raylet.err").read_text(errors="replace"))
    except OSError:
        return ""
    return found.group(1) if found else ""
