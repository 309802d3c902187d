"""What the model sees, from the simulator's raw readings on: equal, number by number, to what the protocol prescribes.

Recorded readings of LIBERO and CALVIN go through driver, robot host, conversion, action chunking and preprocessing of a
small Seer. ``make test-simulators`` drives the simulators themselves by a converted Seer of full size, and compares with
readings that ``tests/data/traces/record_*.py`` takes from each simulator without Forehand.
"""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.seer_plugin import prescribed

from forehand import registry
from forehand.control.chunking import make_chunker
from forehand.control.converted_robot import converted
from forehand.environments import find
from forehand.learning.checkpoint import build_policy, load_policy
from forehand.running.rollout import rollout
from forehand.wire import RobotHost
from forehand_calvin.benchmark import CalvinBenchmark
from forehand_calvin.initial_states import initial_state
from forehand_calvin.robot import CalvinRobot
from forehand_calvin.tasks import KEYS
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.robot import LiberoRobot
from forehand_robots.hosted import HostedRobot
from forehand_robots.remote import RemoteRobot
from forehand_seer.clip_tower import CLIPTextTower
from forehand_seer.contracts import PLATFORMS
from forehand_seer.released import build, configuration
from forehand_seer.released_names import PREFIX, VISION, unused_shapes

DATA = Path(__file__).parent.parent / "data/traces"
SMALL = {"hidden_dim": 64, "transformer_layers": 1, "transformer_heads": 4, "num_resampler_query": 2}
FLAGS = {
    "libero": {"sequence_length": 7, "gripper_width": True},
    "calvin": {"sequence_length": 10},
}


