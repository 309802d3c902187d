"""Scene model: table, three coloured blocks, light and cameras around the arm; the table's surface is z = 0."""

from __future__ import annotations

import numpy as np
from dm_control import mjcf

from forehand_tabletop.arm.panda import RATE, build_panda
from forehand_tabletop.blocks.blocks import BLOCK_SIZE, BLOCKS

SUBSTEPS = 16

COLOURS = {"red": (0.85, 0.10, 0.10, 1.0), "green": (0.10, 0.62, 0.18, 1.0), "blue": (0.10, 0.25, 0.85, 1.0)}


def build_scene() -> mjcf.RootElement:
    """The whole scene, with rendering settings chosen for speed: no shadows, reflections or multisampling."""
    root = mjcf.RootElement(model="tabletop")
    root.compiler.angle = "radian"
    root.option.set_attributes(
        timestep=1 / RATE / SUBSTEPS, integrator="implicitfast", cone="elliptic", impratio=10, iterations=50
    )
    root.visual.quality.set_attributes(offsamples=0, shadowsize=0, numslices=16, numstacks=6)
    root.visual.headlight.set_attributes(ambient=(0.42, 0.42, 0.42), diffuse=(0.30, 0.30, 0.30), specular=(0, 0, 0))
    root.visual.map.set_attributes(znear=0.02, zfar=10)
    root.statistic.set_attributes(extent=1, center=(0.5, 0, 0))
    root.worldbody.add(
        "light", pos=(0.8, -0.8, 1.8), dir=(-0.3, 0.6, -1.4), mode="fixed", castshadow=False, diffuse=(0.5, 0.5, 0.5)
    )
    root.asset.add(
        "texture",
        type="skybox",
        builtin="gradient",
        rgb1=(0.62, 0.70, 0.78),
        rgb2=(0.90, 0.92, 0.94),
        width=32,
        height=32,
    )
    _add_table(root)
    for block in BLOCKS:
        _add_block(root, block)
    root.attach(build_panda())
    eye, target = (1.16, 0.0, 0.66), (0.515, 0.0, 0.06)
    root.worldbody.add("camera", name="static", pos=eye, xyaxes=_look_at(eye, target), fovy=34)
    return root


def _add_table(root: mjcf.RootElement) -> None:
    wood, steel, floor = (0.80, 0.74, 0.64, 1), (0.35, 0.37, 0.40, 1), (0.56, 0.60, 0.64, 1)
    table = root.worldbody.add("body", name="table")
    table.add(
        "geom",
        name="table",
        type="box",
        pos=(0.40, 0, -0.02),
        size=(0.60, 0.60, 0.02),
        rgba=wood,
        friction=(0.6, 0.01, 0.0005),
        conaffinity=3,
    )
    for x in (-0.14, 0.94):
        for y in (-0.54, 0.54):
            table.add("geom", type="box", pos=(x, y, -0.38), size=(0.03, 0.03, 0.34), rgba=steel, contype=0)
    root.worldbody.add("geom", type="box", pos=(0, 0, -0.77), size=(4, 4, 0.05), rgba=floor, contype=0, conaffinity=0)


def _add_block(root: mjcf.RootElement, name: str) -> None:
    body = root.worldbody.add("body", name=name, pos=(0.5, 0, BLOCK_SIZE / 2))
    body.add("freejoint", name=name)
    body.add(
        "geom",
        name=name,
        type="box",
        size=(BLOCK_SIZE / 2,) * 3,
        mass=0.05,
        rgba=COLOURS[name],
        friction=(0.6, 0.01, 0.0005),
        conaffinity=3,
    )


def _look_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> tuple[float, ...]:
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    return (*right, *np.cross(right, forward))
