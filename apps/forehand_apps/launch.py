"""From a command line to a running command: Hydra, plugins' configuration, and errors a person can read."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from forehand import registry
from forehand_apps.complaints import explain
from forehand_apps.manual import show_manual

CONFIGURATION = "pkg://forehand_apps.conf"
DEBUG_VARIABLE = "FOREHAND_DEBUG"
FULL_ERROR_VARIABLE = "HYDRA_FULL_ERROR"
FAILED, MISUSED, INTERRUPTED = 1, 2, 130


class PluginConfiguration(SearchPathPlugin):
    """Lays the configuration folders of Forehand's plugins beside Forehand's own.

    Registered in this process only: other Hydra applications of the same environment do not see it.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each plugin's folder."""
        for plugin in registry().plugins():
            if plugin.configuration:
                search_path.append(provider=plugin.name, path=plugin.configuration)


def launch(command: str, arguments: Sequence[str]) -> int:
    """Run ``command`` with Hydra's ``arguments``; returns the exit status, and raises only what no person caused."""
    debug = os.environ.get(DEBUG_VARIABLE) == "1" or os.environ.get(FULL_ERROR_VARIABLE) == "1"
    Plugins.instance().register(PluginConfiguration)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end by a machine is as by hand: robots hold
    try:
        if {"-h", "--help"} & set(arguments):
            show_manual(command, [a for a in arguments if not a.startswith("-")])
            return 0
        return _run(command, arguments)
    except KeyboardInterrupt as interrupt:
        if debug:
            raise
        _tell(str(interrupt) or f"forehand {command}: interrupted.", "yellow")
        return INTERRUPTED
    except Exception as error:
        message = explain(error, command)
        if debug or message is None:
            raise
        _tell(message, "red")
        return MISUSED


def _run(command: str, arguments: Sequence[str]) -> int:
    # Hydra prints and exits on errors of composition unless this is set; with it, they reach `launch`.
    untouched = os.environ.get(FULL_ERROR_VARIABLE)
    os.environ[FULL_ERROR_VARIABLE] = "1"
    complaint: list[Exception] = []

    def task(config: DictConfig) -> None:
        if untouched is None:
            os.environ.pop(FULL_ERROR_VARIABLE, None)
        try:
            getattr(importlib.import_module(f"forehand_apps.{command}"), command)(config)
        except Exception as error:
            # Hydra would print a line of its own first; leaving this way, nothing stands before the message.
            complaint.append(error)
            raise SystemExit(FAILED) from None

    sys.argv = [f"forehand {command}", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=CONFIGURATION, config_name=command)(task)()
    except SystemExit as leaving:
        if not complaint:
            return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        (error,) = complaint
        if explain(error, command) is None:
            # Without the frames of Hydra and of this file.
            below = error.__traceback__.tb_next if error.__traceback__ else None
            traceback.print_exception(type(error), error, below)
            return FAILED
        raise error from error.__cause__
    return 0


def _tell(message: str, colour: str) -> None:
    Console(stderr=True).print(Text(message, style=colour), soft_wrap=True)
