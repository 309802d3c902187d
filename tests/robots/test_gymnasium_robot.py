"""Gymnasium environments are robots: contracts from their spaces, episodes from seeds, success from their info."""

from functools import partial

import gymnasium
import numpy as np
import pytest

from forehand import Camera, Episode, Field, registry
from forehand.conformance import assert_robot_conforms
from forehand.errors import ConfigurationError, ContractMismatch, UnknownName
from forehand.wire import RobotHost
from forehand_robots.gymnasium_robot import GymnasiumRobot
from forehand_robots.remote import RemoteRobot

EPISODE = Episode("reach", "reach the red ball", seed=7, max_steps=5)


class Pictured(gymnasium.Wrapper):
    """Reacher as LeRobot's environments look: pictures and joints in a dictionary, success in ``info``."""

    def __init__(self, env, near=0.2, ends=False):
        super().__init__(env)
        self.near, self.ends, self.metadata = near, ends, {"render_modes": ["rgb_array"]}
        picture = gymnasium.spaces.Box(0, 255, (48, 64, 3), np.uint8)
        angles = gymnasium.spaces.Box(-1, 1, (2, 2), np.float64)
        self.observation_space = gymnasium.spaces.Dict(
            {"pixels": gymnasium.spaces.Dict({"top": picture}), "angles": angles, "task": gymnasium.spaces.Text(9)}
        )

    def seen(self, numbers):
        return {"pixels": {"top": self.env.render()}, "angles": numbers[:4].reshape(2, 2), "task": "reach"}

    def reset(self, *, seed=None, options=None):
        numbers, info = self.env.reset(seed=seed, options=options)
        return self.seen(numbers), info

    def step(self, action):
        numbers, reward, terminated, truncated, info = self.env.step(action)
        reached = np.linalg.norm(numbers[-2:]) < self.near
        return self.seen(numbers), reward, terminated or self.ends, truncated, info | {"is_success": reached}


@pytest.fixture(scope="module", autouse=True)
def pictured():
    def make(near=0.2, ends=False):
        reacher = gymnasium.make("Reacher-v5", render_mode="rgb_array", width=64, height=48, max_episode_steps=-1)
        return Pictured(reacher, near, ends)

    gymnasium.register("PicturedReacher-v0", make)
    yield
    del gymnasium.registry["PicturedReacher-v0"]


pictured_reacher = partial(GymnasiumRobot, "PicturedReacher-v0", state=["angles"], rate=50)


@pytest.fixture
def connected():
    robots = []

    def connect(robot):
        robots.append(robot)
        robot.connect()
        return robot

    yield connect
    for robot in robots:
        robot.close()


@pytest.mark.parametrize(
    "make",
    [
        partial(GymnasiumRobot, "Pendulum-v1"),
        partial(GymnasiumRobot, "Reacher-v5", {"width": 32, "height": 24}, {"static": "render"}),
        pictured_reacher,
    ],
    ids=["numbers", "rendered", "dictionary"],
)
def test_it_conforms(make):
    assert_robot_conforms(make)
    assert_robot_conforms(make, EPISODE)


def test_the_contract_comes_from_the_spaces(connected):
    pendulum = connected(GymnasiumRobot("Pendulum-v1")).contract
    assert pendulum.cameras == ()
    assert pendulum.state == (Field("state", 3, low=(-1, -1, -8), high=(1, 1, 8)),)
    assert pendulum.action == (Field("action", 1, low=(-2,), high=(2,)),)
    assert pendulum.rate == 30

    reacher = connected(GymnasiumRobot("Reacher-v5", {"width": 32, "height": 24}, {"static": "render"})).contract
    assert reacher.cameras == (Camera("static", 24, 32),)
    assert reacher.state == (Field("state", 10),)  # its bounds are infinite

    pictured = connected(pictured_reacher()).contract
    assert pictured.cameras == (Camera("top", 48, 64),)
    assert pictured.state == (Field("angles", 4, low=(-1,) * 4, high=(1,) * 4),)
    assert pictured.rate == 50
    assert connected(pictured_reacher(cameras={"static": "pixels/top"})).contract.cameras == (Camera("static", 48, 64),)


def test_what_the_numbers_mean_can_be_stated(connected):
    torque = {"name": "torque", "size": 1, "unit": "N m", "mode": "absolute", "low": [-1.0], "high": [1.0]}
    robot = connected(GymnasiumRobot("Pendulum-v1", action_fields=[torque]))
    assert robot.contract.action == (Field("torque", 1, unit="N m", mode="absolute", low=(-1.0,), high=(1.0,)),)
    robot.reset()
    assert robot.act(np.array([5], np.float32)) == [1.0]


