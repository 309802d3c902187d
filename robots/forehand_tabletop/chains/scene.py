"""Scene model of a variant: table, light, cameras, fixtures and blocks; the table's surface is z = 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from dm_control import mjcf

from forehand.errors import ConfigurationError
from forehand_tabletop.arm.panda import RATE, build_panda
from forehand_tabletop.chains.dimensions import BLOCKS, BOXES, HALF
from forehand_tabletop.chains.fixtures import BULB_OFF, LIGHT_OFF, add_fixtures
from forehand_tabletop.chains.high_quality import TEXTURE, polish
from forehand_tabletop.chains.textures import SIZE, texture
from forehand_tabletop.chains.variants import Light, Surface, Variant, View

SUBSTEPS = 8
RENDER_QUALITIES = ("fast", "high")
OVERVIEW = "portrait"  # name of the camera
OVERVIEW_VIEW = View(eye=(1.36, -1.26, 0.98), target=(0.36, 0.02, 0.21), fovy=37)

COLOURS = {"red": (0.86, 0.13, 0.12, 1), "green": (0.16, 0.62, 0.22, 1), "blue": (0.12, 0.28, 0.85, 1)}


def build_scene(variant: Variant, render_quality: str = "fast") -> mjcf.RootElement:
    """The whole scene; ``render_quality``: ``fast`` without shadows, reflections and multisampling, or ``high``."""
    if render_quality not in RENDER_QUALITIES:
        raise ConfigurationError(f"render must be {' or '.join(RENDER_QUALITIES)}, not {render_quality!r}.")
    high = render_quality == "high"
    root = mjcf.RootElement(model="tabletop_chains")
    root.compiler.angle = "radian"
    root.option.set_attributes(
        timestep=1 / RATE / SUBSTEPS, integrator="implicitfast", cone="elliptic", impratio=10, iterations=30
    )
    root.visual.quality.set_attributes(offsamples=0, shadowsize=0, numslices=12, numstacks=4, numquads=1)
    root.visual.map.set_attributes(znear=0.02, zfar=10)
    root.statistic.set_attributes(extent=1, center=(0.5, 0, 0))
    _add_light(root, variant.light)
    first, second = variant.sky
    root.asset.add("texture", type="skybox", builtin="gradient", rgb1=first, rgb2=second, width=32, height=32)
    for name, surface, repeat in (
        ("table", variant.table, 1.6),
        ("cabinet", variant.cabinet, 5),
        ("floor", variant.floor, 1.2),
    ):
        _add_material(root, name, surface, repeat, TEXTURE if high else SIZE)
    for name, colour in (("bulb", BULB_OFF), ("light", LIGHT_OFF)):
        root.asset.add("material", name=name, rgba=colour, specular=0.3)
    _add_table(root)
    add_fixtures(root, variant.fixtures, variant.accents)
    for block in BLOCKS:
        _add_block(root, block)
    root.attach(build_panda())
    add_camera(root, "static", variant.camera)
    if high:
        polish(root, variant.light)
    return root


def _add_light(root: mjcf.RootElement, light: Light) -> None:
    ambient, strength = (light.ambient,) * 3, (light.strength,) * 3
    root.visual.headlight.set_attributes(ambient=ambient, diffuse=(0.22,) * 3, specular=(0, 0, 0))
    towards = np.subtract((0.5, 0, 0), light.source)
    root.worldbody.add(
        "light", name="sun", pos=light.source, dir=towards, type="directional", castshadow=False, diffuse=strength
    )


def _add_material(root: mjcf.RootElement, name: str, surface: Surface, repeat: float, size: int) -> None:
    picture = mjcf.Asset(texture(surface, size), ".png")
    root.asset.add("texture", name=name, type="2d", file=picture)
    root.asset.add(
        "material",
        name=name,
        texture=name,
        texrepeat=(repeat, repeat),
        texuniform=True,
        specular=0.1,
        reflectance=0,
    )


def _add_table(root: mjcf.RootElement) -> None:
    table = root.worldbody.add("body", name="table")
    touchable = {"contype": 0, "conaffinity": 3, "friction": (0.6, 0.01, 0.0005)}
    table.add(
        "geom", name="table", type="box", pos=(0.38, 0, -0.02), size=(0.55, 0.45, 0.02), material="table", **touchable
    )
    for x in (-0.12, 0.88):
        for y in (-0.40, 0.40):
            table.add(
                "geom",
                type="box",
                pos=(x, y, -0.38),
                size=(0.025, 0.025, 0.34),
                rgba=(0.3, 0.3, 0.32, 1),
                contype=0,
                conaffinity=0,
            )
    root.worldbody.add(
        "geom", type="plane", pos=(0, 0, -0.72), size=(4, 4, 0.1), material="floor", contype=0, conaffinity=0
    )


def _add_block(root: mjcf.RootElement, name: str) -> None:
    body = root.worldbody.add("body", name=name, pos=(0.5, -0.15, HALF))
    body.add("freejoint", name=name)
    for number, size in enumerate(BOXES[name]):
        body.add(
            "geom",
            name=f"{name}{number}",
            type="box",
            size=size,
            mass=0.05 / len(BOXES[name]),
            rgba=COLOURS[name],
            friction=(0.6, 0.01, 0.0005),
            conaffinity=3,
        )
    long = max(size[0] for size in BOXES[name])
    mark: dict[str, Any] = {"contype": 0, "conaffinity": 0, "mass": 0, "rgba": (0.97, 0.97, 0.95, 1)}
    body.add(
        "geom", type="box", pos=(long / 2, 0, HALF), size=(long / 2 - 0.002, 0.004, 0.0006), **mark
    )  # which way it is turned


def add_camera(root: mjcf.RootElement, name: str, view: View) -> None:
    """Add a camera with a fixed pose."""
    forward = np.subtract(view.target, view.eye)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    axes = (*right, *np.cross(right, forward))
    root.worldbody.add("camera", name=name, pos=view.eye, xyaxes=axes, fovy=view.fovy)
