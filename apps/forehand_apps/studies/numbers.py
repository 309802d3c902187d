"""Numbers of a study, ``numbers.json``: what every training brought, small enough to be kept with the text about it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.evaluation.comparison.arms import read_run
from forehand.evaluation.open_loop.record import OPEN_LOOP
from forehand.utils.files import replacing
from forehand.utils.reading import read_json
from forehand_apps.studies.plan import Study

NUMBERS = "numbers.json"


def write_numbers(study: Study, seeds: Sequence[int], record: Mapping[str, Any], contrast: Mapping[str, Any]) -> None:
    """Write :data:`NUMBERS` into the study's folder: a line for every training and judgement.

    contrast: the primary one, one of those of ``compare_arms``.
    """
    about = {key: record.get(key) for key in ("declared", "commit", "machine")}
    kept = ("difference", "by_seed", "interval", "p", "superiority", "detectable", "verdict")
    primary = {**vars(study.primary), **{key: _short(contrast[key]) for key in kept}}
    lines = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in _judged(study, seeds))
    heads = {"question": study.question, **about, "seconds": record["rounds"], "primary": primary}
    text = "".join(f" {json.dumps(key)}: {json.dumps(of, ensure_ascii=False)},\n" for key, of in heads.items())
    with replacing(study.folder / NUMBERS) as staging:
        staging.write_text(f'{{\n{text} "judged": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def _judged(study: Study, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    for judged, cell, seed in itertools.product(study.judge, study.cells, seeds):
        others = study.interventions if study.is_intervened(judged, cell) else ()
        for intervention in ("", *others):
            where = {"judged": judged, "regime": cell.regime, "arm": cell.arm, "seed": seed}
            if intervention:
                where["foresight"] = intervention
            yield where | _found(study.judged(judged, cell, seed, intervention), cell.arm, seed)


def _found(folder: Path, arm: str, seed: int) -> dict[str, Any]:
    run = read_run(folder, arm, seed)
    found: dict[str, Any] = {"measure": run.measure, "scenes": len(run.scenes), "mean": _short(float(run.values.mean()))}
    if run.success is not None:
        found["by_scene"] = run.values.astype(int).tolist()  # so that arms can be paired from here
        if run.success.shape[1] > 1:
            found["in_a_row"] = _short(run.success.mean(axis=0).tolist())
    if (folder / OPEN_LOOP).is_file():
        found["r2"] = {of["name"]: _short(of["r2"]) for of in read_json(folder / OPEN_LOOP)["fields"]}
    return found


def _short(value: Any) -> Any:
    """Numbers, in a list too, to four digits; other values as they are."""
    if isinstance(value, list):
        return [_short(of) for of in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
