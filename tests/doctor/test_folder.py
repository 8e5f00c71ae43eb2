from types import SimpleNamespace

import pytest

from mqar_bench.basics.machine import disk
from mqar_bench.doctor import folder
from tests.doctor.checks import by_name


def test_nothing_is_left_in_the_folder_and_nothing_is_made(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    checks = by_name(folder.check_folder(tmp_path))
    assert {check.mark for check in checks.values()} == {"ok"}
    assert checks["records"].text == "none" and [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    checks = by_name(folder.check_folder(tmp_path / "a" / "b"))
    assert checks["folder"].text == f"{tmp_path / 'a' / 'b'} does not exist yet, and can be made"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    checks = by_name(folder.check_folder(tmp_path / "file" / "results"))
    assert checks["folder"].mark == "FIX" and "cannot be written: Not a directory" in checks["folder"].text
    assert "--results DIR" in checks["folder"].fix

    def read_only(path, data):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(folder, "write_atomically", read_only)
    checks = by_name(folder.check_folder(tmp_path / "new"))
    assert checks["folder"].text.endswith("new cannot be written: Read-only file system")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "lockf, text",
    [
        ("lambda *a: None", "two processes get the same lock"),
        (
            "lambda *a: (_ for _ in ()).throw(OSError(37, 'No locks available'))",
            "files cannot be locked: No locks availa",
        ),
        ("lambda *a: __import__('time').sleep(100)", "they hang"),
    ],
    ids=["shared", "none", "hang"],
)
def test_locks_that_do_not_work(lockf, text, monkeypatch, tmp_path):
    monkeypatch.setattr(folder, "LOCKS", f"import fcntl\nfcntl.lockf = {lockf}\n{folder.LOCKS}")
    monkeypatch.setattr(folder, "LOCK_SECONDS", 1.0)
    check = by_name(folder.check_folder(tmp_path))["locks"]
    assert check.mark == "FIX" and check.text.startswith(text) and "nolock" in check.fix
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_and_files_that_are_no_records(monkeypatch, tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("{}")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    checks = by_name(folder.check_folder(tmp_path))
    assert checks["space"].mark == "FIX" and checks["space"].text == "1 MiB free"
    assert checks["records"].mark == "note" and checks["records"].values["unreadable"] == 2
    assert checks["records"].text.startswith(f"none; not read: {tmp_path / 'a.json'}: not JSON")
    assert checks["records"].text.endswith(", and 1 more")


@pytest.mark.parametrize("option, mark", [("vers=4.2", "ok"), ("nolock", "note")])
def test_a_mount_that_keeps_locks_to_this_machine(option, mark, monkeypatch, tmp_path):
    monkeypatch.setattr(folder, "find_mount", lambda path: disk.Mount("server:/export", "nfs4", f"rw,{option}"))
    check = by_name(folder.check_folder(tmp_path))["file system"]
    assert (check.mark, check.text) == (mark, "nfs4 of server:/export")