def test_a_seed_decides_the_episode(connected):
    robot = connected(GymnasiumRobot("Reacher-v5"))
    first = robot.reset(EPISODE)
    robot.step(np.ones(2, np.float32))
    np.testing.assert_array_equal(robot.reset(EPISODE).state, first.state)
    other = robot.reset(Episode("reach", "reach", seed=8, max_steps=5))
    assert not np.array_equal(other.state, first.state)


def test_success_is_what_the_environment_says(connected):
    for near, success in ((10.0, True), (0.0, False)):
        robot = connected(pictured_reacher(make={"near": near}))
        assert robot.reset(EPISODE).success is None  # it says nothing before the first step
        assert robot.step(np.zeros(2, np.float32)).success is success
    silent = connected(GymnasiumRobot("Pendulum-v1"))
    silent.reset()
    assert silent.step(np.zeros(1, np.float32)).success is None


def test_an_episode_that_ended_stands_still(connected):
    robot = connected(pictured_reacher(make={"ends": True}))
    robot.reset(EPISODE)
    last = robot.step(np.ones(2, np.float32))
    after = robot.step(np.ones(2, np.float32))
    np.testing.assert_array_equal(after.state, last.state)
    assert after.time == last.time


@pytest.mark.parametrize(
    ("robot", "says"),
    [
        (partial(GymnasiumRobot, "Pendulem-v1"), r"Pendulem.*Correct robot\.options\.id"),
        (partial(GymnasiumRobot, "a_package_nobody_has:Thing-v0"), "a_package_nobody_has"),
        (partial(GymnasiumRobot, "Pendulum-v1", {"gravitation": 3}), "gravitation"),
        (partial(GymnasiumRobot, "CartPole-v1"), r"actions are Discrete\(2\).*real numbers"),
        (partial(GymnasiumRobot, "PicturedReacher-v0", rate=50), r"'task'.*Text.*robot\.options\.state"),
        (partial(GymnasiumRobot, "Pendulum-v1", state=["angle"]), r"names \['angle'\].*they have \['observation'\]"),
        (partial(GymnasiumRobot, "Pendulum-v1", cameras={"static": "eye"}), r"cameras names \['eye'\].*'render'"),
        (partial(GymnasiumRobot, "Pendulum-v1", cameras={"static": "observation"}), r"not \(H, W, 3\) uint8"),
        (partial(pictured_reacher, rate=None, make={}), r"Give robot\.options\.rate"),
        (partial(pictured_reacher, rate=0), r"robot\.options\.rate must be a positive number of Hz, not 0"),
        (partial(pictured_reacher, rate=float("nan")), r"robot\.options\.rate must be a positive number of Hz, not nan"),
        (partial(GymnasiumRobot, "Pendulum-v1", action_fields=[{"name": "x", "size": 2}]), "describes 2 .* there are 1"),
        (partial(GymnasiumRobot, "Pendulum-v1", state_fields=[{"nam": "x"}]), "must be a list of fields.*nam"),
    ],
)
def test_what_cannot_be_a_robot_says_why(robot, says):
    with pytest.raises(ConfigurationError, match=says):
        robot().connect()


def test_a_wrong_action_moves_nothing(connected):
    robot = connected(GymnasiumRobot("Pendulum-v1"))
    start = robot.reset(EPISODE)
    with pytest.raises(ContractMismatch, match=r"1 finite numbers \(action 1\).*Nothing was moved"):
        robot.act(np.zeros(2, np.float32))
    assert robot.observe().time == start.time


def test_a_robot_host_can_wrap_it():
    robot = registry().create("robot", "gymnasium", id="PicturedReacher-v0", state=["angles"], rate=50)
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        assert_robot_conforms(lambda: RemoteRobot(host.address), EPISODE)


def test_without_a_success_the_return_decides_at_the_end(connected):
    for wanted, success in ((-1e6, True), (0.0, False)):
        robot = connected(GymnasiumRobot("Pendulum-v1", success_return=wanted))
        assert robot.reset(EPISODE).success is None
        told = [robot.step(np.zeros(1, np.float32)).success for _ in range(EPISODE.max_steps)]
        assert told == [False] * (EPISODE.max_steps - 1) + [success]
    own = connected(GymnasiumRobot("Reacher-v5"))  # has a reward_threshold of its own, -3.75
    own.reset(Episode("reach", "reach", seed=7, max_steps=1))
    assert own.step(np.zeros(2, np.float32)).success is True
    with pytest.raises(ConfigurationError, match=r"robot\.options\.success_return must be a finite number"):
        GymnasiumRobot("Pendulum-v1", success_return=float("nan"))


