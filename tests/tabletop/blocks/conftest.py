"""One connected robot for all tests of a module; every test resets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forehand_tabletop.blocks.robot import TabletopRobot


@pytest.fixture(scope="module")
def robot() -> Iterator[TabletopRobot]:
    robot = TabletopRobot()
    robot.connect()
    yield robot
    robot.close()
