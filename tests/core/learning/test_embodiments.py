"""One policy for robots with different states and actions: trained, stored, served, each as it would act alone."""

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from forehand import Camera, Contract, Field, Observation, Robot
from forehand.conformance import assert_policy_conforms, example
from forehand.control.chunking import BinaryGripper, RecedingHorizon
from forehand.data.embodiments import EmbodimentDatasets
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.data.sampling import ShuffledBatches, WeightedBatches
from forehand.data.windows import WindowDataset
from forehand.errors import CheckpointError, ConfigurationError, ContractMismatch, DatasetError
from forehand.evaluation.trials import TrialRunner
from forehand.learning.checkpoint import build_cross_embodiment, build_policy, load_policy
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer
from forehand.wire import PolicyClient, PolicyServer, RemotePolicy

ARM = Contract(
    cameras=(Camera("static", 32, 32, "static"),),
    state=(Field("joints", 4, unit="rad"),),
    action=(
        Field("joints", 4, unit="rad", mode="absolute"),
        Field("gripper", 1, gripper="open", low=(0.0,), high=(9.0,)),
    ),
    rate=10.0,
)
POLICY = {
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 32,
    "encoders": {
        "text": {"name": "example/text"},
        "state": {"name": "example/state"},
        "cameras": {"name": "example/images", "cameras": ["static"]},
    },
    "backbone": {"name": "example/transformer"},
    "world_model": {"name": "example/colour", "cameras": ["static"]},
    "action_head": {"name": "example/regression", "chunk": 2},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past", "foresight": "same"},
    },
    "normalization": {"state": "mean_std", "action": "none"},
}
RECIPE = {"steps": 4, "batch_size": 6, "learning_rate": 1e-2, "seed": 3, "log_every": 1}


@pytest.fixture(scope="module")
def arm_dataset(tmp_path_factory):
    """Two episodes of an arm with four joints and a gripper."""
    root = tmp_path_factory.mktemp("datasets") / "arm"
    generator = np.random.default_rng(0)
    with recording_lock(root):
        require_same_contract(root, ARM)
        recorder = Recorder(root, ARM)
        for number in range(2):
            for step in range(8):
                image = generator.integers(0, 256, (32, 32, 3), np.uint8)
                state = generator.normal(size=4).astype(np.float32)
                recorder.add(Observation({"static": image}, state, step / 10), np.ones(5, np.float32) * step)
            recorder.save(number, "wave", seed=number, task="wave")
        commit_episodes(root, "arm")
    return root


@pytest.fixture
def data(slider_dataset, arm_dataset):
    return EmbodimentDatasets.open({"slider": slider_dataset, "arm": arm_dataset})


@pytest.fixture
def trainer(data, tmp_path):
    torch.manual_seed(0)
    policy = build_cross_embodiment(POLICY, data.embodiments)
    windows = data.windows(policy.window, cache=tmp_path / "cache")
    recipe = Recipe(**RECIPE)
    order = ShuffledBatches(len(windows), recipe.batch_size, recipe.seed)
    return Trainer(
        policy,
        lambda step: windows.batch(order.at(step)),
        recipe,
        tmp_path,
        config=POLICY,
        statistics=data.statistics,
        facts={"fingerprint": data.fingerprint},
        embodiments=data.embodiments,
    )


def seen(contract, seed=0):
    return example.observation(contract, np.random.default_rng(seed), 0.0)


def test_each_embodiment_acts_in_its_own_units_with_weights_of_its_own_and_shared_ones(data):
    policy = build_cross_embodiment(POLICY, data.embodiments).eval()
    slider, arm = policy.embodiments["slider"], policy.embodiments["arm"]
    assert slider.backbone is arm.backbone
    assert slider.world_model is arm.world_model
    assert slider.encoders["cameras"] is arm.encoders["cameras"]
    assert slider.encoders["state"] is not arm.encoders["state"]
    assert slider.action_head is not arm.action_head
    for name, member in policy.embodiments.items():
        contract = data.embodiments[name]["contract"]
        assert policy.for_robot(contract) is member
        assert_policy_conforms(lambda member=member: copy.deepcopy(member))
        (answer,) = member.step([member.open("go")], [seen(contract)])
        assert answer.actions.shape == (2, contract.action_size)
    names = policy.state_dict().keys()
    assert len({n for n in names if "backbone" in n}) == len(slider.backbone.state_dict())
    assert policy.describe()["embodiments"] == ["slider", "arm"]


def test_windows_of_an_embodiment_give_the_loss_that_they_give_alone(data, tmp_path):
    torch.manual_seed(0)
    policy = build_cross_embodiment(POLICY, data.embodiments).eval()
    windows = data.windows(policy.window, cache=tmp_path / "cache")
    last = len(windows) - 1
    batch = windows.batch([0, 1, last])
    assert {name: len(part["target"]["valid"]) for name, part in batch.items()} == {"slider": 2, "arm": 1}
    with torch.no_grad():
        loss, terms = policy(batch)
        slider, its = policy.embodiments["slider"](batch["slider"])
        arm, others = policy.embodiments["arm"](batch["arm"])
    torch.testing.assert_close(loss, (2 * slider + arm) / 3)
    torch.testing.assert_close(terms["arm"], (2 * its["arm"] + others["arm"]) / 3)
    torch.testing.assert_close(terms["gripper"], others["gripper"])  # the slider has none


