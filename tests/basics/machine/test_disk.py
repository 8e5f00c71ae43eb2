import shutil
from pathlib import Path

import pytest

from mqar_bench.basics.machine.disk import Mount, find_mount, free_space


@pytest.mark.skipif(shutil.which("findmnt") is None, reason="util-linux is not installed")
def test_the_file_system_of_a_path(monkeypatch, tmp_path):
    assert find_mount(Path("/proc")).type == "proc"
    assert find_mount(tmp_path / "none") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mount(tmp_path) is None


@pytest.mark.parametrize(
    "options, local",
    [("rw,nolock,vers=4.2", True), ("rw,local_lock=posix", True), ("rw,local_lock=none,vers=4.2", False)],
)
def test_locks_that_other_machines_do_not_see(options, local):
    assert Mount("server:/export", "nfs4", options).keeps_locks_local == local


def test_space_where_a_folder_would_be(tmp_path):
    assert free_space(tmp_path / "not" / "there") > 0
