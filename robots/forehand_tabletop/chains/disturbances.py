"""Evaluation disturbances: novel objects, changed light, a moving distractor, a pushed block.

An episode names its disturbances in its options (``disturbances: "lighting pushed_block"``), and its seed determines
their parameters; the layout is the one of the same seed without disturbances. Success conditions depend on none of them.
Disturbed scenes have simulations of their own, so that undisturbed ones cost no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from forehand.errors import ConfigurationError, nearest
from forehand_tabletop.chains.dimensions import BLOCKS, HALF, MIDDLE, Vector
from forehand_tabletop.chains.layout import LANE_LENGTH, LANE_WIDTH
from forehand_tabletop.chains.world import FINGERS

if TYPE_CHECKING:  # the simulator: not needed to name disturbances
    from dm_control import mjcf

    from forehand_tabletop.chains.simulation import ChainSimulation

OPTION = "disturbances"
"""The option of an episode that names them, separated by spaces."""

Numbers = np.random.Generator

TOUCHABLE = {"conaffinity": 3, "friction": (0.6, 0.01, 0.0005)}  # as blocks are
SEEN = {"contype": 0, "conaffinity": 0}
ASIDE = (0.27, -0.31), (0.77, 0.00)  # m, x and y, where novel objects may stand
CLEAR = 0.10  # m, between a novel object and blocks, fixtures or other objects, at least

LANES = {"back": 0.395, "front": -0.36}  # m, y along which the distractor drives
LANE_ENDS = 0.18, 0.84  # m, x
DRIVING_SPEED = 0.06, 0.16  # m/s

PUSH_AFTER = 3, 12  # control steps into a task
PUSH_LENGTH = 0.05, 0.07  # m: less than a push that is a task
PUSH_ANGLE = 1.0  # rad, at most, away from ±y: along x, pushing is a task
PUSH_REGION = (0.36, -0.31), (0.68, -0.05)  # m, x and y, where a pushed block may end
PUSH_CLEAR = 0.06  # m, between its way and other blocks or fixtures
HAND_CLEAR = 0.09  # m, between it and the hand
FRICTION, GRAVITY = 0.6, 9.81


class Disturbance:
    """Base class of disturbances: subclasses override what they need, and have a random generator of their own."""

    def build(self, scene: mjcf.RootElement) -> None:
        """Add bodies to the scene before it is compiled."""

    def lay_out(self, simulation: ChainSimulation, seed: int) -> None:
        """Called after the scene of ``seed`` has been laid out."""
        self.place(simulation, self._numbers(seed))

    def begin(self, simulation: ChainSimulation, task: str, seed: int) -> None:
        """Called when a task begins, in a new scene or where the last one ended."""
        self.plan(simulation, task, self._numbers(seed, task))

    def place(self, simulation: ChainSimulation, numbers: Numbers) -> None:
        """Change the scene after its layout; ``numbers`` follow from its seed."""

    def plan(self, simulation: ChainSimulation, task: str, numbers: Numbers) -> None:
        """Decide what happens in ``task``, which begins now; ``numbers`` follow from the seed and the task."""

    def step(self, simulation: ChainSimulation) -> None:
        """Called before every control step."""

    def _numbers(self, seed: int, task: str = "") -> Numbers:
        """Random numbers of this disturbance alone, so that it changes neither the scene's nor another's."""
        name = next(name for name, kind in DISTURBANCES.items() if type(self) is kind)
        return np.random.default_rng([seed, zlib.crc32(f"{name} {task}".encode())])


class NovelObjects(Disturbance):
    """A lemon, a mug, a tin and a toy duck stand on the table: they can be touched and moved as blocks can."""

    def build(self, scene: mjcf.RootElement) -> None:
        """Add them, each a body with a free joint."""
        for name, shapes in OBJECTS.items():
            body = scene.worldbody.add("body", name=name, pos=(0.3, -0.3, 0))
            body.add("freejoint", name=name)
            for shape in shapes:
                body.add("geom", **{**TOUCHABLE, "mass": 0.12 / len(shapes), "condim": 6, **shape})

    def place(self, simulation: ChainSimulation, numbers: Numbers) -> None:
        """Put each where it obstructs no task at the start."""
        taken = [*_blocks(simulation), *_fixtures(simulation)]
        for name in OBJECTS:
            place = max(numbers.uniform(*ASIDE, size=(200, 2)), key=lambda at: _room(at, taken))
            for at in numbers.uniform(*ASIDE, size=(200, 2)):
                if _room(at, taken) > CLEAR and not any(_in_lane(at, block) for block in taken[: len(BLOCKS)]):
                    place = at
                    break
            taken.append(place)
            yaw = numbers.uniform(0, np.pi)  # half of it, as in a quaternion
            simulation.data.joint(name).qpos[:] = (*place, 0.0005, np.cos(yaw), 0, 0, np.sin(yaw))


class Lighting(Disturbance):
    """Light comes from elsewhere, is stronger or weaker, and warmer or colder."""

    def __init__(self) -> None:
        self._plain: tuple[Vector, ...] | None = None  # directions (L, 3), strengths (L, 3), ambient (3,)

    def place(self, simulation: ChainSimulation, numbers: Numbers) -> None:
        """Change the light of the variant; the lamps on the cabinets stay as they are."""
        model, data, headlight = simulation.model, simulation.data, simulation.model.vis.headlight
        if self._plain is None:
            self._plain = model.light_dir.copy(), model.light_diffuse.copy(), headlight.ambient.copy()
        directions, strengths, ambient = self._plain
        warmth = numbers.uniform(-0.22, 0.22)
        tint = np.array([1 + warmth, 1, 1 - warmth])
        angle, height = numbers.uniform(0, 2 * np.pi), numbers.uniform(0.7, 1.6)
        elsewhere = np.array([np.cos(angle), np.sin(angle), -height]) / np.hypot(1, height)
        lamps = [light for light in range(model.nlight) if model.light(light).name != "window"]
        turned = directions[lamps] - directions[lamps].mean(0) + elsewhere
        model.light_dir[lamps] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        away = np.linalg.norm(model.light_pos[lamps] - MIDDLE, axis=1, keepdims=True)
        model.light_pos[lamps] = MIDDLE - away * model.light_dir[lamps]
        # MuJoCo does not update these by itself while nothing moves.
        data.light_xdir[lamps], data.light_xpos[lamps] = model.light_dir[lamps], model.light_pos[lamps]
        model.light_diffuse[:] = strengths * numbers.uniform(0.5, 1.35) * tint
        headlight.ambient[:] = ambient * numbers.uniform(0.45, 1.15) * tint


class MovingDistractor(Disturbance):
    """A toy bus drives to and fro, behind the cabinets or along the front edge; it is visible, but touches nothing."""

    def build(self, scene: mjcf.RootElement) -> None:
        """Add the bus as a motion-capture body, which forces do not move."""
        body = scene.worldbody.add("body", name="bus", mocap=True, pos=(LANE_ENDS[0], LANES["back"], 0))
        for shape in BUS:
            body.add("geom", **{**SEEN, "mass": 0, **shape})

    def place(self, simulation: ChainSimulation, numbers: Numbers) -> None:
        """Choose where it drives, how fast, and where it begins."""
        self._y = LANES[str(numbers.choice(list(LANES)))]
        self._speed = numbers.uniform(*DRIVING_SPEED)
        self._start = numbers.uniform(0, 2)  # 0: at the left end, 1: at the right, 2: back at the left
        self.step(simulation)

    def step(self, simulation: ChainSimulation) -> None:
        """Move it to where it is by now."""
        first, last = LANE_ENDS
        way = (self._start + simulation.time * self._speed / (last - first)) % 2
        x = first + (last - first) * (way if way < 1 else 2 - way)
        body = simulation.model.body("bus").mocapid[0]
        simulation.data.mocap_pos[body] = (x, self._y, 0)
        simulation.data.mocap_quat[body] = (1, 0, 0, 0) if way < 1 else (0, 0, 0, 1)


class PushedBlock(Disturbance):
    """Soon after each task begins, the block that it is about, or another, is given a push of 5 to 7 cm.

    It waits until a block lies free on the table, away from the hand, with room on its way. Not far enough to
    accomplish a task by itself, and mostly towards or away from the camera, since left and right are tasks.
    """

    def plan(self, simulation: ChainSimulation, task: str, numbers: Numbers) -> None:
        """Decide when, which block, and where to."""
        own = [name for name in BLOCKS if name in task.split("_")]
        self._order = own or [str(name) for name in numbers.permutation(BLOCKS)]
        self._wait = int(numbers.integers(*PUSH_AFTER))
        angles = np.pi / 2 * numbers.choice([-1, 1], 16) + numbers.uniform(-PUSH_ANGLE, PUSH_ANGLE, 16)
        lengths = numbers.uniform(*PUSH_LENGTH, 16)
        self._pushes = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]

    def step(self, simulation: ChainSimulation) -> None:
        """Push the block once the time has come and there is room."""
        self._wait -= 1
        if self._wait >= 0 or not self._order:
            return
        world = simulation.world()
        for name in self._order:
            block = world.blocks[name]
            covered = any(world.below(other) == name for other in BLOCKS)
            if not world.on_table(name) or covered or block.touching & FINGERS:
                continue
            at = block.position[:2]
            others = [world.blocks[other].position[:2] for other in BLOCKS if other != name]
            hand = simulation.tool_position
            for push in self._pushes:
                end = at + push
                inside = bool(np.all(end > PUSH_REGION[0]) and np.all(end < PUSH_REGION[1]))
                ways = [at + share * push for share in (0.4, 0.7, 1.0)]
                room = min(_room(way, [*others, *_fixtures(simulation)]) for way in ways)
                reach = min(float(np.linalg.norm([*(way - hand[:2]), HALF - hand[2]])) for way in [at, *ways])
                if inside and room > PUSH_CLEAR and reach > HAND_CLEAR:
                    length = float(np.linalg.norm(push))
                    speed = np.sqrt(2 * FRICTION * GRAVITY * length)  # what friction stops after this length
                    simulation.data.joint(name).qvel[:2] = speed * push / length
                    self._order = []
                    return


DISTURBANCES: Mapping[str, type[Disturbance]] = {
    "novel_objects": NovelObjects,
    "lighting": Lighting,
    "moving_distractor": MovingDistractor,
    "pushed_block": PushedBlock,
}


def disturbances_from(named: str | Iterable[str]) -> tuple[str, ...]:
    """Names from an episode's option or a list, in the order of :data:`DISTURBANCES`; none means the plain scene.

    Raises :class:`~forehand.errors.ConfigurationError` on an unknown name.
    """
    names = set(named.split() if isinstance(named, str) else named)
    for name in names - set(DISTURBANCES):
        raise ConfigurationError(f"There is no disturbance {name!r}. {nearest(name, list(DISTURBANCES))}")
    return tuple(name for name in DISTURBANCES if name in names)


def disturbed(named: Iterable[str]) -> dict[str, str]:
    """The option of an episode with these disturbances; no option without any."""
    names = disturbances_from(named)
    return {OPTION: " ".join(names)} if names else {}


def _blocks(simulation: ChainSimulation) -> list[Vector]:
    return [simulation.data.joint(name).qpos[:2].copy() for name in BLOCKS]


def _fixtures(simulation: ChainSimulation) -> list[Vector]:
    fixed = simulation.variant.fixtures
    rail = [(fixed.slider[0] + along, fixed.slider[1]) for along in (-0.05, 0.0, 0.05)]
    return [np.asarray(place) for place in (fixed.button, fixed.switch, *rail)]


def _room(at: Vector, taken: Sequence[Vector]) -> float:
    return min(float(np.linalg.norm(at - other)) for other in taken)


def _in_lane(at: Vector, block: Vector) -> bool:
    """Whether something at ``at`` would be in the way of a push of ``block``, or of the fist behind it."""
    x, y = np.abs(at - block)
    return bool(x < LANE_LENGTH and y < LANE_WIDTH + 0.02)


def _shape(kind: str, pos: tuple[float, ...], size: tuple[float, ...], rgb: tuple[float, ...], **more: Any) -> Any:
    return {"type": kind, "pos": pos, "size": size, "rgba": (*rgb, 1), **more}


_LEMON, _CHINA, _TIN, _LABEL = (0.98, 0.85, 0.16), (0.95, 0.94, 0.90), (0.72, 0.74, 0.76), (0.80, 0.24, 0.45)
_DUCK, _BEAK, _EYE = (1.0, 0.80, 0.12), (0.95, 0.45, 0.10), (0.08, 0.08, 0.08)
OBJECTS: Mapping[str, Sequence[Any]] = {  # the origin is on the table, in the middle
    "lemon": (
        _shape("cylinder", (0, 0, 0.003), (0.013, 0.003), _LEMON),  # flat below, so that it stays where it is
        _shape("ellipsoid", (0, 0, 0.019), (0.026, 0.019, 0.019), _LEMON),
        _shape("ellipsoid", (0.024, 0, 0.019), (0.007, 0.006, 0.006), _LEMON),
    ),
    "mug": (
        _shape("cylinder", (0, 0, 0.0225), (0.020, 0.0225), _CHINA),
        _shape("cylinder", (0, 0, 0.0445), (0.0175, 0.0008), (0.25, 0.16, 0.10)),
        _shape("box", (0.030, 0, 0.022), (0.003, 0.003, 0.012), _CHINA),
        _shape("box", (0.024, 0, 0.034), (0.008, 0.003, 0.003), _CHINA),
        _shape("box", (0.024, 0, 0.011), (0.008, 0.003, 0.003), _CHINA),
    ),
    "tin": (
        _shape("cylinder", (0, 0, 0.027), (0.0185, 0.027), _TIN),
        _shape("cylinder", (0, 0, 0.027), (0.0190, 0.019), _LABEL),
    ),
    "duck": (
        _shape("cylinder", (0, 0, 0.003), (0.017, 0.003), _DUCK),
        _shape("ellipsoid", (0, 0, 0.016), (0.026, 0.019, 0.016), _DUCK),
        _shape("sphere", (0.009, 0, 0.037), (0.013,), _DUCK),
        _shape("ellipsoid", (0.023, 0, 0.036), (0.006, 0.006, 0.003), _BEAK),
        _shape("sphere", (0.018, 0.008, 0.041), (0.0025,), _EYE),
        _shape("sphere", (0.018, -0.008, 0.041), (0.0025,), _EYE),
    ),
}
BUS: Sequence[Any] = (  # drives along +x
    _shape("box", (0, 0, 0.064), (0.095, 0.034, 0.040), (0.93, 0.76, 0.10)),
    _shape("box", (0, 0, 0.109), (0.090, 0.031, 0.006), (0.97, 0.96, 0.92)),
    _shape("box", (0.006, 0, 0.078), (0.080, 0.0345, 0.014), (0.30, 0.42, 0.52)),
    _shape("box", (0, 0, 0.040), (0.0955, 0.0344, 0.006), (0.75, 0.20, 0.16)),
    *(
        _shape("cylinder", (x, 0, 0.020), (0.020, 0.036), (0.12, 0.12, 0.13), quat=(0.7071, 0.7071, 0, 0))
        for x in (-0.058, 0.058)
    ),
)
