"""Commands: in this process, and in processes of their own."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from tests.child_process import ChildProcess, run_child

from forehand.utils.video import Encoding, VideoWriter

from . import browser as browsers

PLUGINS = "stock,seer,robots,tabletop"
PROGRAM = (sys.executable, "-c", "from forehand_apps.main import main; main()")
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("FOREHAND_DEBUG", "HYDRA_FULL_ERROR")}
ENVIRONMENT |= {"FOREHAND_PLUGINS": PLUGINS, "OMP_NUM_THREADS": "1"}
SIGNALLED = """
import fnmatch, os, sys

left = {count}

def watch(event, arguments):
    global left
    if event == "os.rename" and fnmatch.fnmatch(os.fspath(arguments[1]), {pattern!r}):
        left -= 1
        if left == 0:
            os.killpg(0, {number})

sys.addaudithook(watch)
"""


@pytest.fixture(scope="session")
def program():
    """The command's first words, and the environment to run it in."""
    return PROGRAM, ENVIRONMENT


@pytest.fixture
def forehand(in_process):
    """Runs one command in this process, in an empty folder; gives its CompletedProcess."""

    def run(*arguments, **variables):
        return in_process(*arguments, **{"FOREHAND_PLUGINS": PLUGINS, **variables})

    return run


@pytest.fixture
def process(tmp_path):
    """Runs one command in a process of its own, in an empty folder; gives its CompletedProcess."""

    def run(*arguments, **variables):
        return run_child([*PROGRAM, *arguments], cwd=tmp_path, env={**ENVIRONMENT, **variables})

    return run


@pytest.fixture
def begun(tmp_path):
    """Starts one command and does not wait for it; gives its process, with pipes for what it says.

    It is in a group of its own, as where a shell starts it. With ``signalled=(number, pattern, count)``, that group
    gets the signal ``number`` as soon as the command has finished ``count`` files that match ``pattern``, each
    written as a whole (``replacing``): a test that sent it would be too late whenever it has to wait for a processor.
    """
    processes = []

    def begin(*arguments, signalled=None, **variables):
        words = list(PROGRAM)
        if signalled:
            number, pattern, count = signalled
            words[-1] = SIGNALLED.format(number=int(number), pattern=pattern, count=count) + words[-1]
        process = ChildProcess(
            [*words, *arguments],
            cwd=tmp_path,
            env={**ENVIRONMENT, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.end()


@pytest.fixture
def started(begun):
    """Starts a command that serves, for the length of a ``with`` block; gives its process and its address."""

    @contextmanager
    def start(*arguments):
        process = begun(*arguments)
        line = process.stdout.readline()
        assert " on tcp://" in line, process.communicate()
        try:
            yield process, line.split()[-1]
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(300)

    return start


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser as narrow as a telephone; skips where there is none."""
    if browsers.PROGRAM is None:
        pytest.skip(f"there is no browser: none of {', '.join(browsers.NAMES)}")
    found = browsers.Browser(tmp_path_factory.mktemp("browser"), width=390)
    yield found
    found.close()


@pytest.fixture
def film(tmp_path):
    """A film of one second, ten frames from black to white."""
    path = tmp_path / "film.mp4"
    writer = VideoWriter(path, 10, 32, 32, Encoding())
    for gray in range(0, 250, 25):
        writer.write(np.full((32, 32, 3), gray, np.uint8))
    writer.close()
    return path
