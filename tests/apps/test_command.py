"""The command: where it leads, what it says when it is mistyped, what it leaves behind."""

import re

import pytest

from forehand_apps.main import COMMANDS

LIMIT = "(FOREHAND_PLUGINS limits plugins to stock, seer, robots, tabletop)"


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


@pytest.mark.parametrize("word", ["vido", "check"])
def test_a_command_of_one_word_that_begins_another_of_two_takes_no_other_word(forehand, word):
    result = forehand("demo", word)
    assert result.returncode == 2
    assert f"There is no command 'demo {word}'" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "num_vidoes=3"), ["no option 'num_vidoes'", "Did you mean 'num_videos'"]),
        (("eval", "policy.adress=x"), ["no option 'adress' in policy", "'address'"]),
        (("eval", "robot=tabeltop"), ["no robot called 'tabeltop'", "Did you mean 'tabletop'", LIMIT]),
        (("run",), ["instruction must be given: forehand run instruction=…"]),
        (("run", "policy.name=zero_action", "instruction=go", "episodes=2"), ["episodes=2 needs max_steps=…"]),
        (("eval",), ["policy.address, policy.checkpoint, policy.name", "none is given"]),
        (
            ("eval", "policy.name=zero_action", "policy.address=tcp://localhost:1"),
            ["policy.address and policy.name are given"],
        ),
        (("eval", "policy.name=zero"), ["No plugin offers a policy called 'zero'", "'zero_action'", LIMIT]),
        (("eval", "policy.name=zero_action", "instruction=mine"), ["must be task or counterfactual, not 'mine'"]),
        (("eval", "policy.name=zero_action", "tasks=[lit]"), ["'lift'"]),
        (("eval", "policy.name=zero_action", "chunking.steps=3"), ["1 actions at a time", "chunking.steps=1 or fewer"]),
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


@pytest.mark.slow
def test_a_traceback_is_shown_on_demand(process):
    result = process("eval", "policy.name=stil", FOREHAND_DEBUG="1")
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status"), [(("plugins", "kind=encoder"), 0), (("keys",), 0), (("convert", "seer", "output=x"), 2)]
)
def test_a_command_answers_alike_in_a_process_of_its_own(forehand, process, tmp_path, arguments, status):
    """Most tests run commands in the tests' process; other commands have a process of their own in other tests."""
    here, there = (run(*arguments, FOREHAND_KEYS=str(tmp_path)) for run in (forehand, process))
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert there.returncode == status
    assert there.stdout or there.stderr


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
    assert re.search(r"robot=tabletop   or .*gymnasium, .*remote, replay", page)
    assert "chunking=receding_horizon   or asynchronous, temporal_ensemble" in page
    assert "    address: null  # a running forehand serve" in page
    assert "One after the other, results are the same to the last bit however many there are" in page  # a second line
    assert "    steps: 1  # actions of a chunk to carry out" in page  # from the plugin's own file
    assert "hydra:" not in page


def test_a_page_follows_the_choices_made(forehand):
    page = forehand("eval", "--help", "chunking=temporal_ensemble", "episodes=7").stdout
    assert "decay: 0.01  # weights" in page
    assert "episodes: 7" in page


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_doctor_advises(process):
    health = process("doctor", "free_gib=1e9", MUJOCO_GL="nonsense")
    assert health.returncode == 1
    assert "fail rendering: nonsense:" in health.stdout
    assert "libegl1" in health.stdout
    assert "warn disk" in health.stdout
