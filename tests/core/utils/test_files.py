"""Atomic writes: a file is replaced whole, or left as it was."""

import pytest

from forehand.utils.files import replacing


@pytest.mark.parametrize("fsync", [False, True])
def test_a_file_is_replaced_whole_when_the_body_is_done(tmp_path, fsync):
    path = tmp_path / "results.json"
    path.write_text("before")
    with replacing(path, fsync=fsync) as staging:
        staging.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def write_a_part(path):
    with replacing(path) as staging:
        staging.write_text("a part")
        raise OSError("the disk is full")


def test_what_fails_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("before")
    with pytest.raises(OSError, match="full"):
        write_a_part(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
