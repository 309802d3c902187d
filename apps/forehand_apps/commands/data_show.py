"""``forehand data show``: a dataset on one page, or in rerun's viewer."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig
from rich.console import Console

from forehand.data.checking.checker import check_dataset
from forehand.errors import ConfigurationError
from forehand.utils.files import replacing
from forehand.utils.numbers import count
from forehand_apps.commands.data_check import named_sources
from forehand_apps.pages.dataset import choose_episodes, dataset_page

PAGE, RERUN = "page", "rerun"


def data_show(config: DictConfig) -> None:
    """Write the page, or fill the viewer."""
    if config.viewer not in (PAGE, RERUN):
        raise ConfigurationError(f"viewer is {PAGE} or {RERUN}, not {config.viewer!r}.")
    count(16, image_height=config.image_height)
    sources = named_sources(config.path)
    if len(sources) != 1:
        raise ConfigurationError(f"One dataset is shown at a time, and {len(sources)} were given.")
    wanted = config.episodes
    if isinstance(wanted, ListConfig):
        count(0, **{f"episodes[{i}]": number for i, number in enumerate(wanted)})
    report = check_dataset(*sources[0], config.videos, config.seed)
    positions = choose_episodes(report, list(wanted) if isinstance(wanted, ListConfig) else wanted, config.seed)
    console = Console(stderr=True)
    if config.viewer == RERUN:
        from forehand_apps.pages.dataset_rerun import show_in_rerun

        show_in_rerun(config.rerun, report, positions)
        console.print(f"{len(positions)} episodes of {report.name} are in rerun ({config.rerun}).", soft_wrap=True)
        return
    page = dataset_page(report, positions, config.image_height)
    path = Path(config.output).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as staging:
        staging.write_text(page, encoding="utf-8")
    console.print(f"Look at [bold]{path}[/] ({path.stat().st_size / 1e6:.1f} MB).", soft_wrap=True)
