"""Fixture models: drawer, sliding door, slider, button, switch and two lamps.

Everything can be operated with a hand that points straight down: handles are posts that stand clear of the surface behind
them, and nothing is so high that the palm, 4 cm above the fingertips, would touch it. Fixtures collide with blocks and
fingers, never with each other or the table.
"""

from __future__ import annotations

from typing import Any

from dm_control import mjcf

from forehand_tabletop.chains.dimensions import (
    BUTTON_TOP,
    BUTTON_TRAVEL,
    DEPTH,
    DOOR_HANDLE,
    DOOR_TRAVEL,
    DOOR_WIDTH,
    DRAWER_FLOOR,
    DRAWER_HANDLE,
    DRAWER_TRAVEL,
    DRAWER_WIDTH,
    FRONT,
    HANDLE_TOP,
    HINGE,
    ROOF,
    SLIDER_TRAVEL,
    SWITCH_ANGLE,
    SWITCH_LENGTH,
    WALL,
)
from forehand_tabletop.chains.variants import Accents, Fixtures

TOUCHABLE = {"contype": 0, "conaffinity": 3}  # for blocks and fingers, as the table; never for other fixtures
SEEN = {"contype": 0, "conaffinity": 0}
STEEL = (0.45, 0.47, 0.50, 1)
BULB_OFF, BULB_ON = (0.45, 0.42, 0.34, 1), (1.0, 0.86, 0.30, 1)
LIGHT_OFF, LIGHT_ON = (0.22, 0.27, 0.24, 1), (0.25, 1.0, 0.45, 1)


def add_fixtures(root: mjcf.RootElement, where: Fixtures, accents: Accents) -> None:
    """All of them, with joints ``drawer``, ``door``, ``slider``, ``switch``, ``button`` and sites on their handles.

    ``drawer``: 0 closed to DRAWER_TRAVEL open; ``door``, ``slider``: 0 left to their travel right; ``switch``: negative
    towards the camera, off, to positive, on; ``button``: 0 up, BUTTON_TRAVEL pressed. Sites of the same names are the
    points to grasp, and ``drawer_inside`` is the middle of the drawer's floor. Materials ``bulb`` and ``light`` are the
    lamps'.
    """
    handle = (*accents.handle, 1)
    _add_drawer(root, where.drawer, (*accents.drawer, 1), handle)
    _add_door(root, where.door, (*accents.door, 1), handle)
    _add_slider(root, where.slider, handle)
    _add_switch(root, where.switch, (*accents.door, 1))
    _add_button(root, where.button, (0.80, 0.18, 0.16, 1))


def _board(body: Any, pos: tuple[float, ...], size: tuple[float, ...], **look: Any) -> None:
    body.add("geom", type="box", pos=pos, size=size, **{**TOUCHABLE, "friction": (0.8, 0.01, 0.001), **look})


def _add_cabinet(root: mjcf.RootElement, name: str, x: float, width: float) -> Any:
    """A low cabinet, open in front; (x, FRONT, 0) is the middle of its lower front edge."""
    cabinet = root.worldbody.add("body", name=name, pos=(x, FRONT, 0))
    half, middle = width / 2 + 2 * WALL, DEPTH / 2
    for side in (-1, 1):
        _board(cabinet, (side * (half - WALL), middle, ROOF / 2), (WALL, middle, ROOF / 2), material="cabinet")
    _board(cabinet, (0, DEPTH - WALL, ROOF / 2), (half, WALL, ROOF / 2), material="cabinet")
    _board(cabinet, (0, middle, ROOF - WALL), (half, middle, WALL), material="cabinet")
    return cabinet


