"""Server, robot hosts and whoever drives them, in processes of their own that meet over ZeroMQ."""

import json
import re
import signal
import time

import pytest

pytestmark = pytest.mark.slow

ANY_PORT = "address=tcp://127.0.0.1:0"
FEW = ("episodes=3", "seed=3", "videos=1")


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
    evaluation = ("eval", "policy.name=still", "episodes=30", "videos=0", "output=kept")
    with started("robot", ANY_PORT) as (host, address):
        judging = begun(*evaluation, f"robots=[{address}]")
        wait_for_episodes(tmp_path / "kept", 1)
        host.kill()
        _, complaint = judging.communicate(timeout=300)
    assert judging.returncode == 2
    assert "was broken off" in complaint
    assert f"robot host at {address}" in complaint
    assert "finished episodes are kept" in complaint
    assert "Traceback" not in complaint
    done = len(outcomes(tmp_path / "kept"))
    assert 1 <= done < 30
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
        kept = ("record=runs", "live=run.rrd", "output=report", "report_every=0.1")
        driving = begun("run", *remote, "policy.name=still", "instruction=wait", *kept)
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


def test_a_policy_server_killed_in_mid_episode_is_waited_for_and_gone_on_with(begun, started, tmp_path):
    with started("robot", ANY_PORT) as (_, address):
        with started("serve", "policy.name=still", ANY_PORT) as (server, policy):
            told = (f"robot.options.address={address}", f"policy.address={policy}", "report_every=0.1", "output=report")
            driving = begun("run", "robot=remote", "instruction=wait", *told)
            while commanded(driving.stderr.readline()) < 5:
                pass
            server.kill()
            before = 5
            while "The robot holds, and the policy is asked again" not in (line := driving.stderr.readline()):
                before = max(before, commanded(line))
        with started("serve", "policy.name=still", f"address={policy}"):
            while commanded(driving.stderr.readline()) < before + 5:
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
    with started("serve", "policy.name=still", ANY_PORT) as (_, address):
        second = forehand("serve", "policy.name=still", f"address={address}")
    assert second.returncode == 2
    assert address in second.stderr
    assert "Traceback" not in second.stderr


def test_a_server_that_is_not_there_is_named(forehand):
    result = forehand("eval", "policy.address=tcp://127.0.0.1:9", "policy.timeout=0.5", "videos=0")
    assert result.returncode == 2
    assert "policy server at tcp://127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_robot_that_does_not_fit_the_policy_is_refused(forehand, started):
    with started("serve", "policy.name=still", "robot.options.image_size=64", ANY_PORT) as (_, address):
        result = forehand("eval", f"policy.address={address}", "videos=0")
    assert result.returncode == 2
    assert "camera 'static' height: needed 64, offered 128" in result.stderr
    assert "Nothing was moved" in result.stderr


def test_servers_stop_cleanly(started):
    for command in (("serve", "policy.name=still"), ("robot",)):
        for how in (signal.SIGINT, signal.SIGTERM):
            with started(*command, ANY_PORT) as (process, _):
                process.send_signal(how)
                said, complaints = process.communicate(timeout=300)
            assert process.returncode == 0, complaints
            assert said == "stopped\n"
            assert "Traceback" not in complaints


def test_a_sweep_judges_each_in_a_folder_of_its_own(forehand, tmp_path):
    swept = forehand("eval", "-m", "policy.name=still,random", "episodes=1", "tasks=[lift]", "videos=0", "output=sweep")
    assert swept.returncode == 0, swept.stderr
    judged = [json.loads((tmp_path / "sweep" / n / "results.json").read_text()) for n in ("0", "1")]
    assert [j["setup"]["policy"]["name"] for j in judged] == ["still", "random"]


def wait_for_episodes(folder, count):
    results = folder / "results.json"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if results.exists() and len(outcomes(folder)) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{results} never held {count} episodes")
