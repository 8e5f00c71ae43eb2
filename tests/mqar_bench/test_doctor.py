import contextlib
import importlib.metadata
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import mixers
from mixers.base import EngineChoice
from mqar_bench.cli import app
from mqar_bench.doctor import engines, examine, folder, limits, machine, ray_check, versions
from mqar_bench.doctor.check import Check, Section
from mqar_bench.doctor.mounts import find_mount
from mqar_bench.doctor.processes import Ended, run_bounded, session
from mqar_bench.doctor.report import print_section

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
GIB = 2**30
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


def by_name(checks):
    return {check.name: check for check in checks}


def doctor(*words):
    return CliRunner().invoke(app, ["doctor", *map(str, words)])


# ---- the command


def test_all_of_it_without_ray(tmp_path):
    results = tmp_path / "a" / "results"
    result = doctor("--no-ray", "--results", results, "--format", "json")
    found = json.loads(result.stdout)
    checks = {check["name"]: check for section in found["sections"] for check in section["checks"]}
    assert [check for check in checks.values() if check["mark"] == "FIX"] == [], result.stdout
    assert result.exit_code == found["fixes"] == 0
    assert set(mixers.names()) | {"torch", "ray", "CPU", "memory", "--gpus-per-run", "locks", "records"} <= set(checks)
    assert all(checks[name]["values"]["works"] for name in mixers.names())
    assert checks["folder"]["values"] == {"exists": False} and checks["ray"]["text"] == "not tried"
    assert list(tmp_path.iterdir()) == []


def test_something_to_fix_gives_exit_code_1_and_is_counted(monkeypatch, tmp_path):
    sections = [
        Section("Ray", (Check("ray", "hangs", "FIX", "give it time"), Check("wheel", "turns"))),
        Section("Records", (Check("disk", "full", "FIX"), Check("old", "is", "note"))),
    ]
    monkeypatch.setattr(examine, "examine", lambda *arguments: (section for section in sections))
    result = doctor("--results", tmp_path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "Ray", "  FIX   ray    hangs", "               give it time", "  ok    wheel  turns", "",
        "Records", "  FIX   disk  full", "  note  old   is", "",
        "2 things to fix",
    ]  # fmt: skip


def test_an_address_without_ray_is_a_mistake(tmp_path):
    result = doctor("--no-ray", "--address", "10.0.0.1:6379", "--results", tmp_path)
    assert result.exit_code == 2 and "--address and --no-ray exclude each other" in result.stderr


def test_without_torch_the_versions_are_told(tmp_path):
    code = textwrap.dedent("""
        import importlib.metadata, sys

        class NoTorch:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "torch":
                    raise ModuleNotFoundError("No module named 'torch'", name="torch")

        def version(name, real=importlib.metadata.version):
            if name == "torch":
                raise importlib.metadata.PackageNotFoundError(name)
            return real(name)

        sys.meta_path.insert(0, NoTorch())
        importlib.metadata.version = version
        from mqar_bench.cli import main
        main()
    """)
    command = [sys.executable, "-c", code, "doctor", "--results", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stderr) == (1, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    at = lines.index("FIX torch missing, needs >=2.11")
    assert lines[at + 1] == "pip install 'torch>=2.11'"
    assert "note imports not looked at: ModuleNotFoundError: No module named 'torch'" in lines
    assert lines[-1] == "1 thing to fix"


# ---- versions


def test_every_requirement_is_held_against_what_is_there(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.12.1" if name == "numba" else real(name)

    assert {check.mark for check in versions.check_versions()} == {"ok"}
    monkeypatch.setattr(importlib.metadata, "version", version)
    checks = by_name(versions.check_versions())
    assert {"mqar-bench", "python", "torch", "flash-linear-attention", "ray", "pydantic", "numpy", "pandas"} <= set(
        checks
    )
    assert not {"pytest", "zoology"} & set(checks)  # extras
    assert {name for name, check in checks.items() if check.mark == "FIX"} == {"ray", "numba"}
    assert checks["ray"].text == "missing, needs >=2.40" and checks["ray"].fix == "pip install 'ray>=2.40'"
    assert checks["numba"].text == "0.12.1, needs >=0.61" and checks["numba"].fix == "pip install 'numba>=0.61'"


def test_a_checkout_that_is_not_installed_says_the_same(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    installed = versions.read_project()
    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    checkout = versions.read_project()
    assert (checkout.version, checkout.python) == (installed.version, installed.python)
    assert len(checkout.requires) == sum("extra" not in requirement for requirement in installed.requires) > 10


# ---- machine


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_limits_of_control_groups(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n",
            "proc/self/cgroup": "0::/slice/job\n",
            "sys/fs/cgroup/slice/cpu.max": "100000 100000",
            "sys/fs/cgroup/slice/job/cpu.max": "max 100000",
            "sys/fs/cgroup/slice/job/memory.max": str(4 * GIB),
            "sys/fs/cgroup/slice/job/memory.current": str(3 * GIB),
            "sys/fs/cgroup/slice/job/memory.stat": f"anon 5\ninactive_file {GIB}",
            "sys/fs/cgroup/slice/memory.max": "max",
        },
    )
    assert limits.measure_memory(tmp_path) == (4 * GIB, 2 * GIB, True)
    cores = limits.count_cores(tmp_path)
    assert (cores.usable, cores.limit) == (1, 1.0)


def test_limits_of_control_groups_of_version_1(tmp_path):
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n",
            # in a container the folder is not found where the host has it, only the group's own at the top
            "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
        },
    )
    assert limits.measure_memory(tmp_path) == (16 * GIB, 8 * GIB, False)
    assert limits.count_cores(tmp_path).limit == 1.5


