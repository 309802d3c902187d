"""Whatever a driver reads, answers or raises, and whatever is wanted of it: no command that breaks a limit reaches it."""

from __future__ import annotations

import logging
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forehand import Contract, Field, Observation, Robot
from forehand.contracts.rotations import from_quaternion, to_axis_angle
from forehand.control.chunking import Asynchronous, RecedingHorizon, TemporalEnsemble
from forehand.control.converted_robot import ConvertedRobot
from forehand.control.limited_robot import LimitedRobot
from forehand.running import WatchdogRobot

RATE = 10.0
WATCHDOG, STOP = 60.0, 90.0
TURN = Field(
    "turn", 4, rotation="quaternion_xyzw", mode="absolute", max_velocity=(3.0,) * 4, max_acceleration=(12.0,) * 4
)
CONTRACT = Contract(
    (),
    (Field("joint", 1, unit="deg"), Field("place", 2, unit="m"), Field("turn", 4, rotation="quaternion_xyzw")),
    (
        Field(
            "joint",
            1,
            unit="deg",
            mode="absolute",
            low=(-90.0,),
            high=(90.0,),
            max_velocity=(30.0,),
            max_acceleration=(90.0,),
        ),
        Field(
            "place",
            2,
            unit="m",
            mode="delta",
            low=(-0.05, -0.05),
            high=(0.05, 0.1),
            max_velocity=(0.3, 0.6),
            max_acceleration=(1.0, 1.0),
            workspace_low=(0.2, -0.3),
            workspace_high=(0.7, 0.3),
        ),
        TURN,
        Field("spin", 3, unit="rad", rotation="axis_angle", mode="delta", low=(-0.1,) * 3, high=(0.1,) * 3),
        Field("grip", 1, mode="absolute", gripper="open", low=(-1.0,), high=(1.0,), max_velocity=(4.0,)),
    ),
    RATE,
)
JOINT, PLACE, ROTATION, GRIP = slice(0, 1), slice(1, 3), slice(3, 7), slice(10, 11)
LOW = np.concatenate([f.low or (-np.inf,) * f.size for f in CONTRACT.action]).astype(np.float32)
HIGH = np.concatenate([f.high or (np.inf,) * f.size for f in CONTRACT.action]).astype(np.float32)
FLOOR, CEILING = np.array([0.2, -0.3]), np.array([0.7, 0.3])
START = np.array([0.0, 0.4, 0.0, 0.0, 0.0, 0.0, 1.0])
CONVERSIONS = [
    *("state.joint:rad", "action.joint:rad", "state.place:cm", "action.place:cm"),
    *("action.spin:rotation_6d", "action.grip:closed", "action.grip:0..1"),
]


