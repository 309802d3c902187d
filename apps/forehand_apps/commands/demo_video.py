"""``forehand demo video``: what a folder of video is worth beside few demonstrations, as a study of one training seed."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import DictConfig

from forehand_apps.cli.steps import CONSOLE
from forehand_apps.commands.study import study
from forehand_apps.studies.report import COMPARISONS


def demo_video(config: DictConfig) -> None:
    """Carry out what is left of the study, and print what each policy reached."""
    study(config)
    primary = config.study.primary
    page = Path(config.output).expanduser() / COMPARISONS / f"{primary.judged}-{primary.regime}.html"
    if config.plan or not page.exists():  # hours=… may be too few for it
        return
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    CONSOLE.print(f"\nSee [bold]{page}[/]: the policies side by side where one gets further.", soft_wrap=True)
    for arm in found["arms"]:
        print(f"{arm['name']}: {found['measure']} {arm['mean']:.2f} in {found['scenes']} scenes of {primary.judged}")
