"""``forehand convert``: weights from another project's files, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from forehand import registry


def convert(config: DictConfig) -> Path:
    """Have ``config.converter`` write ``config.output``; every other option is the converter's own."""
    options: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    written: Path = registry().create("converter", options.pop("converter"), **options)
    console = Console()
    console.print(f"Wrote {written}.", soft_wrap=True)
    if written.is_dir():
        console.print(f"Serve it with: [bold]forehand serve policy.checkpoint={written}[/]", soft_wrap=True)
    return written
