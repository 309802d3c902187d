"""Server, robot hosts and whoever drives them, in processes of their own that meet over ZeroMQ."""

import json
import re
import signal
import time
from pathlib import Path

import pytest
from tests.child_process import run_child

pytestmark = pytest.mark.slow

SLIDER = Path(__file__).parents[1] / "data/slider"
ANY_PORT = "address=tcp://127.0.0.1:0"
FEW = ("episodes=3", "seed=3", "num_videos=1")


def outcomes(folder):
    return [(e["seed"], e["success"], e["steps"]) for e in json.loads((folder / "results.json").read_text())["episodes"]]


def test_an_evaluation_is_the_same_in_one_process_and_in_four(forehand, started, tmp_path):
    alone = forehand("eval", "policy.name=random", *FEW, "output=alone")
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.splitlines()[-2].startswith("success 0.")
    assert len(list((tmp_path / "alone" / "videos").glob("*.mp4"))) == 1

    with (
        started("serve", "policy.name=random", ANY_PORT) as (_, policy),
        started("robot", ANY_PORT) as (_, first),
        started("robot", ANY_PORT) as (_, second),
    ):
        apart = forehand("eval", f"policy.address={policy}", f"robots=[{first},{second}]", *FEW, "output=apart")
        assert apart.returncode == 0, apart.stderr
        assert outcomes(tmp_path / "apart") == outcomes(tmp_path / "alone")

        driven = forehand(
            "run",
            "robot=remote",
            f"robot.options.address={first}",
            f"policy.address={policy}",
            "instruction=lift the red block",
            "max_steps=10",
        )
        assert driven.returncode == 0, driven.stderr
        assert "the step limit is reached; the robot holds. 10 steps" in driven.stdout
        (report,) = tmp_path.glob("outputs/run/*/report.json")
        assert f"written to {report.relative_to(tmp_path)}" in driven.stdout.replace(f"{tmp_path}/", "")
        assert json.loads(report.read_text())["steps"] == 10


def test_a_robot_host_that_dies_mid_episode_loses_nothing(begun, started, tmp_path):
    evaluation = ("eval", "policy.name=zero_action", "episodes=1000", "num_videos=0", "output=kept")
    with started("robot", ANY_PORT) as (host, address):
        judging = begun(*evaluation, f"robots=[{address}]")
        wait_for_episodes(tmp_path / "kept", 1)
        host.kill()
        _, complaint = judging.communicate(timeout=300)
    assert judging.returncode == 2
    assert "was interrupted" in complaint
    assert f"robot host at {address}" in complaint
    assert "finished episodes are kept" in complaint
    assert "Traceback" not in complaint
    done = len(outcomes(tmp_path / "kept"))
    assert done >= 1
    # The robot of the second run is another one: where robots are does not decide the outcome.
    resumed = begun(*evaluation)
    wait_for_episodes(tmp_path / "kept", done + 1)
    resumed.send_signal(signal.SIGINT)
    _, farewell = resumed.communicate(timeout=300)
    assert resumed.returncode == 130
    assert "Interrupted." in farewell
    assert "Traceback" not in farewell


def test_ctrl_c_stops_a_run_which_is_kept_and_the_robot_holds(begun, started, tmp_path):
    with started("robot", ANY_PORT) as (_, address):
        remote = ("robot=remote", f"robot.options.address={address}")
        kept = ("record_to=runs", "rerun=run.rrd", "output=report", "report_every=0.1")
        driving = begun("run", *remote, "policy.name=zero_action", "instruction=wait", *kept)
        assert driving.stdout.readline().startswith("driving: wait")
        assert "Hz" in driving.stderr.readline()
        driving.send_signal(signal.SIGINT)
        said, _ = driving.communicate(timeout=300)
    assert driving.returncode == 0
    assert "stopped by hand; the robot holds." in said
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    (episode,) = report["episodes"]
    assert (episode["ending"], episode["success"]) == ("stopped", None)
    assert episode["steps"] > 0
    info = json.loads((tmp_path / "runs" / "meta" / "info.json").read_text())
    assert (info["total_episodes"], info["total_frames"]) == (1, episode["steps"])
    assert (tmp_path / "run.rrd").stat().st_size > 0


