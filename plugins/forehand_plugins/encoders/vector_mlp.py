"""MLP encoder of vector sensors: forces, torques or tactile measurements as one token."""

from __future__ import annotations

from torch import Tensor, nn

from forehand.compose.parts import SENSORS, Encoder, Inputs, require_sensor
from forehand.compose.tokens import TokenGroup
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import VECTOR
from forehand.utils.numbers import positive


class VectorMLP(Encoder):
    """One token from a vector sensor, named like it.

    sensor: name of a vector; scale: in its unit, what becomes 1 for the network, such as 5 for forces of some newtons;
    width: of the hidden layer; None: D.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        sensor: str,
        scale: float = 1.0,
        width: int | None = None,
    ) -> None:
        super().__init__()
        positive(**{"vector_mlp: scale": scale})
        size = require_sensor(contract, sensor, VECTOR, "vector_mlp").full_shape[0]
        self.sensor, self.scale = sensor, scale
        self.inputs = (SENSORS + sensor,)
        self.groups = (TokenGroup(sensor, 1, ("sensors",)),)
        width = width or dim
        self.mlp = nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, dim))

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``sensors.<name>`` (N, n) → ``<name>`` (N, 1, D)."""
        return {self.sensor: self.mlp(inputs[self.inputs[0]] / self.scale)[:, None]}
