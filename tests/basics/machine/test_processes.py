import sys

from mqar_bench.basics.machine.processes import run_bounded, session


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = "import subprocess, sys, os, time; print(os.getpid(), flush=True);"
    code += "subprocess.Popen(['sleep', '1000'], process_group=0); time.sleep(1000)"
    ended = run_bounded([sys.executable, "-c", code], 0.5)
    assert ended.code is None and session(int(ended.stdout)) == []


def test_a_command_that_ends_leaves_nothing_either():
    ended = run_bounded(["sh", "-c", "sleep 1000 & echo $$; echo two >&2; exit 3"], 10)
    assert (ended.code, ended.stderr) == (3, "two\n") and session(int(ended.stdout)) == []
    assert run_bounded(["no-such-command"], 10).code == 127
