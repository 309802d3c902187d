"""Videos of recorded episodes show depth in colours beside the cameras."""

import numpy as np

from forehand import Camera, Contract, Field, Observation, Sensor
from forehand.data.checking.checker import check_dataset
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.data.specification import SourceSpec
from forehand.utils.video import decode
from forehand_apps.pages.episode_video import write_episode_video

DEPTH = Sensor("depth", "depth", (24, 32), "uint16", unit="mm", role="static")
CONTRACT = Contract((Camera("static", 24, 40),), (Field("x", 1),), (Field("x", 1),), 10.0, (DEPTH,))


def test_depth_stands_in_colours_behind_the_cameras(tmp_path):
    depth = np.zeros((24, 32), np.uint16)
    depth[:16, :16], depth[:16, 16:] = 300, 1500  # mm; nothing is measured below
    root, gray = tmp_path / "data", np.full((24, 40, 3), 128, np.uint8)
    with recording_lock(root):
        require_same_contract(root, CONTRACT)
        recorder = Recorder(root, CONTRACT)
        for i in range(3):
            recorder.add(
                Observation({"static": gray}, np.zeros(1), i / 10, sensors={"depth": depth}), np.zeros(1, np.float32)
            )
        recorder.save(0, "look")
        commit_episodes(root, "none")
    report = check_dataset("data", SourceSpec("lerobot", {"path": root}), "none")
    assert report.source is not None
    assert report.table is not None
    write_episode_video(tmp_path / "a.mp4", report.source, report.table, 0, 240)
    frames = [pixels.astype(int) for _, pixels in decode(tmp_path / "a.mp4")]
    assert [frame.shape for frame in frames] == [(24, 72, 3)] * 3
    near, far, nothing = (frames[0][rows, columns].mean((0, 1)) for rows, columns in (
        (slice(2, 10), slice(43, 53)), (slice(2, 10), slice(59, 69)), (slice(22, 24), slice(66, 72))
    ))  # fmt: skip
    assert far[0] > far[2] + 60  # red
    assert near[2] > near[0]  # blue
    assert nothing.max() < 60
    assert np.ptp(frames[0][:, :38].mean((0, 1))) < 10
