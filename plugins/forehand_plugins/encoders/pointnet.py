"""PointNet encoder: a point cloud as tokens, whatever the order and the number of its points."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forehand.compose.parts import SENSORS, Encoder, Inputs, require_sensor
from forehand.compose.tokens import TokenGroup
from forehand.contracts.contract import Contract
from forehand.contracts.sensor import POINT_CLOUD
from forehand.errors import ConfigurationError


class PointNet(Encoder):
    """``tokens`` tokens from one point cloud: an MLP of each point, the maximum over all points, and a second MLP.

    PointNet (Qi et al. 2017, section 4.2) without its transformation networks, since a robot's clouds have a frame, and
    with layer normalization, which does not depend on how many points there are. Rows of NaN are no points; a cloud
    without points has zeros for the maximum.

    sensor: name of a point cloud; widths: of the layers before the maximum.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        sensor: str,
        widths: Sequence[int] = (64, 128, 256),
        tokens: int = 1,
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ConfigurationError(f"pointnet: widths are positive numbers, at least one, not {list(widths)}.")
        channels = require_sensor(contract, sensor, POINT_CLOUD, "pointnet").full_shape[-1]
        self.sensor, self.tokens = sensor, tokens
        self.inputs = (SENSORS + sensor,)
        self.groups = (TokenGroup(sensor, tokens, ("sensors",)),)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((channels, *widths)):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.ReLU()]
        self.each = nn.Sequential(*layers)
        self.whole = nn.Sequential(nn.Linear(widths[-1], dim), nn.ReLU(), nn.Linear(dim, tokens * dim))

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``sensors.<name>`` (N, P, C), NaN where there is no point → ``<name>`` (N, tokens, D)."""
        cloud = inputs[self.inputs[0]]
        there = ~cloud.isnan().all(dim=-1, keepdim=True)
        features = self.each(torch.where(there, cloud, 0.0))
        # Rectified features are 0 at least, so that 0 for what is no point changes no maximum.
        highest = torch.where(there, features, 0.0).amax(dim=1)
        return {self.sensor: self.whole(highest).unflatten(-1, (self.tokens, -1))}
