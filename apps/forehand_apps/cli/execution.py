"""Command execution: Hydra configuration, plugins' config folders, and error reports."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from forehand import registry
from forehand_apps.cli.errors import error_message
from forehand_apps.cli.help import show_manual, source
from forehand_apps.cli.numbers import check_numbers
from forehand_apps.cli.options import present, refuse_unknown, search_path, settle
from forehand_apps.cli.parts_source import PartsSource
from forehand_apps.cli.preemption import Preempted, interrupted_by_preemption
from forehand_apps.main import configuration_name

MODULES = {"import": "import_recordings"}
"""Commands whose names Python keeps for itself, and the modules that carry them out."""

CONFIGURATION = "pkg://forehand_apps.conf"
DEBUG_VARIABLE = "FOREHAND_DEBUG"
SILENT_VARIABLE = "FOREHAND_SILENT_ERRORS"
"""Set where the process that started this one says what ended it."""

FULL_ERROR_VARIABLE = "HYDRA_FULL_ERROR"
FAILED, MISUSED, PREEMPTED, INTERRUPTED = 1, 2, 75, 130
"""Exit statuses. 75 is EX_TEMPFAIL of sysexits.h: to be run again."""

SWEEPER = "ResumingSweeper"
"""Hydra's plugin whose jobs are recorded, and do not end each other."""


class PluginConfiguration(SearchPathPlugin):
    """Adds the configuration folders of Forehand's plugins to Hydra's search path, after Forehand's own.

    Registered in this process only, so that it does not affect other Hydra applications of the same environment.
    folders: those that the command line names.
    """

    folders: Sequence[str] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each plugin's folder, then ``folders``, then the parts without a configuration file."""
        for plugin in registry().plugins():
            if plugin.configuration:
                search_path.append(provider=plugin.name, path=plugin.configuration)
        for folder in self.folders:  # Hydra appends them once more, behind the parts
            search_path.append(provider="command line", path=folder)
        search_path.append(provider="forehand", path=f"{PartsSource.scheme()}://")


def prepare() -> None:
    """Register the configuration of plugins and of parts with Hydra."""
    for plugin in (PluginConfiguration, PartsSource):
        Plugins.instance().register(plugin)


def launch(command: str, arguments: Sequence[str]) -> int:
    """Run ``command`` with Hydra's ``arguments``; returns the exit status, and raises unexpected errors only."""
    debug = os.environ.get(DEBUG_VARIABLE) == "1" or os.environ.get(FULL_ERROR_VARIABLE) == "1"
    prepare()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C: robots hold
    interrupted_by_preemption()
    try:
        arguments = present(command, arguments, source(configuration_name(command)))
        PluginConfiguration.folders = search_path(arguments)
        if {"-h", "--help"} & set(arguments):
            show_manual(command, [a for a in arguments if a[:1] != "-" and (a[:1] == "~" or "=" in a)])
            return 0
        return _run(command, arguments)
    except KeyboardInterrupt as interrupt:
        if debug:
            raise
        notes = getattr(interrupt, "__notes__", ())  # whether the robot holds is unknown, for instance
        _print_error("\n".join([str(interrupt) or f"forehand {command}: interrupted.", *notes]), "yellow")
        return PREEMPTED if isinstance(interrupt, Preempted) else INTERRUPTED
    except Exception as error:
        message = error_message(error, command)
        if debug or message is None:
            raise
        _print_error(message, "red")
        return MISUSED


def _run(command: str, arguments: Sequence[str]) -> int:
    # Hydra prints and exits on errors of composition unless this is set; with it, they reach `launch`.
    untouched = os.environ.get(FULL_ERROR_VARIABLE)
    os.environ[FULL_ERROR_VARIABLE] = "1"
    failure: list[Exception] = []

    def task(config: DictConfig) -> None:
        if untouched is None:
            os.environ.pop(FULL_ERROR_VARIABLE, None)
        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN and str(hydra_config.sweeper._target_).endswith(f".{SWEEPER}"):
            from forehand_apps.jobs.sweep_job import run_sweep_job

            run_sweep_job(command, config, lambda: _carry_out(command, config))
            return
        try:
            _carry_out(command, config)
        except Exception as error:
            # Hydra would print a line of its own before the message, but not for SystemExit.
            failure.append(error)
            raise SystemExit(FAILED) from None

    sys.argv = [f"forehand {command}", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=CONFIGURATION, config_name=configuration_name(command))(task)()
    except SystemExit as leaving:
        if not failure:
            return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        (error,) = failure
        if error_message(error, command) is None:
            _print_traceback(error)
            return FAILED
        raise error from error.__cause__
    return 0


def check_options(command: str, config: DictConfig, overrides: Sequence[str]) -> None:
    """Put ``config`` under its present names; raises ConfigurationError for options that the command cannot take."""
    refuse_unknown(command, overrides)
    settle(command, config, overrides)
    check_numbers(config)


def _carry_out(command: str, config: DictConfig) -> None:
    check_options(command, config, HydraConfig.get().overrides.task)
    name = MODULES.get(command, configuration_name(command))
    getattr(importlib.import_module(f"forehand_apps.commands.{name}"), name)(config)


def report_failure(error: Exception, command: str) -> str:
    """Print why a job of a sweep failed; returns it."""
    message = error_message(error, command)
    if message is None or os.environ.get(DEBUG_VARIABLE) == "1":
        _print_traceback(error)
    else:
        _print_error(message, "red")
    return message or f"{type(error).__name__}: {error}"


def _print_traceback(error: Exception) -> None:
    """Without the frames of Hydra and of this file."""
    below = error.__traceback__.tb_next if error.__traceback__ else None
    traceback.print_exception(type(error), error, below)


def _print_error(message: str, colour: str) -> None:
    quiet = os.environ.get(SILENT_VARIABLE) == "1"
    Console(stderr=True, quiet=quiet).print(Text(message, style=colour), soft_wrap=True)