def sliding(**options):
    """A run of the slider, whose robot takes these options; and the environment that it needs."""
    told = [f"+robot.options.{name}={value}" for name, value in options.items()]
    command = ("run", "robot=slider", "benchmark=slider", "policy.name=zero_action", "output=report", *told)
    return command, {"FOREHAND_PLUGINS": "slider,stock,robots", "PYTHONPATH": str(SLIDER)}


def test_a_hold_that_fails_is_told_in_the_exit_status_too(forehand, begun, tmp_path):
    command, environment = sliding(loose=True)
    done = forehand(*command, "max_steps=2", **environment)
    assert done.returncode == 2
    assert "whether the robot holds is unknown. Look after it. (OSError: the brake does not answer)" in done.stderr
    assert "the robot holds" not in done.stdout
    assert json.loads((tmp_path / "report" / "report.json").read_text())["episodes"][0]["holds"] is None
    words = ("robot=slider", "benchmark=slider", "policy.name=zero_action", "episodes=1", "num_videos=0")
    judged = forehand("eval", *words, "+robot.options.loose=true", **environment)
    assert judged.returncode == 2
    assert "was interrupted: No confirmation of the hold: whether the robot holds is unknown" in judged.stderr


def test_a_host_that_dies_leaves_a_robot_of_which_nothing_is_known(begun, started):
    with started("robot", ANY_PORT) as (host, address):
        remote = ("robot=remote", f"robot.options.address={address}", "robot.options.timeout=5")
        driving = begun("run", *remote, "policy.name=zero_action", "instruction=wait", "report_every=0.1")
        assert "Hz" in driving.stderr.readline()
        host.kill()
        said, complaint = driving.communicate(timeout=300)
    assert driving.returncode == 2
    assert "whether the robot holds is unknown" in complaint
    assert "the robot holds." not in said


def test_a_driver_that_hangs_is_told_of_and_the_second_ctrl_c_does_not_wait(begun):
    command, environment = sliding(hangs=True)
    driving = begun(*command, "command_timeout=0.2", **environment)
    while "the robot's act() has not returned for" not in (line := driving.stderr.readline()):
        assert line, driving.communicate()
    driving.send_signal(signal.SIGINT)
    while "a request to stop has come" not in (line := driving.stderr.readline()):
        assert line, driving.communicate()
    assert driving.poll() is None  # it waits for the step
    driving.send_signal(signal.SIGINT)
    said, complaint = driving.communicate(timeout=300)  # the driver's step takes an hour
    assert driving.returncode == 130
    assert "whether it holds is unknown" in complaint
    assert "the robot holds." not in said


def test_a_host_whose_robot_fails_to_hold_says_so_in_its_exit_status(begun, forehand):
    _, environment = sliding()
    host = begun("robot", "robot=slider", "+robot.options.loose=true", ANY_PORT, **environment)
    address = host.stdout.readline().split()[-1]
    remote = ("robot=remote", f"robot.options.address={address}", "benchmark=slider", "policy.name=zero_action")
    driven = forehand("run", *remote, "max_steps=2", **environment)
    assert driven.returncode == 2
    assert "whether the robot holds is unknown" in driven.stderr
    host.send_signal(signal.SIGTERM)
    said, complaint = host.communicate(timeout=300)
    assert host.returncode == 2
    assert "not brought to rest: whether it holds is unknown" in complaint
    assert "stopped" not in said