def test_its_benchmark_is_its_own_episodes():
    benchmark = registry().create("benchmark", "gymnasium", id="gymnasium.envs.classic_control:Pendulum-v1")
    first, second = benchmark.episodes(2, seed=3)
    assert (first.max_steps, first.task) == (200, "gymnasium.envs.classic_control:Pendulum-v1")
    assert first.seed != second.seed
    assert benchmark.episodes(2, seed=3) == [first, second]
    for options, words in (
        ({"id": "Pendulem-v1"}, "Pendulem"),
        ({"id": "PicturedReacher-v0"}, r"PicturedReacher-v0 has no limit on.*benchmark\.options\.max_steps"),
        ({}, r"benchmark\.options\.max_steps"),
        ({"max_steps": 0}, r"benchmark\.options\.max_steps must be"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            registry().create("benchmark", "gymnasium", **options)
    with pytest.raises(UnknownName, match=r"no task 'lift'.*Pendulum"):
        benchmark.episodes(1, 0, ["lift"])


def test_its_tasks_are_options_of_the_reset_and_its_seeds_may_be_stated():
    tasks = {"low": {"instruction": "start low", "options": {"x_init": 3.0}}, "high": {}}
    benchmark = registry().create("benchmark", "gymnasium", id="Pendulum-v1", tasks=tasks, seeds=[7, 8])
    assert benchmark.evaluation_options() == {"episodes": 4}
    trials = [episode for (episode,) in benchmark.trials(4, seed=0)]
    assert [(e.task, e.seed) for e in trials] == [("low", 7), ("high", 7), ("low", 8), ("high", 8)]
    assert [(e.instruction, dict(e.options)) for e in trials[:2]] == [("start low", {"x_init": 3.0}), ("high", {})]
    assert {e.task for e in benchmark.episodes(3, 0, ["low"])} == {"low"}
    assert not {e.seed for e in benchmark.episodes(3, 0)} & {7, 8}
    with pytest.raises(ConfigurationError, match="4 at most"):
        benchmark.trials(5, seed=0)
    with pytest.raises(ConfigurationError, match=r"tasks\.low has an instruction and options.*instructions"):
        registry().create("benchmark", "gymnasium", id="Pendulum-v1", tasks={"low": {"instructions": "x"}})


def test_rewards_are_summed_and_an_end_is_said_also_over_the_wire(connected):
    make = partial(registry().create, "robot", "gymnasium", id="InvertedPendulum-v5")
    with RobotHost(make(), "tcp://127.0.0.1:0").running() as host:
        for robot in (connected(make()), connected(RemoteRobot(host.address))):
            seen, steps = robot.reset(EPISODE), 0
            assert (seen.episode_return, seen.ended) == (0.0, False)
            while not seen.ended:
                seen, steps = robot.step(np.full(1, 3, np.float32)), steps + 1
            assert seen.episode_return == steps - 1 > 1  # 1 for each step in which the pole stands
            assert seen.success is None or seen.success is False


def test_tasks_that_were_never_there_are_not_judged(connected):
    tabletop = registry().create("benchmark", "tabletop")
    with pytest.raises(ConfigurationError, match=r"those of TabletopRobot, and GymnasiumRobot has none.*=gymnasium"):
        tabletop.require(connected(pictured_reacher()))
    tabletop.require(registry().create("robot", "tabletop"))
    robot = registry().create("robot", "gymnasium", id="Pendulum-v1")
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        remote = connected(RemoteRobot(host.address))
        assert remote.kind == "GymnasiumRobot"
        with pytest.raises(ConfigurationError):
            tabletop.require(remote)
        registry().create("benchmark", "gymnasium", max_steps=5).require(remote)


def test_a_renderer_is_chosen_when_the_environment_is_made(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)  # which Gymnasium reads as it draws first, long after any import
    robot = GymnasiumRobot("Reacher-v5", {"width": 32, "height": 32}, cameras={"static": "render"})
    robot.connect()
    try:
        assert robot.reset().images["static"].shape == (32, 32, 3)
    finally:
        robot.close()


def test_an_environment_is_made_by_packages():
    spec = registry().create("environment", "gymnasium", packages=["gym-pusht==0.1.6", "pymunk<7"], ids=["gym_pusht:A"])
    assert spec.requirements == ("gym-pusht==0.1.6", "pymunk<7")
    assert spec.versions == ("gym-pusht", "pymunk", "gymnasium")
    ids = registry().create("environment", "gymnasium", ids=["gymnasium.envs.classic_control:Pendulum-v1"])
    exec(compile(ids.check, "check", "exec"), {})
    assert ids.versions == ("gymnasium",)
    wrong = registry().create("environment", "gymnasium", ids=["Pendulem-v1"])
    with pytest.raises(gymnasium.error.Error, match="Pendulem"):
        exec(compile(wrong.check, "check", "exec"), {})
    with pytest.raises(ConfigurationError, match="names none"):
        registry().create("environment", "gymnasium", packages=[])
