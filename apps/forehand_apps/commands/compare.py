"""``forehand compare``: evaluations of several arms, paired by scene and training seed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from forehand.errors import ConfigurationError
from forehand.evaluation.comparison.arms import pair, read_run
from forehand.evaluation.comparison.compare import compare_arms
from forehand.evaluation.open_loop.record import OPEN_LOOP
from forehand.evaluation.results import RESULTS
from forehand.learning.checkpoint import PROVENANCE, latest_checkpoint
from forehand.utils.files import replacing
from forehand.utils.reading import read_json
from forehand_apps.cli.instantiate import plain
from forehand_apps.cli.paths import paths_of
from forehand_apps.pages.comparison import comparison_page

NOT_STATED = "not stated"


def compare(config: DictConfig) -> None:
    """Compare the evaluations, print the differences, and write JSON and the page."""
    runs = [read_run(folder, arm, training_seed(folder, seed), config.field) for folder, arm, seed in _named(config)]
    if not runs:
        raise ConfigurationError("Nothing to compare was given: forehand compare RUN RUN…")
    found = compare_arms(pair(runs))
    _print(found)
    for given, write in ((config.output, _json), (config.page, comparison_page)):
        if given is None:
            continue
        path = Path(str(given)).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as staging:
            staging.write_text(write(found), encoding="utf-8")
        print(f"written to {path}")


def arm_and_seed(folder: Path) -> tuple[str, int | str]:
    """The arm and the training seed that a folder's name says: bc and 0 of ``bc/0``, ``bc/seed=0`` and ``bc_0``."""
    path = folder.resolve()
    found = re.fullmatch(r"(.*?)(?:(?:^|[_.-])(?:recipe\.)?seed)?[=_.-]?(\d+)", path.name)
    if not found:
        return path.name, NOT_STATED
    return found[1] or path.parent.name, int(found[2])


def training_seed(folder: Path, otherwise: int | str) -> int | str:
    """The training seed of the checkpoint that was judged, where that is still at hand; else what its folder says."""
    for name in (RESULTS, OPEN_LOOP):
        if (folder / name).is_file():
            setup = read_json(folder / name)["setup"]
            place = setup.get("policy_facts", {}).get("checkpoint") or (setup.get("policy") or {}).get("checkpoint")
            checkpoint = latest_checkpoint(Path(place)) or Path(place) if place else None
            if checkpoint and (checkpoint / PROVENANCE).is_file():
                seed: int | str = read_json(checkpoint / PROVENANCE).get("seed", otherwise)
                return seed
    return otherwise


def _named(config: DictConfig) -> list[tuple[Path, str, int | str]]:
    found = [] if config.runs is None else [(folder, *arm_and_seed(folder)) for folder in paths_of(config.runs)]
    for arm, given in plain(config.arms).items():
        places = [Path(str(one)).expanduser() for one in (given if isinstance(given, list) else [given])]
        found += [(folder, arm, arm_and_seed(folder)[1]) for folder in places]
    return found


def _json(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _print(found: Mapping[str, Any]) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    seeds = ", ".join(map(str, found["seeds"]))
    console.print(f"{found['measure']}; {found['scenes']} scenes; training seeds: {seeds}", markup=False)
    if "note" in found:
        console.print(found["note"], markup=False, soft_wrap=True)
    table = Table("arm", "mean", "by seed")
    for arm in found["arms"]:
        table.add_row(arm["name"], f"{arm['mean']:.3g}", ", ".join(f"{value:.3g}" for value in arm["by_seed"]))
    console.print(table)
    table = Table("difference", "", "95 % interval", "p", "p (Holm)", "detectable", "superiority")
    for one in found["contrasts"]:
        name, rows = f"{one['arm']} − {one['against']}", [("", one)]
        rows += [(f"{step + 1} in a row", of) for step, of in enumerate(one["by_step"]) if len(one["by_step"]) > 1]
        rows += [(task, of) for task, of in one["by_task"].items() if len(one["by_task"]) > 1]
        for of, row in rows:
            interval = "–" if row["interval"] is None else "[{:.3g}, {:.3g}]".format(*row["interval"])
            numbers = [_said(row.get(key)) for key in ("p", "p_holm", "detectable", "superiority")]
            table.add_row(f"{name} {of}", f"{row['difference']:+.3g}", interval, *numbers)
    console.print(table)
    for one in found["contrasts"]:
        gained, lost = (sum(flip[key] for flip in one["flips"]) for key in ("gained", "lost"))
        flips = f" {len(one['flips'])} scenes flip: {gained} times for {one['arm']}, {lost} times for {one['against']}."
        mcnemar = f" McNemar's p of the two policies: {one['mcnemar_p']:.3g}." if "mcnemar_p" in one else ""
        reading = f" {one['reading']}" if "reading" in one else ""
        said = f"{one['arm']}: {one['verdict']}{flips if one['flips'] else ''}{mcnemar}{reading}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)


def _said(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
