"""Factory of LeRobot policies with fresh weights, for the contract and the statistics of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forehand.compose.parts import require_cameras
from forehand.contracts.contract import Contract
from forehand.utils.images import Size
from forehand_plugins.lerobot.configuration import IMAGE_PREFIX, dataset_stats, make_config, make_module
from forehand_plugins.lerobot.policy import LeRobotPolicy, Processors


def make_policy(
    *,
    contract: Contract,
    statistics: Mapping[str, Any],
    type: str,
    options: Mapping[str, Any] | None = None,
    cameras: Sequence[str] | None = None,
    image_size: int | Sequence[int] | None = None,
    resize: str = "area",
    imagenet_statistics: bool = False,
) -> LeRobotPolicy:
    """A LeRobot policy with fresh weights, for data of ``contract`` and ``statistics``.

    type, options: LeRobot's ``--policy.type`` and ``--policy.…``. cameras: those it sees, None: all of the contract.
    image_size, resize: what images are brought to, as in :class:`~forehand.data.window_spec.WindowSpec`.
    imagenet_statistics: images are normalized with ImageNet's, as in ``lerobot-train``, instead of the data's own.
    """
    names = [camera.name for camera in contract.cameras] if cameras is None else list(cameras)
    require_cameras(contract, names, "policy.cameras")
    size: int | Size | None = image_size if image_size is None or isinstance(image_size, int) else tuple(image_size)  # type: ignore[assignment]
    config = make_config(type, options, contract, names, size)
    stats = dataset_stats(config, statistics, imagenet_statistics)

    def make_processors(device: str) -> Processors:
        from lerobot.policies.factory import make_pre_post_processors

        config.device = device
        before, after = make_pre_post_processors(config, dataset_stats=stats)
        return before, after

    return LeRobotPolicy(
        contract=contract,
        config=config,
        module=make_module(config),
        make_processors=make_processors,
        cameras={name: IMAGE_PREFIX + name for name in names},
        image_size=size,
        resize=resize,
    )
