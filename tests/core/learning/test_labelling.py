"""Actions of recordings that have none, found by inverse dynamics, and kept apart from recorded ones."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.by_axis import by_axis
from tests.without_columns import without

from forehand.compose.losses import window_loss
from forehand.data.checking.checker import check_dataset
from forehand.data.dataset import Dataset
from forehand.data.dataset_facts import dataset_facts
from forehand.data.importing.job import Shard
from forehand.data.labels import LABELS_FILE, describe_origins, require_learned
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.merging.merge import merge_datasets
from forehand.data.merging.parts import read_parts
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError, ContractMismatch, DatasetError
from forehand.evaluation.labelling import estimates
from forehand.evaluation.labelling.estimates import Estimator, Model
from forehand.evaluation.labelling.job import LabellingJob, opened_labelling
from forehand.evaluation.labelling.source import open_source
from forehand.learning.checkpoint import build_policy, load_policy

from .runs import POLICY, assert_same_run, ignore
from .test_inverse import INVERSE


@pytest.fixture(scope="module")
def video(slider_dataset, tmp_path_factory) -> Path:
    """The slider's episodes without actions and states."""
    return without(slider_dataset, tmp_path_factory.mktemp("video") / "video", "action", "observation.state")


@pytest.fixture
def trained(begin, tmp_path):
    """A model of inverse dynamics that was hardly trained, and its folder."""
    begin(tmp_path / "inverse", **INVERSE, steps=1).run(ignore)
    return tmp_path / "inverse"


def models(folder: Path, variance: float = 1.0) -> list[Model]:
    policy = load_policy(folder)
    return [Model(folder.name, policy.describe()["fingerprint"], policy, np.full(2, variance), {"position": 0.8})]


def label(
    source: Path, output: Path, folder: Path, shard: str | None = None, most: int | None = None, replace: bool = False
) -> Path:
    job = LabellingJob(source, output, functools.partial(models, folder), Shard.parse(shard), replace=replace)
    with opened_labelling(job) as running:
        for number, _ in enumerate(running.label(workers=1), 1):
            if number == most:
                return job.root
        running.commit()
    return job.root


def frames(root: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in sorted((root / "data").rglob("*.parquet")))


def test_an_action_is_the_mean_of_its_estimates_and_their_spread_its_doubt(slider_dataset, trained, monkeypatch):
    data = Dataset.open(slider_dataset)
    (model,) = models(trained, variance=0.5)
    done = torch.from_numpy(data.episodes.actions)
    anchors: list[int] = []

    def exact(policy, observation):
        """The recorded actions, of which every other window finds 0.1 m too much, the others too little."""
        found = torch.zeros(len(observation["state"]), 3, 2, 2)
        for row, state in enumerate(observation["state"][:, 0]):
            anchor = int((torch.from_numpy(data.episodes.states) - state).abs().sum(1).argmin())
            anchors.append(anchor)
            sign = 0.1 if anchor % 2 else -0.1
            for t, step in ((t, step) for t in range(3) for step in range(2)):
                found[row, t, step] = done[min(max(anchor + t + step - 2, 0), len(done) - 1)] + sign
        return found

    monkeypatch.setattr(estimates, "recover_actions", exact)
    estimator = Estimator([model], data)
    found = estimator.label(1)
    rows = slice(*estimator.starts[1:3])
    assert {*range(rows.start, rows.stop)} == set(anchors)
    # Action i is found once in the window that begins at i - 1, and twice in that at i: from frames i + 1 and i + 2.
    wrong = np.abs(found.actions - data.episodes.actions[rows])[:-1]
    assert wrong[0] == pytest.approx(0.1, abs=1e-6)
    assert wrong[1:-1] == pytest.approx(0.1 / 3, abs=1e-6)
    assert wrong[-1] == pytest.approx(0, abs=1e-6)
    assert found.confidence[-1] == 0
    assert (found.actions[-1] == found.actions[-2]).all()
    assert found.confidence[1:-2] == pytest.approx(0.8 * (1 - 0.1**2 * 8 / 9 / 0.5), abs=1e-5)
    assert found.confidence[0] == pytest.approx(0.8), "all of its estimates agree"


