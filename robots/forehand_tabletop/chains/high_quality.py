"""High-quality rendering of the scene; physics is unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from dm_control import mjcf
from numpy.typing import NDArray

from forehand_tabletop.chains.dimensions import MIDDLE
from forehand_tabletop.chains.variants import Light

TEXTURE = 1024  # pixels, either way
LAMPS = 6  # that the light is made of, so that shadows have soft edges
SPREAD = 0.045  # rad, between the middle of the light and the lamps around it
SHADOW = 1024  # pixels of each lamp's shadow map
DISTANCE = 2.4  # m, from the lamps to what they are aimed at
ROUNDNESS = 0.22  # of a box's thinnest half side
LARGEST_RADIUS, SMALLEST_BOX = 0.012, 0.0015  # m
HIDDEN = 3  # the first group of geoms that is not drawn

Mesh = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def polish(scene: mjcf.RootElement, light: Light) -> None:
    """Add soft shadows, smooth edges, rounded boxes and shiny materials to ``scene`` before it is compiled."""
    scene.visual.quality.set_attributes(offsamples=8, shadowsize=SHADOW, numslices=32, numstacks=14)
    scene.visual.map.set_attributes(shadowscale=0.45)
    _light(scene, light)
    _gleam(scene)
    for box in list(_plain_boxes(scene)):
        _round(box)


def rounded_box(half: NDArray[np.float64], radius: float, steps: int = 2) -> Mesh:
    """Vertices (V, 3) m, normals (V, 3), triangles (F, 3) of a box with half sides (3,) m and edges of ``radius`` m."""
    bend = np.sin(np.linspace(0, np.pi / 4, steps + 1)) / np.sin(np.pi / 4)  # finer where it bends most
    vertices: list[NDArray[np.float64]] = []
    normals: list[NDArray[np.float64]] = []
    faces: list[NDArray[np.int64]] = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            across = [(axis + 1) % 3, (axis + 2) % 3]
            lines = []
            for other in across:
                inner = half[other] - radius
                lines.append(np.concatenate([-inner - radius * bend[::-1], inner + radius * bend]))
            grid = np.zeros((len(lines[0]), len(lines[1]), 3))
            grid[..., axis] = side * half[axis]
            grid[..., across[0]], grid[..., across[1]] = np.meshgrid(*lines, indexing="ij")
            core = np.clip(grid, radius - half, half - radius)
            normal = grid - core
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            first = sum(len(found) for found in vertices)
            index = first + np.arange(grid[..., 0].size).reshape(grid.shape[:2])
            a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
            turn = (a, b, c, a, c, d) if side > 0 else (a, c, b, a, d, c)
            faces.append(np.stack(turn, axis=-1).reshape(-1, 3))
            vertices.append((core + radius * normal).reshape(-1, 3))
            normals.append(normal.reshape(-1, 3))
    return np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces)


def _light(scene: mjcf.RootElement, light: Light) -> None:
    """Replace the sun by an area light of several lamps that cast shadows, and add some light without shadows."""
    ambient, strength = 0.80 * light.ambient, light.strength
    scene.visual.headlight.set_attributes(ambient=(ambient,) * 3, diffuse=(0.08,) * 3, specular=(0, 0, 0))
    scene.find("light", "sun").remove()
    towards = np.subtract((0.5, 0, 0), light.source)
    towards = towards / np.linalg.norm(towards)
    side = np.cross(towards, (0, 0, 1))
    side /= np.linalg.norm(side)
    up = np.cross(side, towards)
    for number in range(LAMPS):
        angle = 2 * np.pi * number / LAMPS
        direction = towards + SPREAD * (np.cos(angle) * side + np.sin(angle) * up)
        scene.worldbody.add(
            "light",
            name=f"lamp{number}",
            type="spot",
            pos=np.array(MIDDLE) - DISTANCE * direction,
            dir=direction,
            cutoff=60,
            exponent=1.5,
            castshadow=True,
            diffuse=(1.1 * strength / LAMPS,) * 3,
            specular=(0.6 / LAMPS,) * 3,
        )
    scene.worldbody.add(
        "light",
        name="window",
        type="directional",
        dir=(-0.6 * towards[0], 0.8, -0.8),
        castshadow=False,
        diffuse=(0.22 * strength,) * 3,
        specular=(0, 0, 0),
    )


def _gleam(scene: mjcf.RootElement) -> None:
    scene.asset.add("material", name="satin", specular=0.35, shininess=0.45)
    for geom in scene.find_all("geom"):
        if geom.material is None and geom.rgba is not None and geom.root is scene:
            geom.material = "satin"
    for arm in {geom.root for geom in scene.find_all("geom")} - {scene}:
        arm.asset.add("material", name="satin", specular=0.5, shininess=0.6)
        for geom in arm.find_all("geom"):
            geom.material = "satin"


def _plain_boxes(scene: mjcf.RootElement) -> Iterator[Any]:
    """Boxes in one colour."""
    for geom in scene.find_all("geom"):
        if geom.type == "box" and geom.rgba is not None and min(geom.size) >= SMALLEST_BOX:
            yield geom


def _round(box: Any) -> None:
    """Draw a box with rounded edges; collisions and mass remain those of the box."""
    box.group = HIDDEN
    if box.parent.name == "button":
        return  # inside its cap
    root, half = box.root, np.asarray(box.size, dtype=np.float64)
    radius = min(ROUNDNESS * float(half.min()), LARGEST_RADIUS)
    name = "rounded_" + "_".join(f"{1e6 * side:.0f}" for side in half)
    if root.find("mesh", name) is None:
        vertices, normals, faces = rounded_box(half, radius)
        root.asset.add("mesh", name=name, vertex=vertices.ravel(), normal=normals.ravel(), face=faces.ravel())
    placed = {key: getattr(box, key) for key in ("pos", "quat") if getattr(box, key) is not None}
    box.parent.add(
        "geom",
        type="mesh",
        mesh=name,
        rgba=box.rgba,
        material=box.material,
        contype=0,
        conaffinity=0,
        mass=0,
        **placed,
    )
