"""``forehand data check``: what is wrong with datasets, where, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forehand.data.checking.checker import Report, check_dataset
from forehand.data.checking.findings import ERROR, NOTE, SEVERITIES, WARNING, Finding, count_severities
from forehand.data.checking.together import check_together
from forehand.data.source import DataSource
from forehand.data.specification import SourceSpec, is_embodiments, read_sources
from forehand.utils.files import replacing
from forehand.utils.plain import to_plain

COLOURS = {ERROR: "red", WARNING: "yellow", NOTE: "cyan"}
STATISTICS = ("mean", "std", "min", "q01", "q50", "q99", "max")
STANDARD_OUTPUT = "-"


def data_check(config: DictConfig) -> None:
    """Print the findings about each dataset; exit with status 1 if there are errors."""
    reports = [check_dataset(name, spec, config.videos, config.seed) for name, spec in named_sources(config.path)]
    together = check_together(reports)
    everything = [*(one for report in reports for one in report.findings), *together]
    counts = count_severities(everything)
    if config.json is not None:
        _write_json(str(config.json), reports, together, counts)
    if config.json != STANDARD_OUTPUT:
        console = result_console()
        for report in reports:
            print_report(console, report, columns=config.columns)
        if together:
            _print_findings(console, together)
        console.print(", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()))
    if counts[ERROR] or (config.strict and counts[WARNING]):
        raise SystemExit(1)


def named_sources(path: Any) -> list[tuple[str, SourceSpec | DataSource]]:
    """Each dataset that the option ``path`` is about, not open yet, by the name that it is shown under."""
    given: Any = OmegaConf.to_container(path, resolve=True) if OmegaConf.is_config(path) else path
    groups = given if is_embodiments(given) else {"path": given}
    specs = [spec for key, sources in groups.items() for spec in read_sources(sources, str(key))]
    return [(_name(spec), spec) for spec in specs]


def result_console() -> Console:
    """Standard output; wide where it is no terminal, so that words can be searched for."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_report(console: Console, report: Report, *, columns: bool = True) -> None:
    """Print what a dataset holds, the findings about it, and statistics of its ``columns``."""
    console.print(Text(report.name, style="bold"), soft_wrap=True)
    if report.table is not None:
        console.print(Text(f"  {summary(report)}"), soft_wrap=True)
    _print_findings(console, report.findings)
    if columns and report.statistics:
        table = Table("column", "unit", *STATISTICS, box=None, padding=(0, 2, 0, 0))
        for element, values in report.statistics.items():
            table.add_row(f"  {element.name}", element.unit, *(f"{values[name] + 0.0:.4g}" for name in STATISTICS))
        console.print(table)
    console.print()


def summary(report: Report) -> str:
    """Episodes, frames, rate, cameras and instructions of a dataset, in words."""
    table = report.table
    assert table is not None
    cameras = ", ".join(f"{c.name} {c.width}×{c.height}" for c in table.contract.cameras) or "no cameras"
    seconds = len(table) / table.rate
    length = f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
    said = len({table.tasks[i] for i in table.instructions[table.starts[:-1]]} - {""}) if table.tasks else 0
    return (
        f"{len(table.numbers)} episodes, {len(table)} frames ({length} at {table.rate:g} Hz), {cameras}, {said} "
        f"instructions; images of {report.decoded} episodes decoded" + (f"; {report.origins}" if report.origins else "")
    )


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    for one in findings:
        line = Text(f"  {one.severity:<8}", style=COLOURS[one.severity])
        line.append(one.message, style="default")
        if where := one.where():
            line.append(f" ({where})", style="default")
        console.print(line, soft_wrap=True)
        if one.remedy:
            console.print(Text(f"          {one.remedy}", style="dim"), soft_wrap=True)


def _name(spec: SourceSpec | DataSource) -> str:
    return str(spec.root if isinstance(spec, DataSource) else spec.options.get("path", spec.name))


def _write_json(where: str, reports: Sequence[Report], together: Sequence[Finding], counts: dict[str, int]) -> None:
    found = {
        **{f"{severity}s": counts[severity] for severity in SEVERITIES},
        "datasets": [report.to_dict() for report in reports],
        "together": [one.to_dict() for one in together],
    }
    text = json.dumps(to_plain(found), indent=2, ensure_ascii=False) + "\n"
    if where == STANDARD_OUTPUT:
        print(text, end="")
        return
    path = Path(where).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as staging:
        staging.write_text(text, encoding="utf-8")
