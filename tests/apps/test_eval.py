"""``forehand eval`` with simulators in processes of their own, interrupted, and again from its manifest."""

import json
import signal
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "data/slider"
PLUGINS = {"FOREHAND_PLUGINS": "slider,stock,seer,robots,tabletop", "PYTHONPATH": str(PLUGIN)}
SLIDER = ("eval", "robot=slider", "benchmark=slider", "seed=3", "num_videos=0")


@pytest.fixture(scope="module")
def checkpoint(command_in, tmp_path_factory):
    """A learned policy that succeeds now and then."""
    folder = tmp_path_factory.mktemp("learned")
    recipe = "recipe.steps=300 recipe.batch_size=32 recipe.learning_rate=0.005 threads=1 device=cpu"
    for line in (
        "record robot=slider benchmark=slider episodes=40 seed=5 workers=1 output=data",
        f"train policy=tiny dataset=data cache=cache output=learned {recipe}",
    ):
        command_in(folder, *line.split(), **PLUGINS)
    return folder / "learned"


@pytest.fixture
def judge(forehand):
    """Runs ``forehand eval`` on the slider."""

    def run(*arguments, status=0):
        done = forehand(*arguments, **PLUGINS)
        assert done.returncode == status, done.stderr
        return done

    return run


def outcomes(folder):
    """What came of every episode, but for how long it took."""
    episodes = json.loads((folder / "results.json").read_text())["episodes"]
    return [{key: value for key, value in episode.items() if key != "seconds"} for episode in episodes]


@pytest.mark.slow
def test_what_comes_of_every_episode_does_not_depend_on_the_number_of_workers(judge, checkpoint, tmp_path):
    learned = (*SLIDER, f"policy.checkpoint={checkpoint}", "episodes=12", "policy.device=cpu")
    for workers in (1, 3):
        judge(*learned, f"workers={workers}", f"output={workers}")
    assert outcomes(tmp_path / "1") == outcomes(tmp_path / "3")
    assert {episode["success"] for episode in outcomes(tmp_path / "1")} == {
        True,
        False,
    }  # there was something to differ in
    judge(*learned, "workers=3", "policy.max_batch=3", "output=batched")
    assert len(outcomes(tmp_path / "batched")) == 12


@pytest.mark.slow
def test_recorded_episodes_of_the_training_are_named_beside_the_success_rate(judge, checkpoint, tmp_path):
    learned = (f"policy.checkpoint={checkpoint}", "policy.device=cpu")
    judge(*SLIDER, *learned, "episodes=4", "output=success")
    recorded = f"dataset={{path: {checkpoint.parent / 'data'}, episodes: [1, 3]}}"
    judge("eval", recorded, *learned, "open_loop.success=success", "open_loop.shown=1", "output=open")
    found = json.loads((tmp_path / "open/open_loop.json").read_text())
    assert "trained on 2 of these 2 episodes" in found["notes"][0]
    assert found["fields"][0]["r2"] > 0.5
    assert found["success"]["n"] == 4
    assert "of 4 episodes of slider succeed" in (tmp_path / "open/open_loop.html").read_text()
    judge(*SLIDER, "policy.name=random", "episodes=2", "output=other")
    other = json.loads((tmp_path / "other/results.json").read_text())
    other["setup"]["policy_facts"]["fingerprint"] = "0"
    (tmp_path / "other/results.json").write_text(json.dumps(other))
    refused = judge("eval", recorded, *learned, "open_loop.success=other", "output=refused", status=2)
    assert "evaluates another policy" in refused.stderr


@pytest.mark.slow
def test_a_latency_is_kept_in_the_manifest_and_is_the_same_for_any_number_of_workers(judge, checkpoint, tmp_path):
    learned = (*SLIDER, f"policy.checkpoint={checkpoint}", "episodes=6", "policy.device=cpu", "chunking=asynchronous")
    judge(*learned, "output=0")
    for workers in (1, 3):
        judge(*learned, "policy.latency=0.1", f"workers={workers}", f"output={workers}")
    assert outcomes(tmp_path / "1") == outcomes(tmp_path / "3") != outcomes(tmp_path / "0")
    setups = [json.loads((tmp_path / name / "results.json").read_text())["setup"] for name in ("0", "1")]
    assert ["latency" in setups[0]["policy"], setups[1]["policy"]["latency"]] == [False, 0.1]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["policy.expert=true", "policy.name=random"])
def test_references_run_in_workers_too(judge, policy, tmp_path):
    for workers in (1, 2):
        judge(*SLIDER, policy, "episodes=5", f"workers={workers}", f"output={workers}")
    assert outcomes(tmp_path / "1") == outcomes(tmp_path / "2")
    if "expert" in policy:
        assert [e["success"] for e in outcomes(tmp_path / "1")] == [e["seed"] % 4 != 0 for e in outcomes(tmp_path / "1")]


