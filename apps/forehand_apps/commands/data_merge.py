"""``forehand data merge``: datasets of one kind as one."""

from __future__ import annotations

import shlex
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from forehand.data.importing.record import card_sections
from forehand.data.merging.merge import merge_datasets
from forehand.data.merging.parts import merged_contract, merged_labellings, merged_record, read_parts
from forehand.data.recording import label_card
from forehand.data.recording.card import write_card
from forehand.utils.progress import progress
from forehand_apps.cli.paths import paths_of


def data_merge(config: DictConfig) -> None:
    """Merge the datasets at ``config.paths`` into one at ``config.output``."""
    output, console = Path(config.output).expanduser(), Console(stderr=True)
    parts = read_parts(paths_of(config.paths))
    if left_out := merged_contract(parts)[1]:
        console.print(
            f"Note: only some of the datasets state {', '.join(left_out)}; the merged one does not.",
            soft_wrap=True,
            markup=False,
            style="yellow",
        )
    with progress("merging", len(parts), console=console) as show:
        info = merge_datasets(parts, output, show)
    command = f"forehand data merge {shlex.join(part.root.name for part in parts)} output={output.name}"
    if labellings := merged_labellings(parts):
        origin = label_card.card_sections(labellings, command)
    elif (record := merged_record(parts)) is not None:
        origin = card_sections(record, command)
    else:
        origin = [f"## How it was made\n\n```bash\n{command}\n```"]
    write_card(output, command, config.license, origin)
    console.print(
        f"{info['total_episodes']} episodes with {info['total_frames']} frames of {len(parts)} datasets in {output}.",
        soft_wrap=True,
        markup=False,
    )
