"""Faults of sources: named with episode and step, left out on request, and found before anything is written."""

import errno

import pytest
from tests.core.data.importing.test_import import job, run

from forehand.data.importing.job import ImportJob
from forehand.data.importing.run import read_import_record
from forehand.data.recording.recorder import Recorder
from forehand.errors import ConfigurationError, DatasetError
from forehand.utils.video import Encoding

MESSAGES = {
    "nan": "The state to be recorded is not finite: element 0 of 'x' is nan.",
    "words": "ValueError: could not convert string to float",
    "low": "Camera 'static' is to give uint8 (32, 48, 3) by the contract, but gave uint8 (30, 48, 3).",
    "flat": "Camera 'static' is to give uint8 (32, 48, 3) by the contract, but gave uint8 (48, 3).",
    "blind": "The contract has a camera 'static', but the observation does not.",
    "wide": "The state has 1 elements by the contract, but shape (2,).",
    "huge": "The action to be recorded is not finite: element 0 of 'gripper' is inf.",
    "torn": "a picture of 10 bytes cannot be decoded",
    "unforeseen": "KeyError: 'unforeseen'",
}


def test_every_fault_of_an_episode_names_it_and_may_be_left_out(source, tmp_path):
    source.write_text("2\n" + "\n".join(MESSAGES) + "\n0\n3\n")
    with pytest.raises(DatasetError, match=r"^Episode line 1, step 1: The state .* is nan\..*damaged=drop"):
        run(job(source, tmp_path / "out"))
    root = run(job(source, tmp_path / "out", damaged="drop"))
    record = read_import_record(root)
    dropped = record["dropped_episodes"]
    for number, message in enumerate(MESSAGES.values(), start=1):
        assert dropped[f"line {number}"].startswith(f"damaged: step 1: {message}")
    assert dropped[f"line {len(MESSAGES) + 1}"] == "no frame of it is left"
    assert (record["episodes"], record["frames"]) == (2, 5)


def test_a_full_disk_is_no_fault_of_an_episode(source, tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Recorder, "_open_files", full)
    with pytest.raises(DatasetError, match="No space left"):
        run(job(source, tmp_path / "out", damaged="drop"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 49}, r"camera 'static': pictures of 32 × 49 cannot become video.*pictures=images.*yuv444p"),
        ({"height": 10**6}, r"a size is a whole number from 0 to 65536, not 1000000"),
        ({"height": 60_000, "width": 60_000}, r"pictures of 60000 × 60000; recorded are those of 1 to"),
        ({"height": 0}, r"pictures of 0 × 48"),
        ({"rate": 1e9}, r"a whole number of frames a second, not 1e\+09 Hz, and at most 10000"),
        ({"rate": 0.0}, r"rate is a positive number of Hz, not 0"),
        ({"rate": float("nan")}, r"rate is a positive number of Hz, not nan"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_the_first_episode(source, tmp_path, options, message):
    options = {"source": str(source), "rate": 10.0, "sense": "open", **options}
    with pytest.raises((ConfigurationError, DatasetError), match=message):
        run(ImportJob(tmp_path / "out", "gray", options))
    assert not list(tmp_path.glob("out/**/*.json"))


@pytest.mark.parametrize("options", [{"crf": -1}, {"crf": 52}, {"crf": 1.5}, {"gop": 0}])
def test_an_encoding_out_of_range_is_refused(options):
    with pytest.raises(ConfigurationError, match=rf"video\.{next(iter(options))} is a whole number from . to \d+"):
        Encoding(**options)


def test_a_preset_that_the_encoder_does_not_have_is_refused(source, tmp_path):
    with pytest.raises(ConfigurationError, match=r"camera 'static'.* preset fastest"):
        run(job(source, tmp_path / "out", encoding=Encoding(preset="fastest")))
