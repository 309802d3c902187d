"""Source of a labelling: a recording without actions that models of inverse dynamics can look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forehand.compose.inverse import require_inverse
from forehand.compose.parts import STATE
from forehand.contracts.compatibility import differences, require_fit
from forehand.contracts.contract import Contract
from forehand.data.dataset import Dataset
from forehand.data.merging.parts import Part
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError
from forehand.evaluation.labelling.estimates import Model

REMEDY = "Label it with a model of data that are like it, or import it with these cameras, at this rate."


def require_models(models: Sequence[Model]) -> None:
    """Raise unless ``models`` find the same actions from the frames between them.

    :class:`ConfigurationError` for a policy of another kind, and :class:`ContractMismatch` for other actions or rates.
    """
    for model in models:
        require_inverse(model.policy, model.name)
    first = models[0]
    for other in models[1:]:
        ours, theirs = (replace(m.contract, cameras=(), sensors=(), state=()) for m in (first, other))
        if lines := differences(ours, theirs):
            listing = "\n".join(f"  - {line}" for line in lines)
            raise ContractMismatch(f"{first.name} and {other.name} find different actions:\n{listing}\nName one of them.")


def open_source(part: Part, models: Sequence[Model], replaced: bool = False) -> Dataset:
    """The tables of ``part``, with a state that is masked where it has none.

    replaced: it may have actions, which are then those that the models find. Raises :class:`ContractMismatch` for other
    cameras, another rate, other actions, or a state that a model reads and ``part`` lacks, and :class:`DatasetError`
    where it has actions already.
    """
    if part.contract.action and not replaced:
        raise DatasetError(
            f"{part.root} has actions already: {', '.join(field.name for field in part.contract.action)}. What a model "
            f"finds there is compared with them by: forehand eval dataset={part.root} policy.checkpoint=…; with "
            f"replace=true it takes their place."
        )
    for model in models:
        if part.contract.action:
            ours, theirs = (replace(c, cameras=(), sensors=(), state=()) for c in (model.contract, part.contract))
            if lines := differences(ours, theirs):
                listing = "\n".join(f"  - {line}" for line in lines)
                raise ContractMismatch(f"{model.name} finds other actions than {part.root} has:\n{listing}\n{REMEDY}")
        needed = _needed(model)
        offered = replace(part.contract, action=(), state=part.contract.state if needed.state else ())
        require_fit(needed, offered, model.name, f"the dataset {part.root}", REMEDY)
    data = Dataset.open({"path": part.root} if part.contract.state else {"path": part.root, "state": []})
    sizes = {model.contract.state_size for model in models}
    if part.contract.state or sizes == {0}:
        return data
    if len(sizes) > 1:
        raise ConfigurationError(
            f"The models were trained on states of different sizes: {sorted(sizes)}. Name one of them."
        )
    count = len(data.episodes)
    masked = replace(data.episodes, states=np.zeros((count, sizes.pop()), np.float32), has_state=np.zeros(count, bool))
    return replace(data, episodes=masked)


def _needed(model: Model) -> Contract:
    """What a dataset must have for ``model``: its rate, cameras and sensors, and a state where it reads that."""
    contract, policy = model.contract, model.policy
    cameras = tuple(camera for camera in contract.cameras if camera.name in policy.cameras)
    reads_state = any(STATE in encoder.inputs for encoder in policy.encoders.values())
    return replace(contract, cameras=cameras, state=contract.state if reads_state else (), action=())
