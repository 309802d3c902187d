"""Arm model with the kinematics of Franka Emika's Panda, made of capsules, cylinders and boxes.

Numbers: Franka Control Interface documentation, "Robot and interface specifications" (modified Denavit-Hartenberg
parameters after Craig, joint limits, flange and hand).
"""

from __future__ import annotations

import math

from dm_control import mjcf

RATE = 15.0  # Hz, control

DENAVIT_HARTENBERG = (  # a (m), d (m), alpha (rad), from one joint's frame to the next
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
JOINT_LOW = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)  # rad
JOINT_HIGH = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)  # rad
JOINT_SPEED = (2.1750, 2.1750, 2.1750, 2.1750, 2.6100, 2.6100, 2.6100)  # rad/s
JOINT_TORQUE = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)  # N m
FLANGE = 0.107  # m along the last joint's axis
HAND_TURN = -math.pi / 4  # rad about that axis, from the flange to the hand
TOOL = 0.1034  # m along the hand's axis, from the flange to the point between the fingertips
FINGER_TRAVEL = 0.04  # m, each finger
READY = (0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4)  # rad, hand pointing down

JOINTS = tuple(f"joint{i}" for i in range(1, 8))
FINGERS = ("left_finger", "right_finger")
STIFFNESS = (4500.0, 4500.0, 3500.0, 3500.0, 1000.0, 1000.0, 600.0)  # N m/rad
DAMPING = (200.0, 200.0, 150.0, 120.0, 30.0, 30.0, 15.0)  # N m s/rad

WHITE = (0.93, 0.93, 0.94, 1.0)
DARK = (0.20, 0.21, 0.23, 1.0)
RUBBER = (0.10, 0.10, 0.11, 1.0)

# How each link looks, in its own Denavit-Hartenberg frame: type, from, to, radius, colour.
SHAPES = (
    (
        ("cylinder", (0, 0, 0), (0, 0, 0.13), 0.075, WHITE),
        ("capsule", (-0.08, 0, 0.05), (0, 0, 0.05), 0.055, WHITE),
        ("cylinder", (0, 0, 0.13), (0, 0, 0.145), 0.068, DARK),
    ),
    (
        ("cylinder", (0, 0, -0.188), (0, 0, -0.03), 0.060, WHITE),
        ("capsule", (0, -0.035, 0), (0, 0.035, 0), 0.062, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.098), (0, 0, 0.098), 0.050, DARK),
        ("capsule", (0, -0.04, 0), (0, -0.17, 0), 0.057, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.14), (0, 0, -0.13), 0.058, DARK),
        ("capsule", (0, 0, -0.10), (0.02, 0, -0.03), 0.056, WHITE),
        ("capsule", (0.02, 0, -0.03), (0.0825, 0, 0), 0.056, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.075), (0, 0, 0.075), 0.046, DARK),
        ("capsule", (0, 0, 0), (-0.0825, 0.06, 0), 0.055, WHITE),
        ("capsule", (-0.0825, 0.06, 0), (-0.0825, 0.10, 0), 0.055, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.245), (0, 0, -0.235), 0.056, DARK),
        ("capsule", (0, 0, -0.20), (0, 0.035, -0.10), 0.054, WHITE),
        ("capsule", (0, 0.035, -0.10), (0, 0, 0), 0.046, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.07), (0, 0, 0.07), 0.040, DARK),
        ("capsule", (0, 0, 0), (0.088, 0, 0), 0.046, WHITE),
    ),
    (
        ("cylinder", (0, 0, -0.055), (0, 0, 0.075), 0.046, WHITE),
        ("cylinder", (0, 0, 0.075), (0, 0, FLANGE), 0.036, DARK),
    ),
)