class Driver(Robot):
    """A body that does what its script says, and notes each limit that a command breaks.

    The script has one deed for each call: ``fine``, ``raise`` (before or ``after`` it is done), or numbers that are read
    or answered instead of the true ones.
    """

    contract = CONTRACT

    def __init__(self, script):
        self.script, self.broken, self.commands = list(script), [], 0
        self.pose, self.read = START.copy(), None  # where it is, and where it last said that it is
        self.resting, self.reckoned = True, np.zeros(2)
        self.last, self.moved, self.gripped = np.zeros(11), np.zeros(11), None

    def deed(self):
        what, numbers = self.script.pop(0) if self.script else ("fine", None)
        if what == "raise":
            raise OSError("the cable came off")
        return what, numbers

    def afterwards(self, what):
        if what == "raise after":
            raise OSError("the answer was lost")

    def connect(self):
        self.afterwards(self.deed()[0])

    def reset(self, episode=None):
        self.resting, self.read, self.gripped = True, None, None
        what, _ = self.deed()
        self.afterwards(what)
        return self.observe()

    def observe(self):
        what, numbers = self.deed()
        state = self.pose.astype(np.float32)
        seconds = 0.0
        if what == "numbers":
            state[numbers[0] % 7] = numbers[1]
            seconds = numbers[2]
        if what == "all numbers":
            state = np.resize(np.array(numbers, np.float32), len(numbers) + 5)
        self.read = state
        self.afterwards(what)
        return Observation({}, state, seconds)

    def act(self, action):
        self.resting, answer = self.take(action)
        return answer

    def step(self, action):
        self.resting, _ = self.take(action, answers=False)
        return self.observe()

    def hold(self):
        self.rest()
        self.afterwards(self.deed()[0])

    def stop(self):
        self.hold()

    def rest(self):
        self.resting, self.read = True, None

    def take(self, action, answers=True):
        self.commands += 1
        self.judge(np.array(action))
        what, numbers = self.deed()
        answer = np.array(action)
        if what == "numbers":
            answer[numbers[0] % 11] = numbers[1]
        if what == "all numbers":
            answer = np.resize(np.array(numbers, np.float32), len(numbers) + 9)
        self.carry_out(np.array(action, np.float64), answer if answers else np.array(action))
        self.afterwards(what)
        return False, answer

    def judge(self, action):
        """Note every limit that ``action`` breaks, as seen from the body."""
        if action.shape != (11,) or action.dtype != np.float32 or not np.isfinite(action).all():
            self.broken.append(f"no action: {action!r}")
            return
        self.require("range", ((action >= LOW) & (action <= HIGH)).all(), action)
        command = action.astype(np.float64)
        known = self.read is not None and self.read.shape == (7,)
        if self.resting:
            start, moved = (self.read.astype(float) if known else np.full(7, np.nan)), np.zeros(11)
            self.reckoned = start[PLACE]
            joint, turn = start[JOINT], start[3:7]
            tidy = np.isfinite(turn).all() and abs(np.linalg.norm(turn) - 1) < 0.11
            self.require("turn from nowhere", tidy, turn)
        else:
            joint, turn, moved = self.last[JOINT], self.last[ROTATION], self.moved
        step = command - np.concatenate([joint, np.zeros(10)])
        self.require("joint velocity", (np.abs(step[JOINT]) <= 3 + 1e-3).all(), joint, command[JOINT])
        self.require(
            "joint acceleration", (np.abs(step[JOINT] - moved[JOINT]) <= 0.9 + 2e-3).all(), joint, command[JOINT]
        )
        self.require("place velocity", (np.abs(step[PLACE]) <= np.array([0.03, 0.06]) + 1e-6).all(), command[PLACE])
        self.require("place acceleration", (np.abs(step[PLACE] - moved[PLACE]) <= 0.01 + 1e-6).all(), command[PLACE])
        there = self.reckoned + command[PLACE]
        self.require("workspace", ((there >= FLOOR - 1e-5) & (there <= CEILING + 1e-5)).all(), there)
        if np.isfinite(turn).all():
            way = to_axis_angle(from_quaternion(command[ROTATION]) @ from_quaternion(turn).T)
            self.require("turn velocity", np.linalg.norm(way) <= 0.3 + 1e-3, turn, command[ROTATION])
            before = np.zeros(3) if self.resting else self.turned
            self.require("turn acceleration", np.linalg.norm(way - before) <= 0.12 + 1e-2, turn, command[ROTATION])
            self.turned = way
        if self.gripped is not None:
            self.require("grip velocity", (np.abs(command[GRIP] - self.gripped) <= 0.4 + 1e-5).all(), command[GRIP])
        self.moved, self.gripped = step, command[GRIP]

    def carry_out(self, command, answer):
        self.last = command
        sent = command[PLACE]
        did = answer[PLACE].astype(float) if answer.shape == (11,) else sent
        ends = self.reckoned + did
        less = np.where(sent < 0, did >= sent, did <= sent) & (ends >= FLOOR) & (ends <= CEILING)
        self.reckoned = self.reckoned + np.where(less, did, sent)
        self.pose = np.concatenate([command[JOINT], self.reckoned, command[ROTATION]])

    def require(self, what, true, *about):
        if not true:
            self.broken.append(f"{what}: {', '.join(map(str, about))}")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


STACKS = {
    "limited": LimitedRobot,
    "limited twice": lambda driver: LimitedRobot(LimitedRobot(driver)),
    "limited, converted": lambda driver: LimitedRobot(ConvertedRobot(driver, CONVERSIONS)),
    "watched": lambda driver: WatchdogRobot(driver, WATCHDOG, STOP),
    "watched, converted": lambda driver: WatchdogRobot(ConvertedRobot(driver, CONVERSIONS), WATCHDOG, STOP),
}
SOURCES = {
    "as it is": RecedingHorizon,
    "two of a chunk": lambda: RecedingHorizon(2),
    "ensemble": TemporalEnsemble,
    "blended": lambda: Asynchronous(2),
}

