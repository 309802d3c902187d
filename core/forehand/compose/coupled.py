"""Coupled policy: a forward model forecasts what will be seen, and a model of inverse dynamics finds the actions to it.

The two can be trained apart, and coupled afterwards, as in DeFI (arXiv 2604.16391): the forward model on any video with
sentences, the inverse model on any transitions with actions (:mod:`forehand.compose.inverse`). Needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from forehand.compose.composition import Composition
from forehand.compose.parts import (
    IMAGES,
    INSTRUCTION,
    STATE,
    STATE_VALID,
    ActionHead,
    ForecastsInputs,
    Inputs,
    WorldModel,
)
from forehand.compose.policy import ComposedPolicy
from forehand.compose.session import ComposedSession
from forehand.compose.streaming import NewestReadouts
from forehand.compose.tokens import ACTION, FORESIGHT
from forehand.errors import ConfigurationError, nearest
from forehand.registry import require_options
from forehand.robot import Observation

END_TO_END, DETACHED = "end_to_end", "detached"
GRADIENTS = (END_TO_END, DETACHED)
NOT_ITS_OWN = ("towers", "world_model", "augmentations", "random_shift", "foresight_control", "detach")
"""Options that an inverse model does not have where it is coupled."""


class CoupledPolicy(ComposedPolicy):
    """A composed policy without an action head, whose forecast is read by a model of inverse dynamics, which acts.

    inverse_model: options of the model of inverse dynamics, as those of a :class:`ComposedPolicy` with
    ``inverse_dynamics``; dim, image_size and normalization are the policy's unless stated, and towers always. Its window
    is the present and the forecasts of the horizons 1 to its chunk, so its encoders read nothing but what the world model
    forecasts (:class:`~forehand.compose.parts.ForecastsInputs`). gradient: of the loss of the actions into the forecast
    and all that made it, ``end_to_end``, or none, ``detached``. options: those of :class:`ComposedPolicy`.

    Raises :class:`ConfigurationError` for parts that do not fit each other.
    """

    def __init__(self, *, inverse_model: Mapping[str, Any], gradient: str = END_TO_END, **options: Any) -> None:
        require_options("policy 'coupled'", ComposedPolicy, options)
        if gradient not in GRADIENTS:
            raise ConfigurationError(f"policy.gradient: there is no {gradient!r}. {nearest(gradient, GRADIENTS)}")
        for key in ("action_head", "actions", "share"):
            if options.get(key) is not None:
                raise ConfigurationError(
                    f"policy.{key}: it must be null here; a coupled policy acts by its inverse model "
                    f"(policy.inverse_model)."
                )
        if options.get("inverse_dynamics"):
            raise ConfigurationError("policy.inverse_dynamics: say it of policy.inverse_model, not of the forward model.")
        super().__init__(**options)
        self.gradient = gradient
        self.inverse_model = self._make_inverse_model(inverse_model, options)
        head = self.inverse_model.action_head
        assert head is not None
        _require_coupled(self.world_model, self.inverse_model, head)
        del self.normalize_action
        for name, part in (("action_head", head), ("normalize_action", self.inverse_model.normalize_action)):
            object.__setattr__(self, name, part)  # whose weights are stored once, as the inverse model's

    def _make_inverse_model(self, config: Mapping[str, Any], options: Mapping[str, Any]) -> Composition:
        given = {key: value for key, value in config.items() if key != "name" and (key not in NOT_ITS_OWN or value)}
        if other := next((key for key in NOT_ITS_OWN if key in given), None):
            raise ConfigurationError(
                f"policy.inverse_model.{other}: leave it out; the inverse model reads what the forward model forecasts, "
                f"and no images."
            )
        same = ("contract", "statistics", "absent_cameras", "dim", "image_size", "normalization", "resize")
        made = {key: options[key] for key in same if key in options} | given
        made |= {"inverse_dynamics": True, "towers": self.towers.shapes_alone()}
        require_options("policy.inverse_model", Composition, made)
        try:
            return Composition(**made)
        except ConfigurationError as error:
            raise ConfigurationError(f"policy.inverse_model: {error}") from error

    def readouts(
        self, observation: Inputs, steps: int | None = None, queries: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Those of the forward model, and under ``action`` what the inverse model has read of its forecast."""
        keys = self._forecaster.forecast_keys
        frames = {key: value for key, value in observation.items() if key != INSTRUCTION}
        observation = {**observation, **self.towers.features(keys, frames)}
        found = super().readouts(observation, steps, queries)
        read = found[FORESIGHT]
        batch, length = read.shape[:2]
        wanted = {key: value for key, value in observation.items() if key in keys or key.endswith("_valid")}
        now = {key: value[:, :length].flatten(0, 1) for key, value in wanted.items()}
        found[ACTION] = self._inverse_readout(read.flatten(0, 1), now).unflatten(0, (batch, length))
        return found

    def _inverse_readout(self, readout: Tensor, inputs: Inputs) -> Tensor:
        """(N, F, D) readout of the forecast and inputs now, key → (N, ...) → that of the inverse model's action head."""
        model = self._forecaster
        present = {key: inputs[key] for key in model.forecast_keys}
        if STATE in present:
            present[STATE] = self.normalize_state(present[STATE])
        window = model.forecast_inputs(readout, present)
        if self.gradient == DETACHED:
            window = {key: value.detach() for key, value in window.items()}
        batch, length = next(iter(window.values())).shape[:2]
        if STATE in window:
            window[STATE] = self.normalize_state.inverse(window[STATE])
        else:  # which is not read
            window[STATE] = readout.new_zeros(batch, length, self.contract.state_size)
        for key in (STATE_VALID, *(f"{IMAGES}{camera}_valid" for camera in self.inverse_model.cameras)):
            if key in inputs:
                window[key] = inputs[key][:, None].expand(-1, length)
        read = self.inverse_model.readouts({**window, INSTRUCTION: [""] * batch})
        return read[ACTION][:, -1]

    @property
    def _forecaster(self) -> ForecastsInputs:
        assert isinstance(self.world_model, ForecastsInputs)
        return self.world_model

    def _wanted(self, foresee: WorldModel | None) -> tuple[str, ...]:
        return (FORESIGHT,)

    def _act(
        self, head: ActionHead, newest: NewestReadouts, sessions: Sequence[ComposedSession], inputs: Mapping[str, Any]
    ) -> Tensor:
        readout = self._inverse_readout(newest.readouts[FORESIGHT], inputs).float()
        with torch.autocast(self.device.type, enabled=False):  # as in training
            actions: Tensor = head(readout)
        return actions

    def _observe(
        self, sessions: Sequence[ComposedSession], observations: Sequence[Observation], features: bool = False
    ) -> dict[str, Tensor]:
        return super()._observe(sessions, observations, features=True)

    def resolved_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`forehand.compose.composition.Composition.resolved_config`."""
        inner = self.inverse_model.resolved_config(config["inverse_model"])
        return {**super().resolved_config(config), "inverse_model": inner}

    def describe(self) -> dict[str, Any]:
        """See :meth:`ComposedPolicy.describe`; the inverse model is one of the parts."""
        facts = super().describe()
        count = sum(p.numel() for p in self.inverse_model.parameters())
        parts = {**facts["parameters_by_part"], "inverse model": count}
        return {**facts, "policy": "coupled", "parameters": facts["parameters"] + count, "parameters_by_part": parts}


def _require_coupled(world_model: WorldModel | None, inverse_model: Composition, head: ActionHead) -> None:
    """Raise :class:`ConfigurationError` unless the inverse model can read what the world model forecasts."""
    forecast = world_model.forecast_keys if isinstance(world_model, ForecastsInputs) else ()
    if world_model is None or not forecast:
        kind = "none" if world_model is None else type(world_model).__name__
        raise ConfigurationError(
            f"policy.world_model: an inverse model reads a forecast of features of patches or of the state, as of latent "
            f"and state; it is {kind}."
        )
    if world_model.horizons != (wanted := tuple(range(1, head.chunk + 1))):
        raise ConfigurationError(
            f"policy.world_model.horizon: the inverse model's chunk is {head.chunk}, so it reads forecasts of the next "
            f"{head.chunk} control steps: horizon={list(wanted)}, not {list(world_model.horizons)}."
        )
    read = {key for encoder in inverse_model.encoders.values() for key in encoder.inputs}
    if unknown := sorted(read.difference(forecast)):
        raise ConfigurationError(
            f"policy.inverse_model.encoders: they read {', '.join(unknown)}, which the world model does not forecast; it "
            f"forecasts {', '.join(forecast)}."
        )
