"""No room for a record."""

import contextlib
import resource
import subprocess
from pathlib import Path

import pytest

from mqar_bench.records.archive import pack
from mqar_bench.records.store import Store, StoreError
from tests.records.made_up import RATES, contents, files, record


@contextlib.contextmanager
def full_disk(root: Path):
    filler = root / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    yield
    filler.unlink()


@contextlib.contextmanager
def limited_files(root: Path):
    """Where nothing can be mounted: no file may have more than 1000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(params=["disk", "limit"])
def small(request, tmp_path):
    """A store, and a context in which there is no room for another record."""
    root = tmp_path / "small"
    root.mkdir()
    if request.param == "limit":
        yield Store(root), limited_files
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(root)]
    with contextlib.suppress(OSError):
        if subprocess.run(mount, capture_output=True).returncode == 0:
            yield Store(root), full_disk
            subprocess.run(["umount", str(root)], check=True)
            return
    pytest.skip("mounting is not allowed")


def test_no_room_for_a_record(small):
    store, no_room = small
    for rate in RATES:
        store.write(record(rate))
    before = contents(store.root)
    with no_room(store.root):
        for _ in range(3):
            with pytest.raises(StoreError, match=r"^cannot write .*\.json: (No space left on device|File too large)$"):
                store.write(record(4e-3))
            with pytest.raises(StoreError, match=r"^cannot write .*\.json: "):
                store.write(record(1e-3, accuracy=0.9))
        assert store.results() == ([record(rate) for rate in RATES], [])
    assert contents(store.root) == before
    store.write(record(4e-3))
    assert len(store.results()[0]) == 4


def test_no_room_to_pack(small):
    store, no_room = small
    for rate in RATES:
        store.write(record(rate))
        pack(store)
    for rate in RATES[:2]:
        store.write(record(rate, accuracy=0.9))
    before = contents(store.root)
    with no_room(store.root):
        with pytest.raises(StoreError, match=r"^cannot write .*s-demo\.jsonl: (No space left on|File too large)"):
            pack(store)
        assert sorted(result.accuracy for result in store.results()[0]) == [0.5, 0.9, 0.9]
    assert contents(store.root) == before
    pack(store)
    assert files(store.root) == ["s-demo.jsonl"]
    assert sorted(result.accuracy for result in store.results()[0]) == [0.5, 0.9, 0.9]
