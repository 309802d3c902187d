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
            f"`{CONFIDENCE_KEY}` is the {record['confidence']}.",
            *(f"**{line}**" for line in notices(record)),
        ]
    return parts


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
