"""``forehand train``: interrupted, killed, resumed, refused, swept; and what it leaves to others."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import save_file

from forehand.data.features import read_contract, write_contract
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.lerobot.locate import fingerprint as dataset_fingerprint
from forehand.errors import CheckpointError, ConfigurationError, DatasetError
from forehand.learning.checkpoint import (
    PROVENANCE,
    WEIGHTS,
    checkpoints,
    fingerprint,
    latest_checkpoint,
    load_policy,
    read_provenance,
    read_tensors,
)
from forehand.learning.trainer import LOG, TRAINING_STATE
from forehand_apps.commands.train import train

STEPS = 40
POLICY = {  # with everything that is random in training: dropout, shifts, hidden tokens
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 32,
    "encoders": {
        "text": {"name": "ngram_text"},
        "state": {"name": "seer/state"},
        "cameras": {"name": "keypoints", "cameras": ["static"], "tokens": 2, "keypoints": 4, "width": 8},
    },
    "backbone": {"name": "seer/backbone", "layers": 1, "heads": 2, "dropout": 0.2},
    "world_model": None,
    "action_head": {"name": "seer/inverse_dynamics", "chunk": 2},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": "limits"},
    "random_shift": {"static": 2},
    "token_dropout": {"action": {"static": 0.5}},
}
FAST = ("policy=tiny", "recipe.batch_size=2", "recipe.log_every=1", "threads=1", "device=cpu")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Sums are the same to the bit only with as many threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def arguments_in(folder, dataset):
    def make(output: str, *more: str, steps: int = STEPS) -> list[str]:
        places = [f"dataset={dataset}", f"output={folder / output}", f"cache={folder / 'cache'}"]
        conf = folder / "conf"
        (conf / "policy").mkdir(parents=True, exist_ok=True)
        (conf / "policy/tiny.yaml").write_text(json.dumps(POLICY))
        return [f"hydra.searchpath=[file://{conf}]", *places, *FAST, f"recipe.steps={steps}", *more]

    return make


def run_train(overrides: list[str]) -> Path:
    """The command's own function, in this process."""
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        config = compose("train", overrides=overrides)
    return train(config)


@pytest.fixture
def arguments(slider_dataset, tmp_path):
    return arguments_in(tmp_path, slider_dataset)


@pytest.fixture
def train_here(arguments):
    return lambda output, *more, **options: run_train(arguments(output, *more, **options))


@pytest.fixture(scope="module")
def whole(slider_dataset, tmp_path_factory):
    """The folder of a training that nothing interrupted; nobody may change it."""
    folder = tmp_path_factory.mktemp("whole")
    run_train(arguments_in(folder, slider_dataset)("run"))
    return folder / "run"


def assert_same_end(folder: Path, other: Path) -> None:
    a, b = latest_checkpoint(folder), latest_checkpoint(other)
    assert a
    assert b
    assert a.name == b.name == f"step_{STEPS:07d}"
    assert fingerprint(a) == fingerprint(b)
    logs = [[json.loads(line) for line in (f / LOG).read_text().splitlines()] for f in (folder, other)]
    assert [(e["step"], e["loss"]) for e in logs[0]] == [(e["step"], e["loss"]) for e in logs[1]]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_saves_and_says_how_to_go_on(begun, arguments, train_here, whole, tmp_path, number):
    folder = tmp_path / "run"
    checkpoint = (number, "*/checkpoints/step_*", 1)
    process = begun("train", *arguments("run", "recipe.save_every=3"), signalled=checkpoint)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    saved = latest_checkpoint(folder)
    step = int(saved.name.removeprefix("step_"))
    assert 3 <= step < STEPS
    said = " ".join(said.split())
    assert f"Stopped at step {step} of {STEPS}; everything is in {saved}." in said
    assert f"The same command with output={folder} resume=true continues from there." in said

    train_here("run", "resume=true")
    assert_same_end(folder, whole)


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_whole_checkpoints(begun, arguments, train_here, whole, tmp_path):
    folder = tmp_path / "run"
    often = arguments("run", "resume=true", "recipe.save_every=1", "recipe.keep_checkpoints=2")
    for pattern, count in (("*/checkpoints/step_*", 5), ("*", 8)):
        process = begun("train", *often, signalled=(signal.SIGKILL, pattern, count))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert checkpoints(folder)
        for checkpoint in checkpoints(folder):
            load_policy(checkpoint)
            assert int(read_tensors(checkpoint / TRAINING_STATE)["step"]) == int(checkpoint.name.removeprefix("step_"))
    train_here("run", "resume=true")
    assert_same_end(folder, whole)
    assert [f.name for f in (folder / "checkpoints").iterdir()] == [f"step_{STEPS:07d}"]


