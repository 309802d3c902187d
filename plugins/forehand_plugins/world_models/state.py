"""State world model: the robot's future state, or future vectors of a sensor such as poses of objects."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.horizons import Horizon, horizon_axis, read_horizon
from forehand.compose.parts import FUTURE, PRESENT, SENSORS, STATE, Inputs, LossTerms, WorldModel, masked_mean
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import VECTOR
from forehand.errors import ConfigurationError, nearest
from forehand.utils.numbers import positive


class State(WorldModel):
    """A vector ``horizon`` control steps ahead, by an MLP of all queries.

    vector: ``state``, the robot's, normalized as the policy normalizes it; or ``sensors.<name>`` of a vector sensor in
    the data, such as poses of objects. The robot that the policy runs on need not have that sensor, so its ``size`` n
    must be stated. scale: in the sensor's unit, what becomes 1 for the network. horizon: one or several. queries: F,
    tokens. width: of the hidden layer; None: D. residual: predict the change from the present vector. weight: of the loss
    term ``foresight``, the smooth L1 error of a number. A forecast is not shown.

    Raises :class:`ConfigurationError` for a vector that there is not, or of another size.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        vector: str = STATE,
        size: int | None = None,
        scale: float = 1.0,
        horizon: Horizon = 3,
        queries: int = 2,
        width: int | None = None,
        residual: bool = True,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        positive(**{"state: scale": scale})
        if queries < 1:
            raise ConfigurationError(f"state: queries must be 1 or more, not {queries}.")
        self._add_queries(queries, dim)
        self.cameras, self.horizon, self.weights = (), read_horizon("state", horizon), {"foresight": weight}
        self.target_vectors, self.residual = (vector,), residual
        self.size, self.scale = _read_size(contract, vector, size), 1.0 if vector == STATE else scale
        width = width or dim
        last = nn.Linear(width, len(self.horizons) * self.size)
        nn.init.normal_(last.weight, std=1e-3 if residual else width**-0.5)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(queries * dim, width), nn.GELU(), last)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., F, D) readout → (..., K, n): the vectors, or their change."""
        vectors: Tensor = self.mlp(readout.flatten(-2))
        return vectors.unflatten(-1, (-1, self.size))

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``foresight``: the error of (B, T, F, D) readout against the vector (B, T, n) of the future."""
        (key,) = self.target_vectors
        now, future = target[PRESENT + key][:, :, None], horizon_axis(target[FUTURE + key], self.horizon)
        forecast = self(readout).float()
        if self.residual:
            forecast = forecast + now / self.scale
        error = F.smooth_l1_loss(forecast, future / self.scale, reduction="none").mean(dim=-1)  # (B, T, K)
        return {"foresight": masked_mean(error, horizon_axis(valid, self.horizon))}

    @property
    def forecast_keys(self) -> tuple[str, ...]:
        """The state, unless it forecasts a sensor."""
        return tuple(key for key in self.target_vectors if key == STATE)

    def forecast_inputs(self, readout: Tensor, present: Inputs) -> dict[str, Tensor]:
        """(N, F, D) readout and the normalized state now (N, S) → (N, 1 + K, S)."""
        expected, found = self(readout).float() * self.scale, dict[str, Tensor]()
        for key in self.forecast_keys:
            now = present[key][:, None]
            found[key] = torch.cat([now, now + expected if self.residual else expected], dim=1)
        return found


def _read_size(contract: Contract, vector: str, size: int | None) -> int:
    """How many numbers a vector has."""
    if vector == STATE:
        if size not in (None, contract.state_size):
            raise ConfigurationError(f"state: the state has {contract.state_size} numbers, not {size}; leave size out.")
        return contract.state_size
    vectors = {SENSORS + s.name: s.full_shape[0] for s in contract.sensors if s.kind == VECTOR}
    if not vector.startswith(SENSORS):
        raise ConfigurationError(f"state: there is no vector {vector!r}. {nearest(vector, [STATE, *vectors])}")
    if size is None or vectors.get(vector, size) != size or size < 1:
        known = f" In the data's contract it has {vectors[vector]}." if vector in vectors else ""
        raise ConfigurationError(f"state: size must be the number of elements of {vector!r}, not {size}.{known}")
    return size