def test_weights_of_embodiments_are_those_of_the_windows_drawn(data, tmp_path):
    windows = data.windows(cache=tmp_path / "cache", history=1, chunk=1, horizon=None, image_size=32, cameras=["static"])
    assert windows.sample_weights(None, 1) is None
    weights = windows.sample_weights([3, 1], 1)
    sliders = len(windows.windows["slider"])
    assert weights[:sliders].sum() == pytest.approx(3 * weights[sliders:].sum())
    drawn = WeightedBatches(weights, 1000, 0).at(0)
    assert (drawn < sliders).mean() == pytest.approx(0.75, abs=0.05)
    with pytest.raises(DatasetError, match="1 dataset_weights were given for 2 embodiments"):
        windows.sample_weights([1], 1)


def test_it_is_trained_stored_resumed_and_loaded(trainer, data):
    trainer.run(lambda entry: None)
    loaded = load_policy(trainer.folder)
    weights = loaded.state_dict()
    for name, value in trainer.policy.state_dict().items():
        torch.testing.assert_close(weights[name], value)
    assert loaded.embodiments["slider"].backbone is loaded.embodiments["arm"].backbone
    trained = trainer.policy.eval()
    for name, of in data.embodiments.items():
        facts = loaded.for_robot(of["contract"]).describe()
        assert facts["embodiment"] == name
        assert len(facts["trained_on"]["min"]) == of["contract"].state_size
        answers = [
            p.step([p.open("go")], [seen(of["contract"])])[0]
            for p in (loaded.embodiments[name], trained.embodiments[name])
        ]
        np.testing.assert_array_equal(answers[0].actions, answers[1].actions)


def test_batches_that_lack_an_embodiment_accumulate(data, tmp_path):
    policy = build_cross_embodiment(POLICY, data.embodiments)
    windows = data.windows(policy.window, cache=tmp_path / "cache")
    recipe = Recipe(**{**RECIPE, "steps": 2, "gradient_accumulation_steps": 2})
    about = {"config": POLICY, "statistics": data.statistics, "facts": {}, "embodiments": data.embodiments}
    entries = []
    batches = ([0, 1], [len(windows) - 1])  # sliders, which have no gripper, and an arm
    trainer = Trainer(policy, lambda n: windows.batch(batches[n % 2]), recipe, tmp_path, **about)
    trainer.run(entries.append)
    assert all({"arm", "gripper", "foresight"} <= entry.keys() for entry in entries)


def test_a_server_answers_each_robot_by_its_own_contract(data):
    policy = build_cross_embodiment(POLICY, data.embodiments).eval()
    with PolicyServer(policy, "tcp://127.0.0.1:0").running() as server:
        for name, of in data.embodiments.items():
            contract, member = of["contract"], policy.embodiments[name]
            client = RemotePolicy(server.address, 60.0, contract)
            assert client.contract == member.contract
            (answer,) = client.step([client.open("go")], [seen(contract)])
            (alone,) = member.step([member.open("go")], [seen(contract)])
            np.testing.assert_allclose(answer.actions, alone.actions, rtol=1e-5, atol=1e-6)
            client.close()
        first = RemotePolicy(server.address, 60.0)
        for name, of in data.embodiments.items():
            chosen = first.for_robot(of["contract"])
            (answer,) = chosen.step([chosen.open("go")], [seen(of["contract"])])
            assert answer.actions.shape == (2, of["contract"].action_size), name
        with PolicyClient(server.address, 60.0) as client:
            (answer,) = [client.open("go", ARM).step(seen(ARM))]
            assert answer.actions.shape == (2, 5)
        with pytest.raises(ContractMismatch, match=r"fits none of the embodiments .* \(slider, arm\)"):
            RemotePolicy(server.address, 60.0, replace(ARM, action=ARM.action[:1]))


class Arm(Robot):
    """A robot of the contract ``ARM`` that is never moved."""

    contract = ARM

    def reset(self, episode=None):
        return self.observe()

    def observe(self):
        return seen(ARM)

    def act(self, action):
        return action

    def hold(self):
        """Nothing."""


def test_a_chunker_is_made_for_the_embodiment_of_the_robot(data):
    """The first embodiment has no gripper to round, that of the robot has one."""
    chunking = functools.partial(BinaryGripper, RecedingHorizon())
    contracts = {name: of["contract"] for name, of in data.embodiments.items()}
    with pytest.raises(ConfigurationError, match="binary_gripper needs a gripper"):
        chunking(contracts["slider"])
    policy = build_cross_embodiment(POLICY, data.embodiments).eval()
    runner = TrialRunner(policy, Arm(), chunking)
    runner.connect()
    runner.close()
    arm = contracts["arm"]
    ungripped = replace(arm, action=tuple(replace(field, gripper=None) for field in arm.action))
    other = {"arm": {**data.embodiments["arm"], "contract": ungripped}}
    with pytest.raises(ConfigurationError, match="binary_gripper needs a gripper"):
        TrialRunner(build_cross_embodiment(POLICY, other).eval(), Arm(), chunking).connect()