@pytest.mark.slow
def test_a_sweep_trains_each_in_a_folder_of_its_own(forehand, arguments, tmp_path):
    swept = forehand("train", "-m", *arguments("sweep", "recipe.seed=0,1", steps=2))
    assert swept.returncode == 0, swept.stderr
    for seed in (0, 1):
        folder = tmp_path / "sweep" / f"recipe.seed-{seed}"
        about = json.loads((latest_checkpoint(folder) / PROVENANCE).read_text())
        assert (about["seed"], about["step"]) == (seed, 2)
        assert f"policy.checkpoint={folder}" in swept.stderr.replace("\n", "")
    weights = [fingerprint(latest_checkpoint(tmp_path / "sweep" / n)) for n in ("recipe.seed-0", "recipe.seed-1")]
    assert weights[0] != weights[1]


@pytest.mark.slow
def test_a_checkpoint_is_judged_and_refused_by_what_does_not_fit(forehand, arguments, train_here, tmp_path):
    checkpoint = train_here("run", steps=1)
    plugin = Path(__file__).parents[1] / "data/slider"
    variables = {"PYTHONPATH": str(plugin), "FOREHAND_PLUGINS": "stock,seer,robots,tabletop,slider"}
    judge = (
        "eval",
        f"policy.checkpoint={tmp_path / 'run'}",
        "robot=slider",
        "benchmark=slider",
        "episodes=2",
        "num_videos=0",
    )
    judged = forehand(*judge, "output=fits", **variables)
    assert judged.returncode == 0, judged.stderr
    facts = json.loads((tmp_path / "fits" / "results.json").read_text())["setup"]["policy_facts"]
    assert facts["checkpoint"] == str(checkpoint)
    assert facts["fingerprint"] == fingerprint(checkpoint)

    refused = forehand(*judge, "output=unfit", "+robot.options.rate=10", **variables)
    assert refused.returncode == 2
    assert "control rate (Hz): needed 20.0, offered 10.0" in refused.stderr
    assert "Traceback" not in refused.stderr

    train_here("run", "resume=true", steps=1)  # nothing to do
    (checkpoint / WEIGHTS).write_bytes((train_here("other", "recipe.seed=1", steps=1) / WEIGHTS).read_bytes())
    mixed = forehand(*judge, "output=fits", **variables)
    assert mixed.returncode == 2
    assert "holds another evaluation: policy_facts differ" in mixed.stderr


def test_a_mistake_is_explained_without_a_traceback(forehand, arguments):
    result = forehand("train", *arguments("run", "device=cudda"))
    assert result.returncode == 2
    assert "There is no device 'cudda' here" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_untrained_checkpoint(train_here, slider_dataset, tmp_path):
    checkpoint = train_here("run", steps=0)
    assert checkpoint == tmp_path / "run/checkpoints/step_0000000"
    load_policy(checkpoint)
    about = json.loads((checkpoint / PROVENANCE).read_text())
    assert about["dataset"] == str(slider_dataset)
    assert about["fingerprint"] == dataset_fingerprint(slider_dataset)
    assert about["seed"] == about["recipe"]["seed"] == 0
    assert about["step"] == about["recipe"]["steps"] == 0
    assert {"command", "python", "versions", "plugins", "commit"} <= about.keys()
    assert not list(tmp_path.glob("run/.hydra"))


def test_a_folder_with_a_run_is_not_written_over(train_here):
    checkpoint = train_here("run", steps=1)
    before = fingerprint(checkpoint)
    with pytest.raises(ConfigurationError, match=r"already holds step_0000001\. Add resume=true .* or choose another"):
        train_here("run", "recipe.seed=1", steps=1)
    assert fingerprint(checkpoint) == before


