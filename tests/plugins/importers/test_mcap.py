"""MCAP and ROS bags: resampling, gaps, marks, and what a message does not say."""

import numpy as np
import pytest
from tests.foreign_recordings.mcap import joints, picture, raw_picture, recording, text, write_bag
from tests.foreign_recordings.pictures import is_upright, level

from forehand.errors import ConfigurationError, DatasetError

OPTIONS = {
    "rate": 10,
    "clock": "log",
    "max_gap": 0.15,
    "instruction": "fold",
    "cameras": {"static": {"key": "/camera", "orientation": "upright", "role": "static"}},
    "state": [{"name": "joints", "key": "/joints:position", "unit": "rad", "mode": "absolute"}],
    "action": [
        {"name": "position", "key": "/command:pose.position", "unit": "m", "mode": "absolute", "frame": "base"},
        {
            "name": "rotation",
            "key": "/command:pose.orientation",
            "unit": "1",
            "mode": "absolute",
            "frame": "base",
            "rotation": "quaternion_xyzw",
        },
    ],
}


@pytest.mark.parametrize(("packed", "raw"), [(True, False), (False, True)])
def test_steps_take_the_latest_messages_and_the_command_that_answers(tmp_path, imported, packed, raw):
    source = write_bag(tmp_path / "in/one", recording(raw=raw), mcap=packed)
    there = imported("mcap", source=str(source if packed else source.parent), **OPTIONS)
    (row,) = there.rows
    assert row["length"] == 11
    np.testing.assert_allclose(there.states[:, 0], np.arange(11) / 10, atol=1e-6)
    # the step from 0.3 to 0.4 s is answered by the command at 0.4 s; none comes after 1 s
    np.testing.assert_allclose(there.actions[:, 0], 100 + 10 * np.minimum(np.arange(11) + 1, 10), atol=1e-4)
    np.testing.assert_allclose(there.actions[0, 3:], [0, 0, 0, 1])
    np.testing.assert_allclose([level(p) for p in there.pictures("static")], range(11), atol=1.5)
    assert all(map(is_upright, there.pictures("static")))


def test_a_gap_ends_an_episode_and_is_reported(tmp_path, imported):
    messages = [m for m in recording(2) if not (m[1] == "/camera" and 0.75 < m[0] < 1.25)]
    there = imported("mcap", source=str(write_bag(tmp_path / "one", messages)), **OPTIONS)
    assert [row["length"] for row in there.rows] == [9, 8]  # until 0.8 s the picture of 0.7 s is recent; from 1.3 s
    assert there.record["skipped_frames"] == {"a gap in /camera": 4}
    wide = OPTIONS | {"max_gap": {"default": 0.15, "/camera": 1}}
    assert [r["length"] for r in imported("mcap", "wide", source=str(tmp_path / "one.mcap"), **wide).rows] == [21]


def test_marks_begin_and_end_episodes_and_say_what_is_asked(tmp_path, imported):
    marks = [(0.25, "/task", text("push")), (0.72, "/task", text("")), (1.05, "/task", text("pull"))]
    messages = sorted([*recording(2), *marks], key=lambda message: message[0])
    source = str(write_bag(tmp_path / "one", messages))
    there = imported("mcap", source=source, **OPTIONS | {"marks": "/task", "instruction": "/task"})
    assert there.sentences() == ["push", "pull"]
    assert [row["length"] for row in there.rows] == [5, 10]
    np.testing.assert_allclose(there.states[[0, 5], 0], [0.24, 1.04], atol=1e-6)  # the latest at 0.25 and 1.05 s


def test_times_of_headers_and_of_the_log_differ(tmp_path, imported):
    delayed = [(time + (0.1 if topic == "/camera" else 0), topic, m) for time, topic, m in recording()]
    source = str(write_bag(tmp_path / "one", sorted(delayed, key=lambda message: message[0])))
    by_header = imported("mcap", "header", source=source, **OPTIONS | {"clock": "header"})
    np.testing.assert_allclose([level(p) for p in by_header.pictures("static")], range(11), atol=1.5)
    np.testing.assert_allclose(by_header.states[:, 0], np.arange(11) / 10, atol=1e-6)
    by_log = imported("mcap", "log", source=source, **OPTIONS)
    np.testing.assert_allclose(by_log.states[:3, 0], [0.1, 0.2, 0.3], atol=1e-6)  # when the first picture came
    np.testing.assert_allclose([level(p) for p in by_log.pictures("static")][:3], range(3), atol=1)