odd = st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 3.4e38, 1e-45, -1e-40, 90.0, -90.0, 150.0, 0.7, 0.2])
any_number = st.one_of(odd, st.floats(width=32), st.floats(-2, 2, width=32))
deeds = st.one_of(
    st.just(("fine", None)),
    st.just(("fine", None)),
    st.sampled_from([("raise", None), ("raise after", None)]),
    st.tuples(st.just("numbers"), st.tuples(st.integers(0, 10), any_number, any_number)),
    st.tuples(st.just("all numbers"), st.lists(any_number, min_size=1, max_size=3)),
)
wanted = st.tuples(
    st.integers(0, 999), st.sampled_from([0.01, 0.3, 1.0, 100.0, 1e30]), st.one_of(st.none(), odd), st.integers(0, 11)
)
operations = st.one_of(
    st.tuples(st.sampled_from(["act", "act", "step"]), wanted),
    st.tuples(st.sampled_from(["act", "act", "step"]), wanted),
    st.tuples(st.sampled_from(["observe", "hold", "stop", "reset", "silence", "long silence"]), st.none()),
)


def chunk_of(wanted, size):
    """Three actions of random numbers, of which one may be odd."""
    seed, scale, number, where = wanted
    chunk = (np.random.default_rng(seed).normal(size=(3, size)) * scale).astype(np.float32)
    if number is not None:
        chunk[0, where % size] = number
    return chunk


def drive(robot, clock, source, steps):
    """Do what ``steps`` say, whatever comes of it."""
    with suppress(Exception):
        robot.connect()
    with suppress(Exception):
        robot.reset()
    for what, wanted in steps:
        with suppress(Exception):
            if wanted is None and "silence" in what:
                clock.now += WATCHDOG + 1 if what == "silence" else WATCHDOG + STOP + 1
                robot.observe()
            elif wanted is None:
                getattr(robot, what)()
            else:
                source.add(chunk_of(wanted, robot.contract.action_size))
                getattr(robot, what)(source.next_action())
    with suppress(Exception):
        robot.close()


@pytest.fixture
def clock(monkeypatch):
    """The time of whatever watches over a robot."""
    clock = Clock()
    for module in ("forehand.control.robot_thread", "forehand.control.watchdog_robot"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=clock.monotonic))
    logging.disable(logging.CRITICAL)
    yield clock
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # of executions, which reckon with anything
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(list(STACKS)),
    st.sampled_from(list(SOURCES)),
    st.lists(deeds, max_size=30),
    st.lists(operations, min_size=1, max_size=25),
)
def test_no_command_that_breaks_a_limit_reaches_a_driver(clock, stack, source, script, steps):
    driver = Driver(script)
    drive(STACKS[stack](driver), clock, SOURCES[source](), steps)
    assert driver.broken == []


@pytest.mark.parametrize("stack", STACKS)
def test_commands_do_reach_it(clock, stack):
    driver = Driver([])
    drive(STACKS[stack](driver), clock, RecedingHorizon(), [("act", (0, 1.0, None, 0)), ("step", (1, 1.0, None, 0))] * 10)
    assert driver.commands == 20
    assert driver.broken == []
    assert driver.last[0] != 0


def test_what_breaks_a_limit_would_be_seen(clock):
    for wrong, what in (
        (np.full(11, np.nan), "no action"),
        (np.full(11, 2.0), "range"),
        (np.full(11, -80.0), "joint velocity"),
        (np.full(11, 0.05), "place acceleration"),
    ):
        driver = Driver([])
        driver.reset()
        driver.act(wrong.astype(np.float32))
        assert any(what in broken for broken in driver.broken)
    driver = Driver([("fine", None), ("numbers", (0, np.nan, 0.0))])
    driver.reset()
    driver.act(np.ones(11, np.float32))
    assert any("joint velocity: [nan]" in broken for broken in driver.broken)