def test_no_control_groups(tmp_path):
    memory, cores = limits.measure_memory(tmp_path), limits.count_cores(tmp_path)
    assert memory.total > 0 and memory.available is None and not memory.limited
    assert cores.usable == len(os.sched_getaffinity(0)) and cores.limit is None


def test_more_threads_than_cores_and_threads_that_spin_are_noted(monkeypatch):
    monkeypatch.setattr(machine, "count_cores", lambda: limits.Cores(2, 64, 2.5))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    checks = by_name(machine.check_machine())
    assert "2 usable cores of 64 (control group: 2.5)" in checks["CPU"].text
    assert checks["threads"].mark == "note" and checks["threads"].fix.endswith("export OMP_NUM_THREADS=2")
    assert checks["OMP_WAIT_POLICY"].mark == "note" and checks["NUMBA_DISABLE_JIT"].mark == "note"


@pytest.mark.parametrize(
    "built_for, visible, mark, fix",
    [
        (None, None, "FIX", "pip uninstall -y torch && pip install torch"),
        ("12.8", "", "note", "unset CUDA_VISIBLE_DEVICES"),
        ("12.8", None, "FIX", "the driver must support CUDA 12.8"),
    ],
    ids=["cpu-build", "hidden", "driver"],
)
def test_a_gpu_that_torch_does_not_see(built_for, visible, mark, fix, monkeypatch, tmp_path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho NVIDIA H200\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    (check,) = machine.check_gpus()
    assert check.text.startswith("NVIDIA H200, which torch does not see: ")
    assert check.mark == mark and check.fix.startswith(fix)


def test_a_gpu_is_described(monkeypatch):
    stand_ins = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": lambda index: SimpleNamespace(name="Tesla T4", major=7, minor=5),
        "device": contextlib.nullcontext,
        "is_bf16_supported": lambda including_emulation: False,
        "mem_get_info": lambda: (12 * GIB, 15 * GIB),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    checks = by_name(machine.check_machine())
    assert checks["GPU 0"].text == "Tesla T4, 12.00 GiB available of 15.00 GiB, compute capability 7.5, no bf16"
    assert checks["--gpus-per-run"].values == {"default": 1}


# ---- engines


class Stand(mixers.SequenceMixer):
    """A mixer that can be told what to give."""

    factor, reason = 1.0, None

    def __init__(self, d_model, layer_idx=None):
        super().__init__(d_model, layer_idx)
        self.weight = torch.nn.Parameter(torch.ones(d_model))

    def engine(self, device, dtype=torch.float32, decoding=False):
        return EngineChoice("step" if decoding else "chunk", self.reason)

    def forward(self, x):
        if self.factor == 0:
            raise RuntimeError("cannot cache function '_decode_rows': no locator available for file 'x.py'\nmore")
        return x * self.weight * self.factor


def check_stand(monkeypatch, **attributes):
    monkeypatch.setattr(mixers, "build", lambda name, d_model: type("Told", (Stand,), attributes)(d_model))
    return engines.check_mixer("told", CPU, lambda text: None)


def test_a_mixer_that_works_one_that_does_not_and_one_that_is_slow(monkeypatch):
    works = check_stand(monkeypatch)
    assert works.mark == "ok" and works.text.split() == ["chunk", "step", "works"]
    assert works.values == {"training": "chunk", "decoding": "step", "works": True}
    assert engines.explain([works]).startswith("chunk: PyTorch, in chunks")
    broken = check_stand(monkeypatch, factor=0)
    assert broken.mark == "FIX" and "NUMBA_CACHE_DIR" in broken.fix and not broken.values["works"]
    assert "RuntimeError: cannot cache function" in broken.text and "more" not in broken.text
    infinite = check_stand(monkeypatch, factor=float("inf"))
    assert infinite.mark == "FIX" and infinite.text.endswith("gives numbers that are not finite")
    slow = check_stand(monkeypatch, reason="fla needs the package fla: pip install flash-linear-attention")
    assert slow.mark == "note" and slow.text.endswith("pip install flash-linear-attention")


def test_looking_at_mixers_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    heard = []
    assert engines.check_mixer("gla", CPU, heard.append).mark == "ok" and heard == ["gla"]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_numba_is_what_ramnet_says(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    check = engines.check_mixer("ramnet", CPU, lambda text: None)
    assert check.mark == "FIX" and "RAM-Net's cpu engine needs the package numba: pip install numba" in check.text


# ---- processes and Ray


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = "import subprocess, sys, os, time; print(os.getpid(), flush=True);"
    code += "subprocess.Popen(['sleep', '1000'], process_group=0); time.sleep(1000)"
    ended = run_bounded([sys.executable, "-c", code], 0.5)
    assert ended.code is None and session(int(ended.stdout)) == []


def test_a_command_that_ends_leaves_nothing_either():
    ended = run_bounded(["sh", "-c", "sleep 1000 & echo $$; echo two >&2; exit 3"], 10)
    assert (ended.code, ended.stderr) == (3, "two\n") and session(int(ended.stdout)) == []
    assert run_bounded(["no-such-command"], 10).code == 127


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
    monkeypatch.setattr(ray_check.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
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


# ---- the folder of records


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
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    checks = by_name(folder.check_folder(tmp_path))
    assert checks["space"].mark == "FIX" and checks["space"].text == "1 MiB free"
    assert checks["records"].mark == "note" and checks["records"].values["unreadable"] == 2
    assert checks["records"].text.startswith(f"none; not read: {tmp_path / 'a.json'}: not JSON")
    assert checks["records"].text.endswith(", and 1 more")


def test_the_file_system_of_a_path(tmp_path):
    (tmp_path / "my data" / "x").mkdir(parents=True)
    mounts = tmp_path / "mounts"
    at = str(tmp_path / "my data").replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {at} nfs4 rw,nolock,vers=4.2 0 0\n")
    found = find_mount(tmp_path / "my data" / "x", mounts)
    assert (found.source, found.type, found.is_network, found.keeps_locks_local) == (
        "server:/export",
        "nfs4",
        True,
        True,
    )
    assert not find_mount(tmp_path, mounts).is_network
    assert find_mount(tmp_path, tmp_path / "none") is None


# ---- how it reads


def test_lines_are_folded_to_a_terminal_and_left_whole_in_a_file():
    section = Section("Ray", (Check("ray", "word " * 20, "FIX", "pip install " + "x" * 60),), "a legend")
    out = io.StringIO()
    print_section(section, Console(file=out, force_terminal=True, color_system=None, width=50))
    lines = out.getvalue().splitlines()
    assert len(lines) == 8 and max(map(len, lines[:4])) <= 50
    assert "x" * 60 in out.getvalue()  # a long word stays whole
    out = io.StringIO()
    print_section(section, Console(file=out, width=50))
    assert len(out.getvalue().splitlines()) == 5