def test_malformed_options_are_named(data):
    with pytest.raises(ConfigurationError, match="policy 'composed': history must be a whole number, not '2'"):
        build_cross_embodiment({**POLICY, "history": "2"}, data.embodiments)


def test_what_cannot_be_one_policy_is_refused(data, slider_dataset):
    with pytest.raises(ConfigurationError, match="policy 'zero_action' has one embodiment"):
        build_cross_embodiment({"name": "zero_action"}, data.embodiments)
    other = {
        "contract": replace(ARM, cameras=(Camera("top", 32, 32),)),
        "statistics": data.embodiments["arm"]["statistics"],
    }
    with pytest.raises(ConfigurationError, match=r"embodiment 'other'.*no camera 'static'"):
        build_cross_embodiment(POLICY, {**data.embodiments, "other": other})
    with pytest.raises(ConfigurationError, match="'arm' and 'twin' have the same contract"):
        build_cross_embodiment(POLICY, {**data.embodiments, "twin": data.embodiments["arm"]})
    loose = {**data.embodiments["arm"], "contract": replace(ARM, state=(Field("joints", 4),))}
    with pytest.raises(ContractMismatch, match="fits several embodiments"):
        build_cross_embodiment(POLICY, {"arm": data.embodiments["arm"], "loose": loose}).for_robot(
            replace(ARM, state=(Field("joints", 4, frame="base"),))
        )
    for name in ("train", "", "a.b"):
        with pytest.raises(ConfigurationError, match=f"embodiments: {name!r} cannot be a name"):
            build_cross_embodiment(POLICY, {name: data.embodiments["arm"]})
    with pytest.raises(DatasetError, match="embodiment 'nowhere'"):
        EmbodimentDatasets.open({"nowhere": slider_dataset / "nowhere"})


def test_one_embodiment_is_the_policy_that_it_would_be_without_the_mapping(slider_dataset, tmp_path):
    data = EmbodimentDatasets.open({"slider": slider_dataset})
    torch.manual_seed(0)
    mapped = build_cross_embodiment(POLICY, data.embodiments)
    torch.manual_seed(0)
    plain = build_policy(POLICY, data.contract, data.statistics)
    windows = WindowDataset(data.datasets["slider"], plain.window, cache=tmp_path)
    torch.testing.assert_close(mapped({"slider": windows.batch([0, 3])}), plain(windows.batch([0, 3])))


def test_damaged_embodiments_are_named(trainer):
    trainer.run(lambda entry: None)
    (file,) = trainer.folder.glob("checkpoints/*/contract.json")
    file.write_text(file.read_text().replace('"embodiments"', '"embodiments": 3, "was"'))
    with pytest.raises(CheckpointError, match=r"contract\.json"):
        load_policy(trainer.folder)


@torch.no_grad()
def test_an_embodiment_may_lack_a_camera_which_is_masked(data, tmp_path):
    both = {"name": "example/images", "cameras": ["static", "wrist"]}
    config = {**POLICY, "encoders": {**POLICY["encoders"], "cameras": both}}
    config["world_model"] = {"name": "example/colour", "cameras": ["static", "wrist"]}
    with pytest.raises(DatasetError, match=r"no camera 'wrist'"):
        data.windows(build_cross_embodiment(config, data.embodiments).window)
    arm = {"path": data.datasets["arm"].roots[0], "cameras": {"wrist": None}}
    slider = {"path": data.datasets["slider"].roots[0]}
    for given in ({"slider": slider, "arm": arm}, {"arm": arm, "slider": slider}):
        those = EmbodimentDatasets.open(given)
        policy = build_cross_embodiment(config, those.embodiments).eval()
        windows = those.windows(policy.window, cache=tmp_path)
        batch = windows.batch(list(range(len(windows))))
        observation = batch["arm"]["observation"]
        assert not observation["images.wrist_valid"].any()
        assert "images.wrist_valid" not in batch["slider"]["observation"]
        member = policy.embodiments["arm"]
        assert [camera.name for camera in member.contract.cameras] == ["static"]
        loss, terms = policy(batch)
        observation["images.wrist"] += 50
        batch["arm"]["target"]["future.wrist"] += 50
        other_loss, other_terms = policy(batch)
        assert torch.equal(loss, other_loss)
        assert torch.equal(terms["foresight"], other_terms["foresight"])

        session = member.open(observation["instruction"][0])
        for step in range(2):
            images = {"static": observation["images.static"][0, step].numpy()}
            seen_then = Observation(images, observation["state"][0, step].numpy(), step / 10)
            (answer,) = member.step([session], [seen_then], forecast=True)
        of_one = {key: values[:1] for key, values in observation.items()}
        chunk = member.normalize_action.inverse(member.action_head(member.readouts(of_one)["action"]))[0, 1]
        np.testing.assert_allclose(answer.actions, chunk.numpy(), rtol=1e-4, atol=1e-5)
        assert {camera for forecast in answer.forecasts for camera in forecast.images} == {"static"}