def test_another_run_is_not_gone_on_with(train_here):
    train_here("run", steps=1)
    with pytest.raises(CheckpointError) as raised:
        train_here("run", "resume=true", "policy.history=1", "recipe.seed=1", steps=1)
    assert "policy.history: was 2, is 1" in str(raised.value)
    assert "recipe.seed: was 0, is 1" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (["device=cudda"], ConfigurationError, "There is no device 'cudda' here"),
        (["recipe.steps=many"], ConfigurationError, "recipe.steps: Value 'many' of type 'str' could not be converted"),
        (
            ["recipe.precision=half"],
            ConfigurationError,
            "must be float32, bfloat16 or float16, not 'half'",
        ),
        (["early_stop={patience: 3}"], ConfigurationError, "early_stop is options with the metric"),
        (["early_stop={metric: loss, patince: 3}"], ConfigurationError, "no option 'patince'. Did you mean 'patience'"),
        (["+recipe.stpes=3"], ConfigurationError, "recipe.stpes"),
        (["dataset=[]"], DatasetError, "No dataset was given"),
        (["dataset=nowhere"], DatasetError, "There is no dataset at"),
        (["policy.name=compsed"], Exception, "Did you mean 'composed'"),
    ],
)
def test_what_cannot_be_trained_is_explained(train_here, tmp_path, changes, error, message):
    with pytest.raises(error) as raised:
        train_here("run", *changes)
    assert message in str(raised.value)
    assert not checkpoints(tmp_path / "run")


def test_several_datasets_and_where_frames_are_kept(train_here, slider_dataset, tmp_path):
    checkpoint = train_here("run", f"dataset=[{slider_dataset},{slider_dataset}]", steps=0)
    about = json.loads((checkpoint / PROVENANCE).read_text())
    assert about["dataset"] == [str(slider_dataset)] * 2
    assert about["fingerprint"] != dataset_fingerprint(slider_dataset)
    assert os.listdir(tmp_path / "cache") == ["frames"]


def test_fine_tuning_begins_with_a_pretrained_run(train_here, tmp_path):
    before = load_policy(train_here("first", "policy.history=3", steps=2))
    begun = train_here(
        "second", f"init_from={tmp_path / 'first'}", "reinitialize=[action_head.queries]", "recipe.seed=5", steps=0
    )
    after = load_policy(begun)
    assert torch.equal(after.backbone.timestep_embedding, before.backbone.timestep_embedding[:, :2])
    assert torch.equal(after.backbone.ln_f.weight, before.backbone.ln_f.weight)
    assert not torch.equal(after.action_head.queries, before.action_head.queries)
    told = read_provenance(begun)["init"]
    assert told["fingerprint"] == fingerprint(latest_checkpoint(tmp_path / "first"))
    assert told["fresh"] == ["action_head.queries"]
    with pytest.raises(ConfigurationError, match="which is not given"):
        train_here("third", "reinitialize=[action_head]", steps=0)


@pytest.mark.slow
def test_training_begins_with_the_optimizer_of_another_run(train_here, tmp_path, capsys):
    train_here("first", steps=2)
    first = f"init_from={tmp_path / 'first'}"
    begun = train_here("second", first, "init_optimizer=true", "reinitialize=[action_head.queries]", steps=3)
    assert read_provenance(begun)["init"]["step"] == 2
    assert "from step 2; the learning rate goes on with" in " ".join(capsys.readouterr().err.split())
    steps = {key: int(value) for key, value in read_tensors(begun / TRAINING_STATE).items() if "/step/" in key}
    assert {steps.pop("optimizer/step/action_head.queries"), *steps.values()} == {1, 3}
    assert set(steps.values()) == {3}
    with pytest.raises(ConfigurationError, match="is at step 2, and the recipe ends at 2"):
        train_here("third", first, "init_optimizer=true", steps=2)
    with pytest.raises(CheckpointError, match="missing: action_head"):
        train_here(
            "fourth", f"init_from={without_state_of(begun, 'action_head', tmp_path)}", "init_optimizer=true", steps=4
        )
    with pytest.raises(ConfigurationError, match="init_optimizer takes the optimizer of init_from"):
        train_here("fifth", "init_optimizer=true", steps=2)


