"""The gallery's page: exhibits by section, with their pictures and films inside."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forehand import Benchmark, Contract, Exhibit, registry
from forehand.provenance import provenance
from forehand_apps.pages import data_url, fill

PAGE = "index.html"


@dataclass(frozen=True)
class Shown:
    """An exhibit that was drawn: a film and a picture of its first moment, or pictures, the large one first.

    labels: what it is annotated with; success: whether the expert accomplished what the film shows, in ``steps``.
    """

    exhibit: Exhibit
    files: Sequence[Path]
    labels: Mapping[str, str]
    steps: int
    success: bool | None


def write_page(folder: Path, name: str, benchmark: Benchmark, contract: Contract, shown: Sequence[Shown]) -> Path:
    """Write ``index.html`` into ``folder``; returns where it is."""
    sections: dict[str, list[Shown]] = {}
    for one in shown:
        sections.setdefault(one.exhibit.section, []).append(one)
    (part,) = (part for part in registry().parts("benchmark") if part.name == name)
    about = provenance()
    cameras = ", ".join(f"{camera.name} {camera.width}×{camera.height}" for camera in contract.cameras)
    size = sum(field.size for field in contract.action)
    parts = {
        "title": html.escape(name),
        "summary": html.escape(f"{part.summary[:1].upper()}{part.summary[1:]}."),
        "contract": html.escape(
            f"{len(benchmark.tasks)} tasks · {contract.rate:g} Hz · {size} actions · cameras: {cameras}"
        ),
        "sections": "".join(_section(title, inside) for title, inside in sections.items()),
        "command": html.escape(f"forehand eval benchmark={name} policy.checkpoint=outputs/first"),
        "commit": html.escape(f"commit {about['commit']}" if about["commit"] else "outside a checkout"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(fill("gallery.html", parts), encoding="utf-8")
    return folder / PAGE


def _section(title: str, shown: Sequence[Shown]) -> str:
    grid = "stills" if not shown[0].exhibit.film else "films" if len(shown) > 1 else "film"
    figures = "".join(_film(one) if one.exhibit.film else _still(one) for one in shown)
    count = f" <small>{len(shown)}</small>" if len(shown) > 1 else ""
    return f'<h2>{html.escape(title)}{count}</h2>\n<div class="grid {grid}">{figures}</div>\n'


def _still(shown: Shown) -> str:
    large, *others = (data_url("image/jpeg", path.read_bytes()) for path in shown.files)
    title = html.escape(shown.exhibit.title)
    beside = "".join(f'<img src="{picture}" alt="{title}, another camera">' for picture in others)
    return (
        f'<figure><img src="{large}" alt="{title}"><div class="beside">{beside}</div>'
        f'<figcaption><b class="letter">{title}</b> {html.escape(shown.exhibit.about)}</figcaption></figure>'
    )


def _film(shown: Shown) -> str:
    film, poster = shown.files
    source, still = data_url("video/mp4", film.read_bytes()), data_url("image/jpeg", poster.read_bytes())
    outcome = f"{shown.steps} steps" if shown.success else f"no success after {shown.steps} steps"
    labels = "".join(f"<span>{html.escape(f'{name} {value}')}</span>" for name, value in shown.labels.items())
    about = f"<p>{html.escape(shown.exhibit.about)}</p>" if shown.exhibit.about else ""
    return (
        f'<figure><video src="{source}" poster="{still}" muted loop playsinline preload="none"></video><figcaption>'
        f"<b>{html.escape(shown.exhibit.title)}</b>{labels}<span>{outcome}</span>{about}{_sentences(shown.exhibit)}"
        f"</figcaption></figure>"
    )


def _sentences(exhibit: Exhibit) -> str:
    if not exhibit.sentences:
        return ""
    first, *others = (f"“{html.escape(sentence)}”" for sentence in exhibit.sentences)
    if not others:
        return f"<p>{first}</p>"
    rest = "".join(f"<li>{sentence}</li>" for sentence in others)
    return f"<details><summary>{first} <small>and {len(others)} more</small></summary><ul>{rest}</ul></details>"