class Seen:
    """What reached the model: by frame the normalized pictures, arm and gripper; the sentences' tokens."""

    def __init__(self, policy):
        cameras, state, text = (policy.encoders[name] for name in ("cameras", "state", "text"))
        self.pictures, self.arm, self.gripper, self.tokens = [], [], [], []
        for module, kept in (
            (cameras.tower.patch_embed, self.pictures),
            (state.encode_arm, self.arm),
            (state.encode_gripper, self.gripper),
            (text.tower.text.token_embedding, self.tokens),
        ):
            module.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.extend(inputs[0].clone()))

    def require(self, wanted, frames, sentence):
        """That it is what is ``wanted`` of these raw frames, in this order."""
        assert len(self.arm) == len(frames)
        for number, frame in enumerate(frames):
            expected = wanted(frame)
            for ours, theirs in zip(self.pictures[2 * number : 2 * number + 2], expected["pictures"], strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
            np.testing.assert_allclose(self.arm[number], expected["arm"], atol=2e-6)
            np.testing.assert_allclose(self.gripper[number], expected["gripper"], atol=1e-7)
        assert [found.tolist() for found in self.tokens] == [prescribed.tokens(sentence)]


class Recorded:
    """A simulation that gives recorded readings, one after the other, and keeps what it was sent."""

    success, info, sketching = False, {}, False

    def __init__(self, readings):
        self.readings, self.sent, self.begun = readings, [], None

    def begin(self, *arguments):
        self.begun = arguments
        return self.readings[0]

    def step(self, action):
        self.sent.append(action)
        return self.readings[len(self.sent)]

    def blocks(self, scene):
        return ["red_block", "blue_block", "pink_block"]

    def accomplished(self, task):
        return False

    def close(self):
        pass


def small_seer(platform):
    config = configuration(**FLAGS[platform], **SMALL)
    config["encoders"]["cameras"]["tower"] |= {"width": 64, "layers": 1, "heads": 1}
    config["encoders"]["text"]["tower"] = None
    policy = build_policy(config, PLATFORMS[platform](), {}).eval()
    policy.encoders["text"].tower = CLIPTextTower(width=64, layers=1, heads=1)
    return policy


def drive(policy, robot, benchmark, episode):
    """An episode as ``forehand eval`` drives it; gives what the model saw, and what was commanded."""
    seen, commanded = Seen(policy), []
    options = benchmark.evaluation_options()
    chunking = dict(options["chunking"])
    mine = policy.for_robot(robot.contract)
    chunker = make_chunker(mine.contract, chunking.pop("name"), binary_gripper=options["binary_gripper"], **chunking)
    rollout(robot, mine, episode, chunker, on_step=lambda step: commanded.append(step.action))
    return seen, np.array([action for action in commanded if action is not None], np.float32)


@contextmanager
def hosted(robot):
    """``robot`` behind a host, with the camera's name that Seer's contract has."""
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        remote = converted(RemoteRobot(host.address), ["camera.static:primary"])
        remote.connect()
        yield remote
        remote.close()


def readings_of(raw, names):
    count = len(raw[names[0]])
    return [{name: raw[name][i] for name in names} for i in range(count)]


@pytest.mark.slow
def test_libero_s_recorded_readings_reach_the_model_as_prescribed():
    raw = dict(np.load(DATA / "libero.npz"))
    names = [name for name in raw if name != "sentence"]
    for name in ("agentview_image", "robot0_eye_in_hand_image"):
        raw[name] = raw[name][[0, 1, 1, 1, 1, 1, 2, 3]]  # of the settling scene the last alone is kept
    simulation = Recorded(readings_of(raw, names))
    robot = LiberoRobot("seer")
    robot._simulation = simulation
    benchmark = LiberoBenchmark("libero_10", max_steps=len(simulation.readings) - 6)
    (episode,) = benchmark.trials(1, 0)[0]
    assert episode.instruction == str(raw["sentence"])
    with hosted(robot) as remote:
        seen, commanded = drive(small_seer("libero"), remote, benchmark, episode)
    assert simulation.begun == ("libero_10", 0, 0, 0, "environment")
    assert not np.any(simulation.sent[:5])  # the steps that settle the scene, whose readings are not seen
    np.testing.assert_array_equal(np.float32(simulation.sent[5:]), commanded)
    assert set(commanded[:, 6]) <= {-1, 1}
    seen.require(lambda frame: prescribed.libero(raw, frame), [0, *range(6, 5 + len(commanded))], str(raw["sentence"]))


@pytest.mark.slow
def test_calvin_s_recorded_readings_reach_the_model_as_prescribed():
    raw = dict(np.load(DATA / "calvin.npz"))
    pictures = ("rgb_static", "rgb_gripper")
    simulation = Recorded(
        [
            {"rgb_obs": {name: one[name] for name in pictures}, "robot_obs": one["robot_obs"]}
            for one in readings_of(raw, [*pictures, "robot_obs"])
        ]
    )
    robot = CalvinRobot()
    robot._simulation = simulation
    benchmark = CalvinBenchmark(protocol="seer", max_steps=len(simulation.readings) - 1)
    episode = benchmark.trial(0, 0)[0]
    with hosted(robot) as remote:
        seen, commanded = drive(small_seer("calvin"), remote, benchmark, episode)
    np.testing.assert_array_equal(np.float32(simulation.sent), commanded)
    assert set(commanded[:, 6]) <= {-1, 1}
    seen.require(lambda frame: prescribed.calvin(raw, frame), range(len(commanded)), episode.instruction)


# ---- the simulators themselves ----------------------------------------------------------------------------------------

STEPS = int(os.environ.get("TRACE_STEPS", "9"))  # more than the window of LIBERO's Seer; 600 or 360 are whole episodes


def full_seer(platform, folder, seer):
    """A Seer of full size, converted from released files with generated weights."""
    policy = build(**FLAGS[platform])
    weights = seer.generated(policy)
    vision = {name.removeprefix(VISION): weights.pop(name) for name in list(weights) if name.startswith(VISION)}
    weights |= {name: torch.zeros(shape) for name, shape in unused_shapes(384).items()}
    torch.save({"model_state_dict": {PREFIX + name: tensor for name, tensor in weights.items()}}, folder / "seer.pth")
    torch.save({"model": vision}, folder / "mae.pth")
    torch.save(dict(CLIPTextTower().text.state_dict()), folder / "clip.pt")
    files = {"released": f"{folder}/seer.pth", "mae": f"{folder}/mae.pth", "clip": f"{folder}/clip.pt"}
    return load_policy(registry().create("converter", "seer", **files, platform=platform, output=f"{folder}/seer"))


def record(platform, folder, commanded, *arguments):
    """The readings that the simulator gives without Forehand."""
    np.save(folder / "actions.npy", commanded)
    script = [find(platform).executable, DATA / f"record_{platform}.py", *arguments, folder / "actions.npy"]
    subprocess.run([*map(str, script), str(folder / "raw.npz")], check=True, timeout=1500)
    return dict(np.load(folder / "raw.npz"))


@pytest.mark.simulator
@pytest.mark.timeout(3600)
def test_libero_itself_and_a_seer_of_full_size(tmp_path, seer):
    benchmark = LiberoBenchmark("libero_10", max_steps=STEPS)
    (episode,) = benchmark.trials(1, 0)[0]
    robot = converted(HostedRobot("libero", {"protocol": "seer"}, "libero", timeout=600), ["camera.static:primary"])
    robot.connect()
    seen, commanded = drive(full_seer("libero", tmp_path, seer), robot, benchmark, episode)
    robot.close()
    raw = record("libero", tmp_path, commanded, "libero_10", "0", "0")
    seen.require(lambda frame: prescribed.libero(raw, frame), [0, *range(6, 5 + STEPS)], str(raw["sentence"]))


@pytest.mark.simulator
@pytest.mark.timeout(3600)
def test_calvin_itself_and_a_seer_of_full_size(tmp_path, seer):
    benchmark = CalvinBenchmark(protocol="seer", max_steps=STEPS)
    episode = benchmark.trial(0, 0)[0]
    hosted = HostedRobot("calvin", {}, "calvin", timeout=600)
    robot = converted(hosted, ["camera.static:primary"])
    robot.connect()
    seen, commanded = drive(full_seer("calvin", tmp_path, seer), robot, benchmark, episode)
    robot.close()
    start = initial_state({key: episode.options[key] for key in KEYS})
    np.savez(tmp_path / "start.npz", robot_obs=start[0], scene_obs=start[1])
    raw = record("calvin", tmp_path, commanded, find("calvin").options["checkout"], tmp_path / "start.npz")
    seen.require(lambda frame: prescribed.calvin(raw, frame), range(STEPS), episode.instruction)