def test_a_header_clock_that_goes_back_is_counted(tmp_path, imported):
    turned = [
        (t, topic, picture(t - 0.35, round(10 * t)) if topic == "/camera" and t > 0.5 else m)
        for t, topic, m in recording()
    ]
    source = str(write_bag(tmp_path / "one", turned))
    there = imported("mcap", source=source, **OPTIONS | {"clock": "header"})
    (noted,) = [s["value"] for name, s in there.record["statements"].items() if name.startswith("clock of /camera in ")]
    assert noted.startswith("goes back 1 times, by up to 0.25 s: 3 of 11 messages")
    by_log = imported("mcap", "log", source=source, **OPTIONS)
    np.testing.assert_allclose([level(p) for p in by_log.pictures("static")], range(11), atol=1.5)
    assert not any(name.startswith("clock of") for name in by_log.record["statements"])


def test_joints_in_another_order_are_chosen_by_name(tmp_path, imported):
    messages = recording(0.3)
    turned = [
        (t, topic, joints(t, [-t, t], ("b", "a")) if topic == "/joints" and t > 0.1 else m) for t, topic, m in messages
    ]
    source = str(write_bag(tmp_path / "one", turned))
    with pytest.raises(DatasetError, match=r"the joints of /joints are b, a .* and a, b .*/joints:position:name,name"):
        imported("mcap", "a", source=source, **OPTIONS)
    state = [{"name": "joints", "key": "/joints:position:a,b", "unit": "rad", "mode": "absolute"}]
    there = imported("mcap", "b", source=source, **OPTIONS | {"state": state})
    np.testing.assert_allclose(there.states, [[0, 0], [0.1, -0.1], [0.2, -0.2], [0.3, -0.3]], atol=1e-6)


def test_nothing_is_guessed(tmp_path, imported):
    source = str(write_bag(tmp_path / "one", recording(0.2)))
    with pytest.raises(ConfigurationError) as refused:
        imported("mcap", source=source)
    for words in ("cameras=…", "max_gap=…", "clock=…", "/joints (sensor_msgs/msg/JointState)"):
        assert words in str(refused.value)
    relative = [{"name": "position", "key": "/command:pose.position", "unit": "m", "mode": "delta", "frame": "base"}]
    with pytest.raises(ConfigurationError, match="relative commands cannot be resampled"):
        imported("mcap", source=source, **OPTIONS | {"action": relative})
    wrong = [{"name": "joints", "key": "/joint:position", "unit": "rad", "mode": "absolute"}]
    with pytest.raises(DatasetError, match=r"no topic '/joint'. Did you mean '/joints'"):
        imported("mcap", source=source, **OPTIONS | {"state": wrong})
    whole = [{"name": "joints", "key": "/joints", "unit": "rad", "mode": "absolute"}]
    with pytest.raises(ConfigurationError, match="take /joints:position"):
        imported("mcap", source=source, **OPTIONS | {"state": whole})


def test_a_damaged_bag_is_named_or_left_out(tmp_path, imported):
    source = write_bag(tmp_path / "in/b", recording(0.2))
    content = source.read_bytes()
    (tmp_path / "in/a.mcap").write_bytes(content[: len(content) // 2])
    write_bag(tmp_path / "in/c", [message for message in recording(0.2) if message[1] != "/joints"])
    with pytest.raises(DatasetError, match=r"Episode a\.mcap: .*a\.mcap cannot be read .*damaged=drop"):
        imported("mcap", source=str(tmp_path / "in"), **OPTIONS)
    there = imported("mcap", "dropped", {"damaged": "drop"}, source=str(tmp_path / "in"), **OPTIONS)
    assert [row["forehand/source"] for row in there.rows] == ["b.mcap/0000"]
    dropped = there.record["dropped_episodes"]
    assert list(dropped) == ["a.mcap", "c.mcap"]
    assert "c.mcap has no topic '/joints'" in dropped["c.mcap"]


def test_pictures_of_encodings_that_are_not_known_are_refused():
    from forehand_plugins.importers.mcap.messages import picture_of

    message = raw_picture(0, 1)
    message.encoding = "bayer_rggb8"
    with pytest.raises(DatasetError, match="'bayer_rggb8'"):
        picture_of("/camera", message)
