"""The gallery: one page that needs nothing beside itself, drawn once, for any benchmark that has an expert."""

import base64
import io
import re
import signal
from pathlib import Path

import av
import pytest
from PIL import Image

from forehand import registry

SMALL = ("image_height=64", "video_height=64", "output=gallery")
PLAIN = ("pretty=false", "robot.options.image_size=32")


def inside(page: str, kind: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(f'data:{kind};base64,([^"]+)', page)]


def test_another_benchmark_is_shown_without_knowing_it(forehand, tmp_path):
    run = forehand("gallery", "benchmark=tabletop", "robot=tabletop", *SMALL)
    assert run.returncode == 0, run.stderr
    assert "Look at gallery/index.html" in run.stderr
    page = (tmp_path / "gallery/index.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "the page needs nothing beside itself"

    benchmark = registry().create("benchmark", "tabletop")
    films = inside(page, "video/mp4")
    assert len(films) == len(benchmark.tasks)
    for task in benchmark.tasks:
        assert f"<b>{task}</b>" in page
    assert "no success" not in page  # the expert knows how
    assert "“lift the red block”" in page
    with av.open(io.BytesIO(films[0])) as film:
        frames = list(film.decode(video=0))
    assert (frames[0].height, frames[0].width) == (64, 128)  # both cameras, side by side
    assert len(frames) > 20


def test_a_robot_s_conversions_are_those_of_the_gallery(forehand, tmp_path):
    convert = "robot.convert=[camera.wrist:16x32,camera.wrist:hand,action.position:mm,action.gripper:closed]"
    run = forehand("gallery", "benchmark=tabletop", "robot=tabletop", "sections=[tasks]", convert, *SMALL, *PLAIN)
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "gallery/index.html").read_text()
    assert "no success" not in page  # the expert speaks through them, too
    with av.open(io.BytesIO(inside(page, "video/mp4")[0])) as film:
        assert next(film.decode(video=0)).width == 64 + 128  # the wrist's pictures are twice as wide as high


@pytest.mark.slow
def test_depth_is_shown_in_colours_beside_the_cameras(forehand, tmp_path):
    sensors = "robot.options.sensors=[depth_static,finger_forces]"
    run = forehand("gallery", "benchmark=tabletop", "robot=tabletop", sensors, *SMALL, *PLAIN)
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "gallery/index.html").read_text()
    assert "sensors: depth_static (32, 32) mm, finger_forces (6,) N" in page
    with av.open(io.BytesIO(inside(page, "video/mp4")[0])) as film:
        frame = next(film.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert frame.shape == (64, 3 * 64, 3)
    spread = frame.max(axis=-1) - frame.min(axis=-1)
    assert spread[:40, 128:].mean() > 80  # the map's colours are vivid; the table is not
    assert spread[:40, :128].mean() < 60


@pytest.mark.slow
def test_environments_are_pictures_of_the_whole_scene_and_of_each_camera(forehand, tmp_path):
    run = forehand("gallery", "sections=[environments]", *SMALL)
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "gallery/index.html").read_text()
    pictures = [Image.open(io.BytesIO(data)) for data in inside(page, "image/jpeg")]
    assert [picture.size for picture in pictures] == 4 * [(64, 64), (32, 32), (32, 32)]
    assert not inside(page, "video/mp4")


@pytest.mark.slow
def test_what_is_drawn_is_not_drawn_again_and_what_changed_is(forehand, tmp_path):
    command = ("gallery", "sections=[disturbances]", *SMALL, *PLAIN)
    assert forehand(*command).returncode == 0
    parts = tmp_path / "gallery/parts"
    drawn = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert sum(name.endswith(".mp4") for name in drawn) == 4
    next(parts.glob("*lighting*.json")).unlink()  # as if interrupted there

    assert forehand(*command).returncode == 0
    again = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert {name for name in again if again[name] != drawn[name]} == {n for n in drawn if "lighting" in n}
    assert forehand(*command, "seed=1").returncode == 0
    assert len(list(parts.iterdir())) == 2 * len(drawn)


@pytest.mark.slow
def test_an_interrupted_gallery_says_how_to_go_on(begun, tmp_path):
    process = begun("gallery", *SMALL, *PLAIN, signalled=(signal.SIGINT, "*parts/*.json", 1))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "showcases are drawn; the same command continues from there" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_mistakes_are_explained(forehand):
    for arguments, words in (
        (("sections=[environment]",), "no section 'environment'. Did you mean 'environments'"),
        (("image_height=5",), "image_height must be a whole number, at least 64, not 5"),
        (("robot=tabletop",), "TabletopRobot has none of them"),
    ):
        run = forehand("gallery", *SMALL, *arguments)
        assert run.returncode == 2, run.stderr
        assert words in " ".join(run.stderr.split())
        assert "Traceback" not in run.stderr


def test_every_task_environment_and_disturbance_of_the_chains_is_among_the_showcases(tmp_path):
    mine = tmp_path / "mine.yaml"
    source = Path(__file__).parents[2] / "robots/forehand_tabletop/chains/variants.yaml"
    mine.write_text("E:\n" + source.read_text().split("\nB:\n")[1].split("\n\n")[0])
    benchmark = registry().create("benchmark", "tabletop-chains", variant=str(mine))
    sections = {}
    for showcase in benchmark.showcases(0):
        sections.setdefault(showcase.section, []).append(showcase)
    assert list(sections) == ["Environments", "Five in a row", "Tasks", "Disturbances"]
    assert [showcase.title for showcase in sections["Environments"]] == ["A", "B", "C", "D", "E"]
    assert [showcase.trial[0].task for showcase in sections["Tasks"]] == list(benchmark.tasks)
    assert all(len(showcase.sentences) >= 7 for showcase in sections["Tasks"])
    assert [len(showcase.trial) for showcase in sections["Five in a row"]] == [5]
    assert [showcase.trial[0].options["disturbances"] for showcase in sections["Disturbances"]] == [
        "novel_objects",
        "lighting",
        "moving_distractor",
        "pushed_block",
    ]
