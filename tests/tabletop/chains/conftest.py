"""One connected robot for all tests of a module; every test resets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forehand_tabletop.chains.robot import TabletopChainsRobot


@pytest.fixture(scope="module")
def robot() -> Iterator[TabletopChainsRobot]:
    robot = TabletopChainsRobot(image_size=48)
    robot.connect()
    yield robot
    robot.close()
