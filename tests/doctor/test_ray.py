import importlib.util
import json
import socket
import textwrap
from types import SimpleNamespace

import pytest

from mqar_bench.basics.machine import disk
from mqar_bench.basics.machine.processes import Ended, session
from mqar_bench.doctor import ray_check

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture
def stand_in_ray(monkeypatch, tmp_path):
    """Has the probe import a package ray of this text."""

    def make(text):
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "__init__.py").write_text(textwrap.dedent(text))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return make


@needs_ray
def test_a_ray_that_hangs_is_told_and_ended(stand_in_ray, tmp_path):
    stand_in_ray(f"""
        import os, pathlib, subprocess, time
        def init(**options):
            pathlib.Path({str(tmp_path)!r}, "leader").write_text(str(os.getpid()))
            subprocess.Popen(["sleep", "1000"], process_group=0)
            time.sleep(1000)
    """)
    *_, check = ray_check.check_ray(None, False, seconds=1.5)
    assert (check.name, check.mark, check.text) == ("private Ray", "FIX", "no answer within 2 s")
    assert "firewall" in check.fix and "session_latest/logs" in check.fix
    assert session(int((tmp_path / "leader").read_text())) == []


@needs_ray
def test_an_error_of_ray_is_told_with_its_cause(stand_in_ray):
    stand_in_ray("""
        def init(**options):
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise ConnectionError("cannot start") from error
    """)
    *_, check = ray_check.check_ray(None, False)
    assert check.text == "ConnectionError: cannot start, because of [Errno 28] No space left on device"
    assert check.fix.startswith("the disk of Ray's temporary folder is full")


@pytest.mark.parametrize(
    "address, error, fix",
    [
        (None, "AF_UNIX path length cannot exceed 107 bytes: /x", "export RAY_TMPDIR=/tmp"),
        (None, "[Errno 13] Permission denied: '/root/.ray'", "RAY_TMPDIR"),
        (None, "something new", "firewall"),
        ("h:1", "Authentication is enabled but no token was found", "RAY_AUTH_TOKEN or ~/.ray/auth_token"),
        ("h:1", "No node info found matching attributes", "ray start --address=h:1"),
        ("h:1", "something new", "RAY_AUTH_TOKEN or ~/.ray/auth_token"),
    ],
)
def test_what_to_do_about_errors_of_ray(address, error, fix):
    ended = Ended(0, "a warning\n" + json.dumps({"error": error, "kind": "OSError"}) + "\n", "")
    check = ray_check.judge(ended, address, False, 60)
    assert check.mark == "FIX" and check.text == f"OSError: {error}" and fix in check.fix


def test_a_ray_that_dies_or_finds_no_gpu():
    died = ray_check.judge(Ended(-11, "", "first\nFatal: it is over"), None, False, 60)
    assert died.mark == "FIX" and died.text.endswith("ended with code -11: Fatal: it is over")
    answer = {"version": "2.40", "nodes": 3, "cpus": 96.0, "gpus": 0.0, "host": "node7"}
    ended = Ended(0, json.dumps(answer), "")
    assert ray_check.judge(ended, "h:1", False, 60).text == (
        "2.40 joined it and ran a task on node7: 3 nodes, 96 CPUs, 0 GPUs"
    )
    assert ray_check.judge(ended, None, True, 60).text.endswith("96 CPUs, 0 GPUs, though torch sees a GPU")
    assert ray_check.judge(ended, None, True, 60).mark == "FIX"


def test_addresses_where_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ray_check.check_address(f"127.0.0.1:{port}") == []
    for address, text in (
        (f"127.0.0.1:{port}", "cannot be reached: Connection refused"),
        ("somewhere", "is no address"),
        ("127.0.0.1:99999", "cannot be reached: "),
        ("ray://127.0.0.1:10001", "Ray's client is not supported"),
    ):
        (check,) = ray_check.check_address(address)
        assert check.mark == "FIX" and check.text.startswith(text) and check.fix
    assert ray_check.check_address("auto") == []


def test_a_temporary_folder_of_ray_that_is_full(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "not" / "there"))
    assert ray_check.check_temporary_folder().mark == "ok"
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    assert ray_check.check_temporary_folder().mark == "FIX"


@needs_ray
def test_a_private_ray_and_a_cluster_to_join():
    """A real one, which serves as the cluster too: about 15 seconds on two cores."""
    import ray

    assert [(check.mark, check.name) for check in ray_check.check_ray(None, False)] == [
        ("ok", "temporary folder"),
        ("ok", "private Ray"),
    ]
    context = ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    try:
        (check,) = ray_check.check_ray(context.address_info["gcs_address"], False)
    finally:
        ray.shutdown()
    assert check.mark == "ok", check
    assert check.values["nodes"] == 1 and check.values["host"] == socket.gethostname()
