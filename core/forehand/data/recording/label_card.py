"""Sections of a dataset's card about labelled actions: by which models, how accurate these are, what confidence means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forehand.data.labels import CONFIDENCE_KEY, ORIGIN_KEY, RECOVERED
from forehand.utils.markdown import markdown_table


def card_sections(labellings: Sequence[Mapping[str, Any]], command: str) -> list[str]:
    """The sections of a dataset that holds what was labelled by ``labellings``, in Markdown."""
    parts = [
        f"## How it was made\n\n```bash\n{command}\n```\n\nThe column `{ORIGIN_KEY}` says which actions were labelled."
    ]
    for record in labellings:
        source, rows = record["source"], []
        for model in record["models"]:
            known = model["r_squared"]
            accuracy = ", ".join(f"{field} {value:.3g}" for field, value in known.items()) if known else "not measured"
            rows.append([f"`{model['checkpoint']}`", f"`{model['fingerprint']}`", accuracy])
        parts += [
            f"### Actions of `{source['name']}`\n\nThey were not recorded: inverse dynamics found them between its "
            f"frames (fingerprint `{source['fingerprint']}`). Of {record['episodes']} episodes, "
            f"{record['labelled']} frames have a labelled action, and {record['unknown']} none, with confidence 0.",
            markdown_table(["model", "fingerprint", "R² in its validation"], rows),
            *_against_recorded(record.get("replaced", [])),
            f"`{CONFIDENCE_KEY}` is the {record['confidence']}.",
            *(f"**{line}**" for line in notices(record)),
        ]
    return parts


def _against_recorded(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far the labels are from recorded actions that they took the place of."""
    if not scores:
        return []
    rows = [
        [one["name"], f"{one['error']:.3g} {one['unit']}".rstrip(), "–" if one["r2"] is None else f"{one['r2']:.3g}"]
        for one in scores
    ]
    return [
        "The source had recorded actions, which these replaced. Of labels with a confidence above 0, against them:",
        markdown_table(["field", "mean error", "R²"], rows),
    ]


def notices(record: Mapping[str, Any]) -> list[str]:
    """What a user of the labels of one labelling has to know."""
    found = []
    if not record["labelled"]:
        found.append("Not one action has a confidence above 0: the models do no better than by the mean action.")
    if record["not_recovered"]:
        fields = ", ".join(record["not_recovered"])
        found.append(f"Not recovered, R² below {RECOVERED:g} in validation: {fields}.")
    if any(model["r_squared"] is None for model in record["models"]):
        found.append("The accuracy of a model was not measured: train it with validation.every=….")
    return found