def build_panda() -> mjcf.RootElement:
    """The arm and its gripper, base frame at the origin.

    Joints ``joint1`` … ``joint7`` and ``left_finger``, ``right_finger`` have one position actuator each, of the same
    name. Sites: ``flange``, and ``tool`` between the fingertips, which has the base frame's orientation when the hand
    points straight down, so that the rotation vector of a working hand stays near zero. Camera: ``wrist``.
    """
    root = mjcf.RootElement(model="panda")
    root.compiler.angle = "radian"
    root.default.geom.set_attributes(contype=0, conaffinity=0, density=1000)
    link = root.worldbody.add("body", name="link0")
    _draw(link, 0)
    for index, (name, (a, d, alpha)) in enumerate(zip(JOINTS, DENAVIT_HARTENBERG, strict=True)):
        link = link.add(
            "body",
            name=f"link{index + 1}",
            pos=(a, -d * math.sin(alpha), d * math.cos(alpha)),
            quat=(math.cos(alpha / 2), math.sin(alpha / 2), 0, 0),
            gravcomp=1,
        )
        link.add("joint", name=name, axis=(0, 0, 1), range=(JOINT_LOW[index], JOINT_HIGH[index]), armature=0.1)
        _draw(link, index + 1)
        _add_servo(root, name, STIFFNESS[index], DAMPING[index], JOINT_TORQUE[index])
    link.add("site", name="flange", pos=(0, 0, FLANGE), size=(0.001,), rgba=(0, 0, 0, 0))
    _add_hand(root, link)
    return root


def _draw(link: mjcf.Element, index: int) -> None:
    for kind, start, end, radius, colour in SHAPES[index]:
        link.add("geom", type=kind, fromto=(*start, *end), size=(radius,), rgba=colour)


def _add_servo(root: mjcf.RootElement, joint: str, stiffness: float, damping: float, force: float) -> None:
    root.actuator.add(
        "general",
        name=joint,
        joint=joint,
        biastype="affine",
        gainprm=(stiffness,),
        biasprm=(0, -stiffness, -damping),
        forcerange=(-force, force),
    )


def _add_hand(root: mjcf.RootElement, flange_link: mjcf.Element) -> None:
    hand = flange_link.add(
        "body",
        name="hand",
        pos=(0, 0, FLANGE),
        quat=(math.cos(HAND_TURN / 2), 0, 0, math.sin(HAND_TURN / 2)),
        gravcomp=1,
    )
    touchable = {"contype": 2, "conaffinity": 0}  # meets table and blocks, but never the other finger
    hand.add("geom", type="box", pos=(0, 0, 0.032), size=(0.026, 0.095, 0.028), rgba=WHITE, **touchable)
    hand.add("geom", type="box", pos=(0, 0, 0.057), size=(0.018, 0.088, 0.003), rgba=DARK)
    hand.add("geom", type="box", pos=(0.040, 0, 0.010), size=(0.014, 0.012, 0.008), rgba=DARK)
    hand.add("site", name="tool", pos=(0, 0, TOOL), quat=(0, 1, 0, 0), size=(0.001,), rgba=(0, 0, 0, 0))
    # Mounted in front of the hand, looking along the fingers and a little back, so that both fingertips are in view.
    tilt = 0.35
    hand.add(
        "camera",
        name="wrist",
        pos=(0.075, 0, 0.030),
        xyaxes=(0, 1, 0, math.cos(tilt), 0, math.sin(tilt)),
        fovy=75,
    )
    for name, turn in zip(FINGERS, ((1, 0, 0, 0), (0, 0, 0, 1)), strict=True):
        finger = hand.add("body", name=name, pos=(0, 0, 0.0584), quat=turn, gravcomp=1)
        finger.add("joint", name=name, type="slide", axis=(0, 1, 0), range=(0, FINGER_TRAVEL), armature=0.1)
        finger.add("geom", type="box", pos=(0, 0.012, 0.010), size=(0.010, 0.012, 0.010), rgba=DARK, **touchable)
        finger.add(
            "geom",
            type="box",
            pos=(0, 0.006, 0.0367),
            size=(0.010, 0.006, 0.0169),
            rgba=RUBBER,
            condim=4,
            friction=(1.6, 0.05, 0.001),
            priority=1,
            solref=(0.01, 1),
            **touchable,
        )
        _add_servo(root, name, 1000, 60, 40)
    root.equality.add("joint", joint1=FINGERS[0], joint2=FINGERS[1], polycoef=(0, 1, 0, 0, 0))
