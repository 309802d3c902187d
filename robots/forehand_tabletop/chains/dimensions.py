"""Dimensions of the scene's objects, in m; needs no simulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

BLOCKS = ("red", "green", "blue")
BLOCK_HEIGHT = 0.04  # m, of all
HALF = BLOCK_HEIGHT / 2
SHAPES = {"red": "cube", "green": "cross", "blue": "brick"}
BOXES = {  # m, half sizes of the boxes that each block is made of
    "red": ((0.020, 0.020, HALF),),
    "green": ((0.024, 0.010, HALF), (0.010, 0.024, HALF)),
    "blue": ((0.027, 0.018, HALF),),
}

FRONT = 0.20  # m, y of the cabinets' faces
DEPTH = 0.145  # m, of the cabinets
ROOF = 0.066  # m, top of the cabinets
WALL = 0.004  # m, half the thickness of boards

DRAWER_WIDTH, DRAWER_TRAVEL = 0.19, 0.13  # m
DRAWER_HANDLE = 0.06  # m, in front of its face: an open finger fits between
DRAWER_FLOOR = 0.008  # m, top of its floor
DOOR_WIDTH, DOOR_TRAVEL = 0.12, 0.12  # m
DOOR_HANDLE = 0.035  # m, in front of its face
SLIDER_TRAVEL = 0.08  # m
SWITCH_ANGLE = 0.5  # rad, either way
SWITCH_LENGTH = 0.055  # m, of the lever above its hinge
HINGE = 0.012  # m, height of the switch's hinge
BUTTON_TRAVEL = 0.010  # m
BUTTON_TOP = 0.034  # m, when it is not pressed
HANDLE_TOP = 0.062  # m

MIDDLE = (0.4, 0.0, 0.2)  # m, of table and arm, at which lamps point