@pytest.mark.parametrize(("what", "size"), [("record_to=runs", 2500), ("rerun=null", 400)])
def test_a_full_disk_ends_a_run_with_a_sentence(tmp_path, program, what, size):
    """No file may be larger than ``size`` bytes: what is written to it then fails as on a full disk."""
    words, environment = program
    command, more = sliding()
    limited = [f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))", words[-1]]
    words = [*words[:-1], "\n".join(limited), *command, "episodes=2", "max_steps=30", what, "report_every=0"]
    done = run_child(words, cwd=tmp_path, env=environment | more)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert ("Recording to" in done.stderr) == what.startswith("record")
    assert (size == 400) <= done.stderr.count("no more is written to") <= 1


def test_a_policy_server_killed_in_mid_episode_is_waited_for_and_gone_on_with(begun, started, tmp_path):
    with started("robot", ANY_PORT) as (_, address):
        with started("serve", "policy.name=zero_action", ANY_PORT) as (server, policy):
            told = (f"robot.options.address={address}", f"policy.address={policy}", "report_every=0.1", "output=report")
            driving = begun("run", "robot=remote", "instruction=wait", *told)
            while commanded(next(driving.stderr)) < 5:
                pass
            server.kill()
            before = 5
            while "The robot holds, and requests are repeated" not in (line := next(driving.stderr)):
                before = max(before, commanded(line))
        with started("serve", "policy.name=zero_action", f"address={policy}"):
            while commanded(next(driving.stderr)) < before + 5:
                pass
            driving.send_signal(signal.SIGINT)
            said, _ = driving.communicate(timeout=300)
    assert "stopped by hand; the robot holds." in said
    assert json.loads((tmp_path / "report" / "report.json").read_text())["holds"]["reasons"] == {"policy lost": 1}


def commanded(line):
    """Steps with a command, by a line of a run's report; -1 for another line."""
    found = re.search(r"(\d+) steps, .* (\d+) held", line)
    return int(found[1]) - int(found[2]) if found else -1


def test_a_port_in_use_is_named(forehand, started):
    with started("serve", "policy.name=zero_action", ANY_PORT) as (_, address):
        second = forehand("serve", "policy.name=zero_action", f"address={address}")
    assert second.returncode == 2
    assert second.stderr.startswith("loading zero_action: ")
    assert address in second.stderr
    assert "Traceback" not in second.stderr


def test_a_server_that_is_not_there_is_named(forehand):
    result = forehand("eval", "policy.address=tcp://127.0.0.1:9", "policy.timeout=0.5", "num_videos=0")
    assert result.returncode == 2
    assert "policy server at tcp://127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_robot_that_does_not_fit_the_policy_is_refused(forehand, started):
    with started("serve", "policy.name=zero_action", "robot.options.image_size=64", ANY_PORT) as (_, address):
        result = forehand("eval", f"policy.address={address}", "num_videos=0")
    assert result.returncode == 2
    assert "camera 'static' height: needed 64, offered 128" in result.stderr
    assert "Nothing was moved" in result.stderr


def test_servers_stop_cleanly(started):
    for command in (("serve", "policy.name=zero_action"), ("robot",)):
        for how in (signal.SIGINT, signal.SIGTERM):
            with started(*command, ANY_PORT) as (process, _):
                process.send_signal(how)
                said, complaints = process.communicate(timeout=300)
            assert process.returncode == 0, complaints
            assert said == "stopped\n"
            assert "Traceback" not in complaints


def test_a_sweep_judges_each_in_a_folder_of_its_own(forehand, tmp_path):
    swept = forehand(
        "eval", "-m", "policy.name=zero_action,random", "episodes=1", "tasks=[lift]", "num_videos=0", "output=sweep"
    )
    assert swept.returncode == 0, swept.stderr
    judged = [
        json.loads((tmp_path / "sweep" / f"policy.name-{n}" / "results.json").read_text())
        for n in ("zero_action", "random")
    ]
    assert [j["setup"]["policy"]["name"] for j in judged] == ["zero_action", "random"]


def wait_for_episodes(folder, count):
    results = folder / "results.json"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if results.exists() and len(outcomes(folder)) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{results} never held {count} episodes")
