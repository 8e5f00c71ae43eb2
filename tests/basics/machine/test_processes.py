import os
import subprocess
import sys

import pytest

from mqar_bench.basics.machine.processes import SEES_SESSIONS, processes, run_bounded, session


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = "import subprocess, sys, os, time; print(os.getpid(), flush=True);"
    code += "subprocess.Popen(['sleep', '1000'], process_group=0); time.sleep(1000)"
    ended = run_bounded([sys.executable, "-c", code], 0.5)
    assert ended.code is None and session(int(ended.stdout)) == []


def test_a_command_that_ends_leaves_nothing_either():
    ended = run_bounded(["sh", "-c", "sleep 1000 & echo $$; echo two >&2; exit 3"], 10)
    assert (ended.code, ended.stderr) == (3, "two\n") and session(int(ended.stdout)) == []
    assert run_bounded(["no-such-command"], 10).code == 127


@pytest.mark.skipif(not SEES_SESSIONS, reason="looks at /proc")
def test_a_process_that_ends_while_one_looks_is_left_out():
    ending = subprocess.Popen(["sleep", "1000"])
    listed = processes()
    assert int(next(listed)[1][3]) >= 0
    ending.kill()
    ending.wait()
    found = dict(listed)
    assert ending.pid not in found and os.getpid() in found