def _add_drawer(root: mjcf.RootElement, x: float, colour: Any, handle: Any) -> None:
    cabinet = _add_cabinet(root, "drawer_cabinet", x, DRAWER_WIDTH)
    _add_lamp(cabinet, "light", (0, DEPTH - 0.03, ROOF), LIGHT_OFF)
    drawer = cabinet.add("body", name="drawer", pos=(0, 0, 0))
    _joint(drawer, "drawer", (0, -1, 0), (0, DRAWER_TRAVEL), damping=12, frictionloss=5)
    half, inside, low = DRAWER_WIDTH / 2 - 0.002, DEPTH - 4 * WALL, 0.034
    floor = {"friction": (1.2, 0.02, 0.001), "rgba": (0.80, 0.72, 0.60, 1)}
    _board(drawer, (0, inside / 2, DRAWER_FLOOR - WALL / 2), (half, inside / 2, WALL / 2), **floor)
    for side in (-1, 1):
        _board(drawer, (side * (half - WALL), inside / 2, low / 2), (WALL, inside / 2, low / 2), rgba=colour)
    _board(drawer, (0, inside - WALL, low / 2), (half, WALL, low / 2), rgba=colour)
    _board(drawer, (0, 0, 0.027), (half, WALL, 0.024), rgba=colour)  # its face
    for side in (-1, 1):
        _board(drawer, (side * 0.036, -DRAWER_HANDLE / 2, 0.042), (0.004, DRAWER_HANDLE / 2, 0.006), rgba=handle)
    _board(drawer, (0, -DRAWER_HANDLE, 0.042), (0.040, 0.006, 0.020), rgba=handle)
    drawer.add("site", name="drawer", pos=(0, -DRAWER_HANDLE, 0.040), size=(0.001,), rgba=(0, 0, 0, 0))
    drawer.add("site", name="drawer_inside", pos=(0, inside / 2, DRAWER_FLOOR), size=(0.001,), rgba=(0, 0, 0, 0))


def _add_door(root: mjcf.RootElement, x: float, colour: Any, handle: Any) -> None:
    cabinet = _add_cabinet(root, "door_cabinet", x, 2 * DOOR_WIDTH)
    _add_bulb(cabinet)
    for side, tone in ((-1, (0.86, 0.46, 0.40, 1)), (1, (0.36, 0.60, 0.66, 1))):  # what each half hides
        back = (side * DOOR_WIDTH / 2, DEPTH - 3 * WALL, ROOF / 2)
        cabinet.add("geom", type="box", pos=back, size=(DOOR_WIDTH / 2, WALL, ROOF / 2 - 2 * WALL), rgba=tone, **SEEN)
    _board(cabinet, (0, DEPTH / 2, ROOF / 2), (WALL, DEPTH / 2 - 0.01, ROOF / 2), material="cabinet")
    door = cabinet.add("body", name="door", pos=(-DOOR_WIDTH / 2, 0, 0))
    _joint(door, "door", (1, 0, 0), (0, DOOR_TRAVEL), damping=6, frictionloss=1.5)
    _board(door, (0, 0, ROOF / 2 - WALL), (DOOR_WIDTH / 2, WALL, ROOF / 2 - 2 * WALL), rgba=colour)
    _board(door, (0, -DOOR_HANDLE / 2, 0.042), (0.008, DOOR_HANDLE / 2, 0.006), rgba=handle)
    _board(door, (0, -DOOR_HANDLE, 0.036), (0.010, 0.010, HANDLE_TOP - 0.036), rgba=handle)
    door.add("site", name="door", pos=(0, -DOOR_HANDLE, 0.036), size=(0.001,), rgba=(0, 0, 0, 0))


def _add_slider(root: mjcf.RootElement, at: tuple[float, float], handle: Any) -> None:
    rail = root.worldbody.add("body", name="slider_rail", pos=(*at, 0))
    long = SLIDER_TRAVEL / 2 + 0.022
    rail.add("geom", type="box", pos=(0, 0, 0.004), size=(long, 0.014, 0.004), rgba=(0.82, 0.83, 0.84, 1), **SEEN)
    rail.add("geom", type="box", pos=(0, 0, 0.0085), size=(long - 0.008, 0.004, 0.001), rgba=(0.1, 0.1, 0.1, 1), **SEEN)
    knob = rail.add("body", name="slider", pos=(-SLIDER_TRAVEL / 2, 0, 0))
    _joint(knob, "slider", (1, 0, 0), (0, SLIDER_TRAVEL), damping=4, frictionloss=1.0)
    _board(knob, (0, 0, 0.036), (0.009, 0.009, 0.026), rgba=handle)
    _board(knob, (0, 0, 0.056), (0.013, 0.013, 0.006), rgba=(0.90, 0.55, 0.15, 1))
    knob.add("site", name="slider", pos=(0, 0, 0.036), size=(0.001,), rgba=(0, 0, 0, 0))


