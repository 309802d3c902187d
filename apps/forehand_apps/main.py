"""The ``forehand`` command: dispatch of its subcommands.

A command is a module ``forehand_apps.<command>`` with one function of that name, which takes its configuration, and a
file ``conf/<command>.yaml``; :data:`forehand_apps.cli.MODULES` has those whose names Python keeps for itself. The module
is imported when its command runs and not before, so that help and the commands that need no torch start at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

COMMANDS: Mapping[str, str] = {
    "record": "record demonstrations of a scripted expert as a LeRobotDataset",
    "import": "bring recordings in another format into a LeRobotDataset with a contract",
    "train": "learn a policy from a dataset",
    "serve": "offer a policy to robots over ZeroMQ",
    "robot": "offer a robot, real or simulated, over ZeroMQ",
    "run": "let a policy drive a robot under one instruction",
    "eval": "evaluate a policy over seeded episodes of a benchmark",
    "gallery": "show a benchmark's environments, tasks and disturbances on one page",
    "keys": "manage the keys of computers that may connect to this one, and of those to trust",
    "plugins": "list plugins and the parts they offer",
    "convert": "bring weights from another project's files, or take them back",
    "doctor": "check this computer",
    "demo": "all of it in a few minutes: record, train, serve, drive, evaluate, and a page with the results",
}

CHOOSES: Mapping[str, str] = {"convert": "converter", "import": "importer"}
"""Commands that may be followed by a bare word, and what it chooses."""

PAGE = """\
Forehand: robot policies that look before they act.

From demonstrations to a driven robot, one line a step:

  forehand record robot=tabletop output=data/blocks        demonstrations by a scripted expert
  forehand train dataset=data/blocks output=outputs/first  a policy learns to foresee and to act
  forehand serve policy.checkpoint=outputs/first           one terminal: the policy server
  forehand robot robot=tabletop                            another: the robot host
  forehand run robot=remote policy.address=tcp://localhost:5555 instruction='lift the red block' max_steps=150
  forehand eval policy.checkpoint=outputs/first            how often does it succeed?

Commands:

{commands}

  forehand <command> --help     what it does, examples, and every option with what it means

Options are written key=value (hydra.cc). Also useful: -m sweeps over comma-separated values, --cfg job prints the
configuration and stops. FOREHAND_DEBUG=1 shows the traceback behind an error.
"""


def main() -> None:
    """Entry point of the ``forehand`` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        listing = "\n".join(f"  {name:<{width}}  {sentence}" for name, sentence in COMMANDS.items())
        print(PAGE.format(commands=listing), end="")
        return 0
    if arguments[0] == "--version":
        from forehand import __version__

        print(f"forehand {__version__}")
        return 0
    command, *rest = arguments
    if command in CHOOSES and rest and rest[0].isidentifier():
        rest[0] = f"{CHOOSES[command]}={rest[0]}"
    if command not in COMMANDS:
        from forehand.errors import nearest

        print(f"There is no command {command!r}. {nearest(command, COMMANDS)} See forehand --help.", file=sys.stderr)
        return 2
    from forehand_apps.cli import launch

    return launch(command, rest)