@pytest.mark.slow
def test_a_recording_is_labelled_resumed_and_never_encoded_again(video, trained, tmp_path):
    whole = label(video, tmp_path / "whole", trained)
    begun = label(video, tmp_path / "begun", trained, most=2)
    assert not (begun / "meta/info.json").exists()
    assert len(list((begun / ".labelling").glob("*.npz"))) == 2
    assert label(video, tmp_path / "begun", trained) == begun
    assert frames(begun) == frames(whole)
    assert sorted(p.name for p in begun.iterdir()) == ["data", "meta", "videos"]
    assert label(video, tmp_path / "begun", trained) == begun, "it is complete"
    for file in (video / "videos").rglob("*.mp4"):
        assert (whole / file.relative_to(video)).samefile(file)

    source = LeRobotSource(whole)
    table = source.episodes
    ends = np.unique(table.end) - 1
    assert source.contract.action == models(trained)[0].contract.action
    assert not table.recorded.any()
    assert np.flatnonzero(~table.has_action).tolist() == ends.tolist()
    assert (table.confidence[ends] == 0).all()
    assert table.confidence.max() <= 0.8
    report = check_dataset("whole", source, "none")
    assert [one.message for one in report.findings if one.severity == "error"] == []
    assert report.to_dict()["labelled_actions"] == len(table) - 3
    (labelling,) = json.loads((whole / LABELS_FILE).read_text())["labellings"]
    assert labelling["models"][0]["r_squared"] == {"position": 0.8}
    assert (labelling["labelled"], labelling["unknown"]) == (len(table) - 3, 3)


@pytest.mark.slow
def test_recorded_actions_are_replaced_and_compared(slider_dataset, video, trained, tmp_path):
    with pytest.raises(DatasetError, match=r"has actions already: position.*replace=true"):
        label(slider_dataset, tmp_path / "replaced", trained)
    replaced = label(slider_dataset, tmp_path / "replaced", trained, replace=True)
    table, blind = (LeRobotSource(root).episodes for root in (replaced, label(video, tmp_path / "video", trained)))
    np.testing.assert_array_equal(table.actions, blind.actions)
    np.testing.assert_array_equal(table.confidence, blind.confidence)
    assert not table.recorded.any()
    done = Dataset.open(slider_dataset).episodes
    np.testing.assert_array_equal(table.states, done.states)
    (labelling,) = json.loads((replaced / LABELS_FILE).read_text())["labellings"]
    known = table.confidence > 0
    (field,) = labelling["replaced"]
    off = np.abs(table.actions - done.actions)[known].mean()
    assert (field["name"], field["error"]) == ("position", pytest.approx(off))
    episodes = pq.read_table(replaced / "meta/episodes/chunk-000/file-000.parquet")
    first = table.actions[: episodes["length"][0].as_py()]
    assert episodes["stats/action/mean"][0].as_py() == pytest.approx(first.mean(0).tolist(), abs=1e-6)


@pytest.mark.slow
def test_merged_shards_are_as_a_single_labelling(video, trained, tmp_path):
    whole = label(video, tmp_path / "whole", trained)
    shards = [label(video, tmp_path / "part", trained, f"{i}/2") for i in (2, 1)]
    with pytest.raises(DatasetError, match="The shards 2/2 are missing"):
        read_parts(shards[1:])
    merge_datasets(read_parts(shards), tmp_path / "merged")
    assert frames(tmp_path / "merged") == frames(whole)
    assert json.loads((tmp_path / "merged" / LABELS_FILE).read_text()) == json.loads((whole / LABELS_FILE).read_text())
    videos = [sorted((root / "videos").rglob("*.mp4")) for root in (whole, tmp_path / "merged")]
    assert len(videos[0]) == len(videos[1])
    found = [LeRobotSource(root).pictures("static").read(np.arange(5, 9)) for root in (whole, tmp_path / "merged")]
    np.testing.assert_array_equal(*found)