def _add_switch(root: mjcf.RootElement, at: tuple[float, float], colour: Any) -> None:
    plate = root.worldbody.add("body", name="switch_plate", pos=(*at, 0))
    plate.add("geom", type="box", pos=(0, 0, 0.005), size=(0.026, 0.042, 0.005), rgba=(0.30, 0.31, 0.33, 1), **SEEN)
    lever = plate.add("body", name="switch", pos=(0, 0, HINGE))
    _joint(lever, "switch", (-1, 0, 0), (-SWITCH_ANGLE, SWITCH_ANGLE), damping=0.02, frictionloss=0.04, armature=0.0005)
    _board(lever, (0, 0, SWITCH_LENGTH / 2), (0.007, 0.007, SWITCH_LENGTH / 2), rgba=STEEL)
    _board(lever, (0, 0, SWITCH_LENGTH - 0.006), (0.012, 0.010, 0.008), rgba=colour)
    lever.add("site", name="switch", pos=(0, 0, 0.028), size=(0.001,), rgba=(0, 0, 0, 0))


def _add_button(root: mjcf.RootElement, at: tuple[float, float], colour: Any) -> None:
    plate = root.worldbody.add("body", name="button_plate", pos=(*at, 0))
    plate.add("geom", type="cylinder", pos=(0, 0, 0.008), size=(0.032, 0.008), rgba=(0.85, 0.85, 0.84, 1), **SEEN)
    cap = plate.add("body", name="button", pos=(0, 0, 0))
    cap.add(
        "joint",
        name="button",
        type="slide",
        axis=(0, 0, -1),
        range=(0, BUTTON_TRAVEL),
        stiffness=250,
        springref=-0.004,
        damping=8,
        armature=0.2,
    )
    cap.add(
        "geom",
        type="cylinder",
        pos=(0, 0, BUTTON_TOP / 2 + 0.006),
        size=(0.021, BUTTON_TOP / 2 - 0.006),
        rgba=colour,
        **SEEN,
    )
    _board(cap, (0, 0, BUTTON_TOP / 2 + 0.006), (0.015, 0.015, BUTTON_TOP / 2 - 0.006), rgba=colour, mass=0.02)
    cap.add("site", name="button", pos=(0, 0, BUTTON_TOP), size=(0.001,), rgba=(0, 0, 0, 0))


def _add_lamp(cabinet: Any, name: str, at: tuple[float, float, float], colour: Any) -> None:
    x, y, z = at
    cabinet.add("geom", type="box", pos=(x, y, z + 0.006), size=(0.050, 0.014, 0.006), rgba=STEEL, **SEEN)
    cabinet.add("geom", name=name, type="box", pos=(x, y, z + 0.026), size=(0.046, 0.011, 0.014), material=name, **SEEN)


def _add_bulb(cabinet: Any) -> None:
    y, z = DEPTH - 0.035, ROOF
    cabinet.add("geom", type="cylinder", pos=(0, y, z + 0.008), size=(0.020, 0.008), rgba=STEEL, **SEEN)
    cabinet.add("geom", name="bulb", type="sphere", pos=(0, y, z + 0.036), size=(0.026,), material="bulb", **SEEN)


def _joint(body: Any, name: str, axis: tuple[int, int, int], limits: tuple[float, float], **dynamics: float) -> None:
    kind = "hinge" if name == "switch" else "slide"
    body.add("joint", name=name, type=kind, axis=axis, range=limits, **{"armature": 0.3, **dynamics})
