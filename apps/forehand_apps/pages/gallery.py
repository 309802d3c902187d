"""Gallery page: showcases by section, with embedded images and videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forehand import Benchmark, Contract, Showcase, registry
from forehand.utils.provenance import provenance
from forehand_apps.pages.render import render

PAGE = "index.html"


@dataclass(frozen=True)
class RenderedShowcase:
    """A rendered showcase.

    files: a video and its first frame, or images, the large one first; labels: its annotations; success: whether the
    expert accomplished the trial, in ``steps``.
    """

    showcase: Showcase
    files: Sequence[Path]
    labels: Mapping[str, str]
    steps: int
    success: bool | None


def write_page(
    folder: Path, name: str, benchmark: Benchmark, contract: Contract, shown: Sequence[RenderedShowcase]
) -> Path:
    """Write ``index.html`` into ``folder``; returns where it is."""
    sections: dict[str, list[RenderedShowcase]] = {}
    for one in shown:
        sections.setdefault(one.showcase.section, []).append(one)
    (part,) = (part for part in registry().parts("benchmark") if part.name == name)
    about = provenance(plugins=registry().versions())
    cameras = ", ".join(f"{camera.name} {camera.width}×{camera.height}" for camera in contract.cameras)
    if contract.sensors:
        sensors = (f"{s.name} {s.describe_shape()} {s.unit or ''}".strip() for s in contract.sensors)
        cameras += f" · sensors: {', '.join(sensors)}"
    size = sum(field.size for field in contract.action)
    page = render(
        "gallery.html",
        title=name,
        summary=f"{part.summary[:1].upper()}{part.summary[1:]}.",
        contract=f"{len(benchmark.tasks)} tasks · {contract.rate:g} Hz · {size} actions · cameras: {cameras}",
        sections=sections,
        commit=f"commit {about['commit']}" if about["commit"] else "outside a checkout",
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE
