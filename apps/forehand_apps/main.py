"""The ``forehand`` command: dispatch of its subcommands.

A command is a module ``forehand_apps.commands.<command>`` with one function of that name, which takes its configuration,
and a file ``conf/<command>.yaml``; those of two words, such as ``data check``, are called ``data_check`` there, and
:data:`forehand_apps.cli.execution.MODULES` has those whose names Python keeps for itself. The module is imported when its
command runs and not before, so that help and the commands that need no torch start at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

COMMANDS: Mapping[str, str] = {
    "record": "record demonstrations of a scripted expert as a LeRobotDataset",
    "import": "bring recordings in another format into a LeRobotDataset with a contract",
    "data check": "examine datasets: damage, odd values, timing, idle and duplicate episodes, images",
    "data show": "show a dataset: episodes as videos with curves, statistics, what looks odd",
    "data merge": "join datasets of one kind, such as the shards of an import, without encoding anything again",
    "data label": "find the actions of recordings that have none, with models of inverse dynamics",
    "train": "learn a policy from a dataset",
    "plot": "draw the curves of trainings over each other",
    "serve": "offer a policy to robots over ZeroMQ",
    "robot": "offer a robot, real or simulated, over ZeroMQ",
    "run": "let a policy drive a robot under one instruction",
    "eval": "evaluate a policy over seeded episodes of a benchmark",
    "results merge": "join the results of an evaluation's shards into one",
    "results show": "show the table of an evaluation, and what it is of",
    "compare": "compare evaluations of several arms, paired by scene and training seed",
    "study": "carry out a study: arms, regimes and seeds, from the data to the comparison and a report",
    "view": "show what a policy foresaw in trials of an evaluation, beside what came, failures first",
    "push": "share a checkpoint on the Hugging Face hub, with a model card",
    "pull": "copy a checkpoint from the Hugging Face hub",
    "reproduce": "print the command that made a checkpoint and what has changed since, or run it again",
    "gallery": "show a benchmark's environments, tasks and disturbances on one page",
    "keys": "manage the keys of computers that may connect to this one, and of those to trust",
    "plugins": "list plugins and the parts they offer",
    "env make": "make the environment of a simulator, apart from this one",
    "env list": "list the environments of simulators, and which are made",
    "env check": "check whether environments that are made work",
    "env remove": "remove an environment",
    "env lock": "resolve the versions of an environment anew, into its plugin's lock",
    "convert": "bring weights from another project's files, or take them back",
    "doctor": "check this computer",
    "demo": "all of it in a few minutes: record, train, serve, drive, evaluate, and a page with the results",
    "demo video": "few demonstrations and much video: policies with and without a forecast, judged where none acted",
}

CHOOSES: Mapping[str, str] = {"convert": "converter", "import": "importer"}
"""Commands that may be followed by a bare word, and what it chooses."""

BARE: Mapping[str, str] = {
    "data check": "path",
    "data show": "path",
    "data merge": "paths",
    "plot": "runs",
    "results merge": "paths",
    "results show": "paths",
    "compare": "runs",
    "view": "evaluation",
    "env make": "name",
    "env check": "name",
    "env remove": "name",
    "env lock": "name",
    "push": "checkpoint",
    "pull": "repo",
    "reproduce": "checkpoint",
}
"""Commands whose bare words, one or several, are the value of an option."""

VALUED_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
"""Hydra's flags that the next word belongs to."""

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
        listing = "\n".join(f"  {_aligned(name, COMMANDS)}" for name in COMMANDS)
        print(PAGE.format(commands=listing), end="")
        return 0
    if arguments[0] == "--version":
        from forehand import __version__

        print(f"forehand {__version__}")
        return 0
    command, *rest = arguments
    actions = [name for name in COMMANDS if name.startswith(f"{command} ")]
    if actions and command not in COMMANDS and (not rest or rest[0] in ("-h", "--help")):
        print("\n".join(f"forehand {_aligned(name, actions)}" for name in actions))
        return 0
    if actions and rest and (command not in COMMANDS or rest[0].isidentifier()):
        command, *rest = f"{command} {rest[0]}", *rest[1:]
    if command in BARE:
        rest = _named(BARE[command], rest)
    if command in CHOOSES and rest and rest[0].isidentifier():
        rest = [*rest[1:], f"{CHOOSES[command]}={rest[0]}"]  # flags may follow the word, and come before options
    if command not in COMMANDS:
        from forehand.errors import nearest

        print(f"There is no command {command!r}. {nearest(command, COMMANDS)} See forehand --help.", file=sys.stderr)
        return 2
    from forehand_apps.cli.execution import launch

    return launch(command, rest)


def configuration_name(command: str) -> str:
    """The name of a command's configuration file."""
    return command.replace(" ", "_")


def _aligned(name: str, among: Iterable[str]) -> str:
    return f"{name:<{max(map(len, among))}}  {COMMANDS[name]}"


def _named(key: str, arguments: Sequence[str]) -> list[str]:
    """``arguments`` with their bare words as the value of ``key``, a list where there are several."""
    words: list[str] = []
    rest: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        flag = argument.startswith("-") or before in VALUED_FLAGS
        override = argument.startswith("~") and not argument.startswith("~/")
        override |= "=" in argument and not Path(argument).exists()
        (rest if flag or override else words).append(argument)
    quoted = ["'{}'".format(word.replace("\\", "\\\\").replace("'", "\\'")) for word in words]
    if not quoted:
        return rest
    return [f"{key}={quoted[0]}" if len(quoted) == 1 else f"{key}=[{','.join(quoted)}]", *rest]
