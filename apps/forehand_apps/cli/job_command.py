"""Command line of the running job, as it is repeated alone: without the sweep that it may be part of."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def job_command(command: str, output: Path) -> list[str]:
    """``forehand <command>``, and its arguments; where it is part of a sweep, ``output`` is its own folder."""
    hydra = HydraConfig.get()
    own = [f"output={output}"] if hydra.mode == RunMode.MULTIRUN else []
    return [f"forehand {command}", *search_words(), *hydra.overrides.task, *own]


def search_words() -> list[str]:
    """The words of the running command that say where configurations are looked for."""
    hydra = HydraConfig.get()
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    searched = [override for override in hydra.overrides.hydra if override.startswith("hydra.searchpath=")]
    return [*(word for folder in folders for word in ("--config-dir", folder)), *searched]