@pytest.mark.slow
def test_the_expert_of_a_converted_robot_is_as_good(judge, tmp_path):
    for name, more in (("own", ()), ("converted", ("+robot.convert=[state.position:mm,action.position:cm]",))):
        judge(*SLIDER, "policy.expert=true", "episodes=5", "workers=1", f"output={name}", *more)
    assert outcomes(tmp_path / "converted") == outcomes(tmp_path / "own")


@pytest.mark.slow
def test_interrupted_with_workers_it_goes_on_without_them(judge, begun, tmp_path):
    whole = (*SLIDER, "policy.name=random", "episodes=20")
    judge(*whole, "output=whole")
    interrupted = (*whole, "output=interrupted", "+robot.options.delay=0.01")
    # To everyone in its group, as the terminal does it:
    process = begun(*interrupted, "workers=2", signalled=(signal.SIGINT, "*/results.json", 5), **PLUGINS)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "of 20 finished episodes are kept in" in said
    assert 3 <= len(outcomes(tmp_path / "interrupted")) < 20
    judge(*interrupted)
    assert outcomes(tmp_path / "interrupted") == outcomes(tmp_path / "whole")


@pytest.mark.slow
def test_a_simulator_that_breaks_is_reported_and_the_rest_is_kept(judge, tmp_path):
    broken = judge(
        *SLIDER, "policy.name=zero_action", "episodes=4", "workers=2", "+robot.options.broken=true", "output=o", status=2
    )
    assert "was interrupted: OSError: the cable came loose" in broken.stderr
    assert "0 of 4 finished episodes are kept" in broken.stderr
    unknown = judge(*SLIDER, "policy.name=zero_action", "workers=2", "+robot.options.colour=red", status=2)
    assert "options it cannot take" in unknown.stderr


@pytest.mark.slow
def test_any_trial_can_be_driven_again_and_is_a_video(judge, tmp_path):
    judge(*SLIDER, "policy.expert=true", "episodes=6", "output=first", "chunking.steps=1")
    again = judge("eval", "replay=first", "trials=[4,1]", "output=again")
    assert "2 of 2 trials had the same outcome" in again.stdout
    assert [e["index"] for e in outcomes(tmp_path / "again")] == [1, 4]
    first = {e["index"]: e for e in outcomes(tmp_path / "first")}
    for episode in outcomes(tmp_path / "again"):
        assert (tmp_path / "again" / episode["video"]).stat().st_size > 1000
        assert episode | {"video": None} == first[episode["index"]]
    other = judge("eval", "replay=first", "trials=[4]", "policy.name=zero_action", "num_videos=0", "output=other")
    assert "0 of 1 trials had the same outcome" in other.stdout
    assert outcomes(tmp_path / "other")[0]["video"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("replay=nowhere",), "There is no evaluation in nowhere"),
        (
            ("robot=slider", "benchmark=slider", "policy.name=zero_action", "trials=[99]"),
            "numbered from 0; [99] are not among",
        ),
        (("policy.name=zero_action", "robots=[tcp://127.0.0.1:1]", "workers=2"), "Choose one of them"),
        (("policy.name=zero_action", "workers=0"), "workers must be a whole number, at least 1, not 0"),
    ],
)
def test_what_cannot_be_judged_is_explained(judge, arguments, words):
    complaint = judge("eval", *arguments, status=2).stderr
    assert words in " ".join(complaint.split())
    assert "Traceback" not in complaint


@pytest.mark.slow
def test_a_foreign_environment_is_judged_by_its_own_success_or_return(judge, tmp_path):
    pendulum = ("eval", "robot=gymnasium", "robot.options.id=Pendulum-v1", "policy.name=random", "episodes=2")
    refused = judge(*pendulum, status=2).stderr
    assert "GymnasiumRobot has none of them" in " ".join(refused.split())
    rewarded = judge(*pendulum, "benchmark=gymnasium", "benchmark.options.max_steps=3", "output=returns")
    assert rewarded.stdout.splitlines()[-2].startswith("return -")
    found = json.loads((tmp_path / "returns/results.json").read_text())
    returns = [episode["episode_return"] for episode in found["episodes"]]
    assert [row["mean"] for row in found["returns"]] == [pytest.approx(sum(returns) / 2)] * 2
    assert found["returns"][-1]["interval"] == [pytest.approx(min(returns)), pytest.approx(max(returns))]
    assert {episode["success"] for episode in found["episodes"]} == {None}
    own = ("benchmark=gymnasium", "benchmark.options.max_steps=3", "robot.options.success_return=-1000")
    judged = judge(*pendulum, *own, "output=judged")
    assert judged.stdout.splitlines()[-2].startswith("success 1.00")
    assert {(e["task"], e["steps"], e["video"]) for e in outcomes(tmp_path / "judged")} == {("Pendulum-v1", 3, None)}
    for done in (refused, rewarded.stderr, judged.stderr):
        assert "Traceback" not in done