@pytest.mark.slow
def test_labelled_and_recorded_actions_stay_apart(slider_dataset, video, trained, begin, tmp_path):
    stated = without(slider_dataset, tmp_path / "stated", "action")
    labelled = label(stated, tmp_path / "labelled", trained)
    merge_datasets(read_parts([slider_dataset, labelled]), tmp_path / "both")
    data, recorded = Dataset.open(tmp_path / "both"), Dataset.open(slider_dataset)
    count = len(recorded.episodes)
    assert data.episodes.recorded.tolist() == [True] * count + [False] * count
    assert data.episodes.labelled.sum() == count - 3
    for name, value in recorded.statistics["action"].items():
        np.testing.assert_array_equal(data.statistics["action"][name], value)
    assert not (data.recorded_only.episodes.has_action[count:]).any()
    (facts,) = dataset_facts(data)
    assert (facts["recorded_actions"], facts["labelled_actions"]) == (count, count - 3)
    assert "recorded_actions" not in dataset_facts(recorded)[0]

    def learned(**use) -> int:
        windows = WindowDataset(Dataset.open({"path": tmp_path / "both", **use}), history=1, chunk=1, cameras=[])
        return int(
            sum(windows.batch(range(len(windows)), step=step)["target"]["actions_valid"].sum() for step in range(8))
        )

    confidence = data.episodes.confidence[data.episodes.labelled]
    assert learned() == 8 * (2 * count - 3)
    assert learned(labelled="drop") == 8 * count
    assert learned(min_confidence=0.8) == 8 * (count + (confidence >= 0.8).sum())
    assert learned(labelled="weigh") == pytest.approx(8 * (count + confidence.sum()), rel=0.1)
    with pytest.raises(ConfigurationError, match="labelled is use, drop, weigh, not 'some'"):
        Dataset.open({"path": labelled, "labelled": "some"})

    sources = [
        str(slider_dataset),
        {"path": str(label(video, tmp_path / "seen", trained)), "labelled": "weigh"},
    ]
    begin(tmp_path / "a", sources=sources, steps=4).run(ignore)
    begin(tmp_path / "b", sources=sources, steps=2).run(ignore)
    resumed = begin(tmp_path / "b", sources=sources, steps=4)
    resumed.resume(tmp_path / "b/checkpoints/step_0000002", extend=True)
    resumed.run(ignore)
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_fields_of_labelled_actions_are_left_out(slider_dataset, video, trained, begin, tmp_path):
    recorded = by_axis(slider_dataset, tmp_path / "recorded")
    labelled = by_axis(label(video, tmp_path / "labelled", trained), tmp_path / "by_axis")
    source = {"path": labelled, "labelled_fields": ["x"]}
    data = Dataset.open([recorded, source])
    count = len(data.episodes) // 2
    assert data.episodes.action_known.tolist() == [[True, True]] * count + [[True, False]] * count
    assert data.recorded_only.episodes.action_known is None
    assert data.fingerprint != Dataset.open([recorded, labelled]).fingerprint
    assert Dataset.open([recorded, {**source, "labelled_fields": ["y", "x"]}]).episodes.action_known is None
    assert describe_origins(data.sources[1].episodes).endswith("1 of their 2 numbers learned from")
    assert Dataset.open({**source, "episodes": [1, 2]}).episodes.action_known.tolist()[0] == [True, False]

    windows = WindowDataset(data, history=1, chunk=2, cameras=[])
    known = windows.batch([0, count])["target"]["actions_known"]
    assert known.tolist() == [[[[True, True]] * 2], [[[True, False]] * 2]]

    policy = build_policy(POLICY, data.contract, data.statistics)
    batch = WindowDataset(data, policy.window, cache=tmp_path / "cache").batch([0])
    with pytest.raises(ConfigurationError, match="which this policy's action head cannot leave out"):
        policy(batch)
    with pytest.raises(ConfigurationError, match=r"labelled_fields: the action of .* has no field 'z'\. Known: x, y"):
        Dataset.open({"path": labelled, "labelled_fields": ["z"]})
    with pytest.raises(ConfigurationError, match="labelled_fields is a list of fields of the action, not 'x'"):
        Dataset.open({"path": labelled, "labelled_fields": "x"})
    require_learned(data.contract, data.episodes)
    alone = Dataset.open(source)
    with pytest.raises(ConfigurationError, match="no action of field 'y' would be learned from, as none was recorded"):
        require_learned(alone.contract, alone.episodes)


