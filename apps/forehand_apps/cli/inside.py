"""A command's continuation in the environment of a simulator."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from forehand.environments import find

APART = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def run_inside(environment: str) -> NoReturn:
    """Replace this process by the same command line in ``environment``, where the robot's simulator is at hand."""
    python = str(find(environment).executable)
    variables = {name: value for name, value in os.environ.items() if name not in APART}
    sys.stdout.flush()
    sys.stderr.flush()
    command = sys.argv[0].split()[1:]  # "forehand record", as Hydra reports it
    os.execve(python, [python, "-m", "forehand_apps", *command, *sys.argv[1:], "++robot.environment=null"], variables)