def test_settings_of_the_optimization_reach_the_trainer_from_the_command_line(train_here, tmp_path, capsys):
    settings = ["recipe.optimizer={name:muon,exclude:[action_head]}", "recipe.schedule={name:linear,final:0.5}"]
    settings += ["recipe.ema=0.9", "recipe.activation_checkpointing=[backbone]"]
    first = train_here("run", *settings, steps=2)
    recipe = read_provenance(first)["recipe"]
    assert recipe["optimizer"] == {"name": "muon", "exclude": ["action_head"]}
    assert recipe["schedule"] == {"name": "linear", "final": 0.5}
    longer = train_here("run", *settings, "extend=true", steps=3)
    assert "extended at step 2 from 2 to 3 steps; the learning rate goes on with" in " ".join(
        capsys.readouterr().err.split()
    )
    assert read_provenance(longer)["extended"][0]["step"] == 2
    with pytest.raises(CheckpointError, match=r"recipe\.ema: was 0\.9, is None"):
        train_here("run", *settings[:2], "resume=true", steps=3)
    begun = train_here("wider", f"init_from={tmp_path / 'run'}", "init_partial=true", "policy.dim=32", steps=0)
    assert "not filled: " in capsys.readouterr().err
    assert read_provenance(begun)["init"]["not_filled"]


def without_state_of(checkpoint, beginning, folder):
    """A copy of a checkpoint whose optimizer holds nothing of some parameters."""
    copy = Path(shutil.copytree(checkpoint, folder / "copy"))
    state = read_tensors(copy / TRAINING_STATE)
    save_file({key: t for key, t in state.items() if f"/{beginning}" not in key}, copy / TRAINING_STATE)
    return copy


def test_training_is_counted_in_epochs(train_here, slider_dataset):
    frames = len(read_episodes(slider_dataset))
    in_epochs = ("recipe.steps=null", "recipe.epochs=0.5", "recipe.warmup_steps=null", "recipe.warmup_epochs=0.1")
    recipe = read_provenance(train_here("run", *in_epochs))["recipe"]
    assert recipe["steps"] == round(0.5 * frames / 2)
    assert recipe["warmup_steps"] == round(0.1 * frames / 2)
    with pytest.raises(ConfigurationError, match=r"either recipe\.steps or recipe\.epochs"):
        train_here("both", "recipe.epochs=1")


def test_datasets_are_mixed_by_their_shares(train_here, slider_dataset):
    mixed = (f"dataset=[{slider_dataset},{slider_dataset}]", "recipe.dataset_weights=[3,1]")
    assert read_provenance(train_here("mixed", *mixed, steps=2))["recipe"]["dataset_weights"] == [3, 1]
    with pytest.raises(CheckpointError, match=r"recipe\.dataset_weights: was \[3\.0, 1\.0\], is None"):
        train_here("mixed", mixed[0], "resume=true", steps=2)


def test_training_on_whole_windows_alone(train_here, slider_dataset, capsys):
    episodes = read_episodes(slider_dataset)
    lengths = [int((episodes.episode == number).sum()) for number in set(episodes.episode.tolist())]
    whole = ("recipe.whole_windows=true", "recipe.skip_last_window=true")
    assert read_provenance(train_here("whole", *whole, steps=2))["recipe"]["skip_last_window"] is True
    assert f"{sum(length - 3 for length in lengths)} windows of 3 episodes" in capsys.readouterr().err  # 3 frames, less 1
    with pytest.raises(CheckpointError, match=r"recipe\.whole_windows: was True, is False"):
        train_here("whole", "resume=true", steps=2)


def test_deltas_of_absolute_actions_are_learned_with_statistics_by_step(train_here, slider_dataset, tmp_path):
    source = tmp_path / "absolute"
    shutil.copytree(slider_dataset, source)
    contract = read_contract(source)
    write_contract(source, dataclasses.replace(contract, action=(dataclasses.replace(contract.action[0], mode=None),)))
    changes = (f"dataset={source}", "policy.normalization.action={method: quantiles, per_step: true}")
    checkpoint = train_here("run", "+policy.actions={name: delta, relative_to: previous}", *changes, steps=2)
    policy = load_policy(checkpoint)
    assert policy.delta_actions.relative_to == "previous"
    assert policy.normalize_action.center.shape == (2, 2)
    assert train_here("run", "resume=true", "+policy.actions={name: delta, relative_to: previous}", *changes, steps=2)
    with pytest.raises(CheckpointError, match=r"policy\.actions: was .*previous.*, is 'delta'"):
        train_here("run", "resume=true", "+policy.actions=delta", *changes, steps=2)
    with pytest.raises(ConfigurationError, match="no action field is left to be a delta"):
        train_here("none", "+policy.actions={name: delta, absolute: [position]}", changes[0], steps=2)
