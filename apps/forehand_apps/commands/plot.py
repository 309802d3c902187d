"""``forehand plot``: curves of trainings over each other, as a page or a picture."""

from __future__ import annotations

import io
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from forehand.errors import ConfigurationError
from forehand.utils.files import replacing
from forehand_apps.cli.paths import paths_of
from forehand_apps.pages.render import data_url, render
from forehand_apps.training.curves import choose_metrics, draw, read_runs

PAGE, PICTURES = ".html", (".png", ".svg", ".pdf")


def plot(config: DictConfig) -> None:
    """Draw the runs, and write the page or the picture."""
    if not isinstance(config.smooth, int | float) or not 0 <= config.smooth < 1:
        raise ConfigurationError(f"smooth is a number from 0 to below 1, not {config.smooth!r}.")
    path = Path(config.output).expanduser()
    if path.suffix not in (PAGE, *PICTURES):
        raise ConfigurationError(f"output ends in {', '.join((PAGE, *PICTURES))}, not {config.output!r}.")
    runs = read_runs(paths_of(config.runs))
    metrics = choose_metrics(runs, None if config.metrics is None else list(config.metrics))
    if not metrics:
        raise ConfigurationError("The runs have no entry yet. Wait for the first, after recipe.log_every steps.")
    figure = draw(runs, metrics, config.smooth)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg" if path.suffix == PAGE else path.suffix[1:], dpi=150)
    content = buffer.getvalue()
    if path.suffix == PAGE:
        last = [(run.name, run.entries[-1]["step"]) for run in runs if run.entries]
        content = render("plot.html", picture=data_url("image/svg+xml", content), runs=last).encode()
    with replacing(path) as staging:
        staging.write_bytes(content)
    Console(stderr=True).print(f"Look at [bold]{path}[/]: {len(runs)} runs, {len(metrics)} metrics.", soft_wrap=True)
