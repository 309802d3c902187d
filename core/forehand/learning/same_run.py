"""Comparison of a run with the checkpoint that it is to continue from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from forehand.data.frame_store import EXACT
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import read_provenance
from forehand.learning.recipe import Recipe
from forehand.plugins import registry
from forehand.utils.renames import renamed_keys

EXTENDED = ("steps", "schedule", "schedule_steps")
"""Settings of a recipe that may change where a run is extended."""


def require_same_run(
    checkpoint: Path,
    stored_config: Mapping[str, Any],
    *,
    config: Mapping[str, Any],
    recipe: Recipe,
    facts: Mapping[str, Any],
    extend: bool = False,
) -> None:
    """Raise :class:`CheckpointError` unless ``checkpoint`` is of the same policy, recipe and dataset; names what differs.

    stored_config: the policy's configuration in the checkpoint. config, recipe, facts: those of the run that continues.
    extend: the steps and the schedule (:data:`EXTENDED`) may differ.
    """
    then = read_provenance(checkpoint)
    recorded = renamed_keys(then.get("recipe", {}), under="recipe")
    recorded |= {name: value for name, value in recipe.defaults().items() if name not in recorded}
    fields = {name: value for name, value in recorded.items() if name in recipe.reproducibility_fields}
    if extend:
        fields |= {name: recipe.reproducibility_fields[name] for name in EXTENDED}
    before: dict[str, Any] = {"policy": stored_config, "recipe": fields}
    before |= {"dataset fingerprint": then.get("fingerprint"), "pixels": then.get("pixels", EXACT)}
    now = {
        "policy": OmegaConf.to_container(OmegaConf.create(dict(config)), resolve=True),
        "recipe": recipe.reproducibility_fields,
        "dataset fingerprint": facts.get("fingerprint"),
        "pixels": facts.get("pixels", EXACT),
    }
    if differing := differences(before, now):
        raise CheckpointError(
            f"Training cannot continue from {checkpoint}, which was made otherwise:\n"
            + "\n".join(f"  - {line}" for line in differing)
            + "\nRepeat the command it was made with, or train anew in another output."
        )


def extensions(checkpoint: Path, step: int, recipe: Recipe) -> dict[str, Any]:
    """Facts for the provenance of a run that continues from ``checkpoint`` at ``step``: how it was extended, if it was.

    ``extended``: for each time the ``step``, and the steps and schedule until then. Raises :class:`ConfigurationError`
    where the recipe ends before ``step``.
    """
    then = read_provenance(checkpoint)
    recorded = recipe.defaults() | renamed_keys(then.get("recipe", {}), under="recipe")
    known: list[dict[str, Any]] = list(then.get("extended", ()))
    present = {name: getattr(recipe, name) for name in EXTENDED}
    before = {name: recorded[name] for name in EXTENDED}
    if before != present:
        if recipe.steps <= step:
            raise ConfigurationError(f"{checkpoint} is at step {step}, and recipe.steps is {recipe.steps}. Give more.")
        known.append({"step": step, **before})
    return {"extended": known} if known else {}


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """The differences of two nested mappings, a line each."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line
            for key in keys
            for line in differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
        ]
    same = before == now or registry().is_alias(before, now)
    return [] if same else [f"{where}: was {before!r}, is {now!r}"]