@pytest.mark.slow
def test_what_cannot_be_labelled_is_refused_by_name(slider_dataset, video, trained, begin, tmp_path):
    with pytest.raises(DatasetError, match="has actions already: position"):
        label(slider_dataset, tmp_path / "out", trained)
    other = shutil.copytree(video, tmp_path / "other")
    contract = json.loads((other / "meta/forehand_contract.json").read_text())
    contract["cameras"][0]["name"] = "side"
    (other / "meta/forehand_contract.json").write_text(json.dumps(contract | {"rate": 10.0}))
    with pytest.raises(ContractMismatch, match=r"(?s)camera 'static': needed 'present'.*control rate \(Hz\): needed 20"):
        label(other, tmp_path / "out", trained)
    begin(tmp_path / "plain", steps=0).run(ignore)
    with pytest.raises(ConfigurationError, match="plain is no model of inverse dynamics"):
        label(video, tmp_path / "out", tmp_path / "plain")
    begin(tmp_path / "feels", **{**INVERSE, "encoders": {"state": {"name": "example/state"}}}, steps=0).run(ignore)
    with pytest.raises(ContractMismatch, match=r"state fields: needed \['position'\], offered \[\]"):
        label(video, tmp_path / "out", tmp_path / "feels")
    assert not (tmp_path / "out").exists()
    label(video, tmp_path / "out", trained)
    (tmp_path / "new").mkdir()
    begin(tmp_path / "new/inverse", **INVERSE, seed=4, steps=0).run(ignore)
    with pytest.raises(DatasetError, match=r"holds another labelling:\n  models"):
        label(video, tmp_path / "out", tmp_path / "new/inverse")


def test_video_alone_teaches_a_forecast(video, begin, tmp_path):
    world_model = {"name": "example/colour", "cameras": ["static"]}
    reads = {"observation": {"observation": "past"}, "foresight": {"observation": "past"}}
    parts = {"encoders": INVERSE["encoders"], "world_model": world_model, "action_head": None, "reads": reads}
    begin(tmp_path / "forward", sources=video, **parts, token_dropout={}, steps=1).run(ignore)
    assert not load_policy(tmp_path / "forward").acts


def test_a_model_is_given_no_state_where_there_is_none(video, trained, tmp_path):
    part = read_parts([video])[0]
    data = open_source(part, models(trained))
    assert data.episodes.has_state is not None
    assert not data.episodes.has_state.any()
    observation = WindowDataset(data, models(trained)[0].policy.window).batch([0])["observation"]
    assert not observation["state_valid"].any()


@pytest.mark.parametrize(
    "changes", [{}, {"reads": {"observation": {"observation": "same"}, "action": {"observation": "past"}}}]
)
def test_no_action_depends_on_frames_behind_it(slider_dataset, tmp_path, changes):
    data = Dataset.open(slider_dataset)
    policy = build_policy(POLICY | changes | {"history": 3}, data.contract, data.statistics).eval()
    batch = WindowDataset(data, policy.window, cache=tmp_path).batch([0, 4])
    seen = batch["observation"]
    later = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in seen.items()}
    for key in ("images.static", "state"):
        later[key][:, 2] = 0
    with torch.no_grad():
        ours, theirs = (policy.action_head(policy.readouts(one)["action"]) for one in (seen, later))
        assert torch.equal(ours[:, :2], theirs[:, :2])
        assert not torch.equal(ours[:, 2], theirs[:, 2])
        assert window_loss(policy, seen, batch["target"])[0].isfinite()


@pytest.mark.slow
def test_labels_are_exact_where_frames_tell_actions_apart(begin, slider_dataset, tmp_path):
    seen = {"encoders": {"state": {"name": "example/state"}}, "dim": 32}  # the position, which an action changes
    begin(tmp_path / "run", **{**INVERSE, **seen}, steps=90, batch_size=8, learning_rate=1e-2, log_every=50).run(ignore)
    source = without(slider_dataset, tmp_path / "source", "action")
    found = LeRobotSource(label(source, tmp_path / "labelled", tmp_path / "run")).episodes
    done = Dataset.open(slider_dataset).episodes.actions
    assert np.abs(found.actions - done)[found.has_action].mean() < 0.006  # m, of steps up to 0.05 m
