"""Child processes of the tests that hang say where."""

import subprocess
import sys

import pytest
from tests.child_process import ChildProcess, run_child

STUCK = """
import subprocess, sys, time
def stuck():
    time.sleep(600)
if sys.argv[1:]:
    print("ready", flush=True)
    stuck()
subprocess.run([sys.executable, sys.argv[0], "child"])
"""


def test_one_that_hangs_says_where_it_and_its_children_stood(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(STUCK)
    process = ChildProcess([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.abort()
    with pytest.raises(AssertionError, match=r"did not end within 450 s(?s:.*)in stuck"):
        process.finish()
    with pytest.raises(AssertionError, match="in stuck"):
        process.end()


def test_one_past_its_deadline_is_ended():
    with pytest.raises(AssertionError, match="did not end within 0 s"):
        run_child([sys.executable, "-c", "import time; time.sleep(600)"], deadline=0)


def test_one_that_fails_is_told_with_what_it_said():
    with pytest.raises(AssertionError, match="no such thing"):
        run_child([sys.executable, "-c", "raise SystemExit('no such thing')"], check=True)
    process = ChildProcess([sys.executable, "-c", "raise SystemExit('gone')"], stderr=subprocess.PIPE)
    with pytest.raises(AssertionError, match=r"ended early(?s:.*)gone"):
        process.wait_until(lambda: False)
    process.end()
