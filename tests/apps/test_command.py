"""The command: where it leads, what it says when it is mistyped, what it leaves behind."""

import pytest

from forehand_apps.main import COMMANDS


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_first_page_teaches_the_loop(forehand, arguments):
    page = forehand(*arguments)
    assert page.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in page.stdout
    order = [page.stdout.index(f"forehand {c} ") for c in ("record", "train", "serve", "robot", "run", "eval")]
    assert order == sorted(order)


def test_the_version(forehand):
    assert forehand("--version").stdout == "forehand 0.1.0\n"


def test_an_unknown_command_is_answered_with_the_nearest(forehand):
    result = forehand("trian")
    assert result.returncode == 2
    assert "There is no command 'trian'. Did you mean 'train'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "vidoes=3"), ["no option 'vidoes'", "Did you mean 'videos'"]),
        (("eval", "policy.adress=x"), ["no option 'adress' in policy", "'address'"]),
        (("eval", "robot=tabeltop"), ["no robot called 'tabeltop'", "Did you mean 'tabletop'"]),
        (("run",), ["instruction must be given: forehand run instruction=…"]),
        (("run", "policy.name=still", "instruction=go", "episodes=2"), ["episodes=2 needs max_steps=…"]),
        (("eval",), ["policy.address, policy.checkpoint, policy.name", "none is given"]),
        (("eval", "policy.name=still", "policy.address=tcp://localhost:1"), ["policy.address and policy.name are given"]),
        (("eval", "policy.name=stil"), ["No plugin offers a policy called 'stil'", "'still'"]),
        (("eval", "policy.name=still", "instruction=mine"), ["must be own or other, not 'mine'"]),
        (("eval", "policy.name=still", "tasks=[lit]"), ["'lift'"]),
        (("eval", "policy.name=still", "execution.steps=3"), ["1 actions at a time", "execution.steps=1 or fewer"]),
        (("eval", "policy.checkpoint=nowhere"), ["there is no checkpoint folder", "nowhere"]),
        (("convert", "seer", "output=x"), ["either released=<file> or checkpoint=<folder>"]),
        (("convert", "sear", "output=x"), ["no converter called 'sear'", "Did you mean 'seer'"]),
        (("convert", "seer", "released=x.pth", "mae=m", "clip=c", "output=x"), ["no file", "x.pth"]),
        (("plugins", "kind=encodr"), ["Did you mean 'encoder'"]),
        (("plugins", "kind=[unclosed"), ["unclosed"]),
    ],
)
def test_a_mistake_is_explained_without_a_traceback(forehand, arguments, words):
    result = forehand(*arguments)
    assert result.returncode == 2, result.stderr
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr
    assert "HYDRA_FULL_ERROR" not in result.stderr


def test_a_traceback_is_shown_on_demand(forehand):
    result = forehand("eval", "policy.name=stil", FOREHAND_DEBUG="1")
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "UnknownName" in result.stderr


def test_hydra_s_own_flags_work(forehand, tmp_path):
    printed = forehand("robot", "--cfg", "job", "robot.options.image_size=64")
    assert printed.returncode == 0
    assert "image_size: 64" in printed.stdout
    assert list(tmp_path.iterdir()) == []


def test_parts_are_listed_by_kind(forehand, tmp_path):
    everything = forehand("plugins").stdout
    assert "temporal_ensemble" in everything
    assert "seer/state" in everything
    encoders = forehand("plugins", "kind=encoder").stdout
    assert "seer/state" in encoders
    assert "temporal_ensemble" not in encoders
    assert list(tmp_path.iterdir()) == []  # who only looks leaves nothing behind


@pytest.mark.parametrize(
    "command", ["record", "train", "serve", "robot", "run", "eval", "gallery", "plugins", "convert", "doctor"]
)
def test_every_command_has_a_page(forehand, command):
    page = forehand(command, "--help")
    assert page.returncode == 0, page.stderr
    assert page.stdout.startswith(f"forehand {command} [key=value …]")
    assert "Options" in page.stdout


def test_a_page_shows_purpose_examples_choices_and_what_every_option_means(forehand):
    page = forehand("eval", "--help").stdout
    assert "Judge a policy" in page
    assert "forehand eval policy.name=random" in page
    assert "robot=tabletop   or gymnasium, lerobot, remote, replay" in page
    assert "execution=receding_horizon   or asynchronous, temporal_ensemble" in page
    assert "    address: null  # a running forehand serve" in page
    assert "    steps: 1  # actions of a chunk to carry out" in page  # from the plugin's own file
    assert "hydra:" not in page


def test_a_page_follows_the_choices_made(forehand):
    page = forehand("eval", "--help", "execution=temporal_ensemble", "episodes=7").stdout
    assert "decay: 0.01  # weights" in page
    assert "episodes: 7" in page


def test_the_doctor_examines(forehand, tmp_path):
    health = forehand("doctor", "free_gib=0")
    assert health.returncode == 0, health.stdout
    for what in (
        "Python",
        "packages",
        "torch",
        "rendering: MuJoCo drew a picture",
        "video",
        "sockets",
        "disk",
        "plugins",
    ):
        assert f"ok   {what}" in health.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_advises(forehand):
    health = forehand("doctor", "free_gib=1e9", MUJOCO_GL="nonsense")
    assert health.returncode == 1
    assert "fail rendering: nonsense:" in health.stdout
    assert "libegl1" in health.stdout
    assert "warn disk" in health.stdout
