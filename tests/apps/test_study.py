"""``forehand study``: declared once, carried out in rounds of seeds, compared, and gone on with."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from forehand.errors import ConfigurationError
from forehand.evaluation.comparison.compare import verdict
from forehand_apps.commands import demo_video
from forehand_apps.studies.plan import read_study
from forehand_apps.studies.record import begin_record
from forehand_apps.studies.report import primary_contrast, write_report

from .test_foresight import FORESEES
from .test_train import POLICY

SLIDER = Path(__file__).parents[1] / "data/slider"
PLUGINS = {"FOREHAND_PLUGINS": "stock,seer,robots,tabletop,slider", "PYTHONPATH": str(SLIDER), "OMP_NUM_THREADS": "1"}
EVALUATION = ["robot=slider", "benchmark=slider", "episodes=2", "num_videos=0", "policy.device=cpu"]
TRAINING = ["policy=smallest", "recipe.batch_size=2", "recipe.steps=2", "threads=1", "device=cpu", *FORESEES]
STUDY = {
    "question": "Does dropout help?",
    "primary": {"arm": "without", "against": "with", "regime": "all", "judged": "near"},
    "seeds": [0, 1],
    "prepare": {"slides": ["record", "robot=slider", "benchmark=slider", "episodes=2", "workers=1"]},
    "stages": {
        "earlier": ["train", *TRAINING, "dataset={path: {slides}, episodes: '{few}'}"],
        "looked_at": ["eval", "dataset={slides}", "policy.checkpoint={earlier}", "policy.device=cpu"],
    },
    "train": TRAINING,
    "regimes": {"all": {"few": "0:1"}},
    "arms": {
        "with": ["dataset={slides}"],
        "without": ["dataset={slides}", "policy.backbone.dropout=0.0", "recipe.batch_size=4", "init_from={earlier}"],
    },
    "judge": {"near": [*EVALUATION, "seed=5"]},
    "interventions": {"arms": ["with"], "foresight": {"zero": [], "other_scene": ["foresight_bank={slides}"]}},
}


@pytest.fixture
def study(forehand, tmp_path):
    def run(declared, *options):
        for name, content in (("study/mine", declared), ("policy/smallest", POLICY)):
            path = tmp_path / f"conf/{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        searched = f"hydra.searchpath=[file://{tmp_path}/conf]"
        return forehand("study", searched, "study=mine", "output=s", *options, **PLUGINS)

    return run


@pytest.mark.slow
def test_a_study_is_carried_out_in_rounds_and_never_twice(study, tmp_path):
    planned = study(STUDY, "plan=true")
    assert planned.returncode == 0, planned.stderr
    assert len(planned.stdout.splitlines()) == 1 + 2 * 2 + 2 * 2 + 2 * 4
    assert not (tmp_path / "s").exists()

    first = study(STUDY, "hours=1e-9")
    assert first.returncode == 0, first.stderr
    assert "0 of 2 training seeds are done" in first.stderr

    done = study(STUDY, "seeds_per_round=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "s/report.md: 2 of 2 training seeds"
    report = (tmp_path / "s/report.md").read_text()
    assert report.startswith("# Does dropout help?\n\n2 of 2 training seeds")
    assert "**without − with**, regime all, judged in near: success rate **" in report
    assert "Not matched in all: batch size (2, 4)." in report
    assert "interim" not in report
    comparison = json.loads((tmp_path / "s/comparisons/near-all.json").read_text())
    assert [arm["name"] for arm in comparison["arms"]] == ["with", "without"]
    assert comparison["seeds"] == [0, 1]
    assert (tmp_path / "s/comparisons/near-all.html").exists()
    rows = [line for line in report.splitlines() if line.startswith(("| zero |", "| other_scene |"))]
    assert len(rows) == 2
    assert all(" | The forecast is " in row for row in rows)
    assert (tmp_path / "s/comparisons/near-all-with-foresight.html").exists()

    numbers = json.loads((tmp_path / "s/numbers.json").read_text())
    assert numbers["primary"]["by_seed"] == comparison["contrasts"][0]["by_seed"]
    (arm,) = (one for one in comparison["arms"] if one["name"] == "without")
    assert [one["mean"] for one in numbers["judged"] if one["arm"] == "without"] == arm["by_seed"]
    assert all(len(one["by_scene"]) == one["scenes"] for one in numbers["judged"])
    assert all(sum(one["by_scene"]) / one["scenes"] == one["mean"] for one in numbers["judged"])
    assert {one.get("foresight") for one in numbers["judged"] if one["arm"] == "with"} == {None, "zero", "other_scene"}

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("job.json")}
    assert len(before) == 2 + 4 + 8
    assert (tmp_path / "s/stages/looked_at/all/seed-1/open_loop.json").exists()
    again = study(STUDY, "seeds_per_round=2")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before

    other = study(STUDY | {"seeds": [0, 1, 2]})
    assert other.returncode == 2
    assert "declared otherwise" in other.stderr
    assert "seeds: [0, 1] and [0, 1, 2]" in other.stderr


def test_arms_may_be_added_to_a_study_and_nothing_is_changed(tmp_path):
    left_out = STUDY | {"arms": STUDY["arms"] | {"more": None}}
    begun = begin_record(tmp_path, left_out)
    assert begin_record(tmp_path, STUDY) == begun, "what is left out was never there"
    more = STUDY | {"arms": STUDY["arms"] | {"more": ["dataset={slides}"]}}
    extended = begin_record(tmp_path, more)
    assert extended["study"] == more
    assert [one["what"] for one in extended["added"]] == [["arms.more"]]
    assert begin_record(tmp_path, more) == extended
    for changed, line in (
        (STUDY, "arms.more: ["),
        (more | {"train": []}, "train: "),
        (more | {"primary": more["primary"] | {"arm": "more"}}, "primary.arm: "),
        (more | {"seeds": [0, 1, 2]}, "seeds: [0, 1] and [0, 1, 2]"),
    ):
        with pytest.raises(ConfigurationError) as raised:
            begin_record(tmp_path, changed)
        assert line in str(raised.value)


def test_the_primary_contrast_is_not_corrected_for_the_other_arms():
    of = {"by_seed": [0.3] * 8, "interval": [0.1, 0.5], "seeds_needed": 12, "p": 0.03, "p_holm": 0.06}
    contrasts = [{**of, "arm": name, "verdict": "Undecided"} for name in ("with", "more")]
    primary = SimpleNamespace(primary=SimpleNamespace(arm="with", judged="near", regime="all"))
    assert primary_contrast(primary, {("near", "all"): {"contrasts": contrasts}})["verdict"] == (
        "The difference is larger than chance explains."
    )
    assert verdict(of, of["p_holm"]) == "Undecided with 8 seeds; about 12 would find a difference of this size."


CEILING = {
    "question": "Is there anything to gain?",
    "primary": {"arm": "ahead_2", "against": "present", "regime": "straight", "judged": "held_out"},
    "seeds": [0],
    "prepare": {"held_straight": ["record", "robot=slider"], "unused": None},
    "train": [
        *("policy=smallest", "policy.history=3", "+policy.lookahead=2", "+policy.beyond_end=last_frame"),
        *("recipe.batch_size=2", "recipe.steps=2", "threads=1", "device=cpu"),
    ],
    "regimes": {"straight": ["dataset={held_straight}"], "other": None},
    "arms": {"present": [], "ahead_2": ["+policy.reads.action.images=+2"]},
    "judge": {"held_out": ["dataset={held_{regime}}", "foresight=oracle", "policy.device=cpu", "open_loop.shown=0"]},
    "curve": {"axis": "frames ahead", "arms": {"ahead_2": 2}},
}


@pytest.mark.slow
def test_what_reading_ahead_gains_is_a_curve_and_the_reports_first_line(forehand, slider_dataset, tmp_path):
    recorded = {"prepare": {}, "regimes": {"straight": [f"dataset={slider_dataset}"]}}
    judge = {"judge": {"held_out": [f"dataset={slider_dataset}", *CEILING["judge"]["held_out"][1:]]}}
    (tmp_path / "conf/policy").mkdir(parents=True)
    (tmp_path / "conf/policy/smallest.yaml").write_text(json.dumps(POLICY))
    planned = read_study(CEILING | recorded | judge, tmp_path / "s")
    searched = f"hydra.searchpath=[file://{tmp_path}/conf]"
    for place, command, jobs in (("train", "train", planned.trainings([0])), ("judge", "eval", planned.judgements([0]))):
        for name, options in jobs.items():
            done = forehand(command, searched, *options, f"output=s/{place}/{name}", **PLUGINS)
            assert done.returncode == 0, done.stderr
    write_report(planned, [0], {"machine": "here", "commit": None, "declared": "", "rounds": {}, "prepared": {}})
    lines = (tmp_path / "s/report.md").read_text().splitlines()
    assert lines[:3] == ["# Is there anything to gain?", "", "**The ceiling**, judged in held_out:"]
    numbers = json.loads((tmp_path / "s/numbers.json").read_text())["judged"]
    curve = json.loads((tmp_path / "s/comparisons/held_out-curve.json").read_text())["straight"]["R² of position"]
    judged = [
        json.loads((tmp_path / f"s/judge/held_out/straight/{arm}/seed-0/open_loop.json").read_text())
        for arm in CEILING["arms"]
    ]
    for arm, of, number in zip(curve["arms"], judged, numbers, strict=True):
        assert number["r2"] == pytest.approx({one["name"]: one["r2"] for one in of["fields"]}, rel=1e-3)
        assert arm["by_seed"][0] == pytest.approx(of["fields"][0]["r2"], abs=1e-6)
        assert of["setup"]["foresight"] == "oracle"
        assert of["notes"][0].startswith("What is judged here is no policy")
        assert {one["kind"] for one in of["episodes"]} == {"left", "right"}
    (gain,) = (one["difference"] for one in curve["contrasts"])
    assert f"**{gain:+.3g}**" in lines[4]
    assert lines[6] == judged[0]["notes"][0]
    assert lines[6] in (tmp_path / "s/comparisons/held_out-straight.html").read_text()
    (table,) = (i for i, line in enumerate(lines) if line.startswith("| regime | frames ahead | R² of position |"))
    assert [row.split(" | ")[1] for row in lines[table + 2 : table + 4]] == ["present", "2"]
    assert any(line.startswith("| left | ") for line in lines)
    assert not any(line.startswith("- Not matched") for line in lines)
    assert (tmp_path / "s/comparisons/held_out-curve.svg").read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"primary": STUDY["primary"] | {"arm": "wihtout"}},
            "study.primary.arm: there is no 'wihtout'. Did you mean 'without'",
        ),
        ({"primary": STUDY["primary"] | {"arm": "with"}}, "compares an arm with itself"),
        ({"arms": {"with": []}}, "at least two arms"),
        ({"seeds": [0, 0]}, "names a seed twice"),
        ({"seeds": []}, "must be a list of training seeds"),
        ({"judge": {"a b": []}}, "cannot be a folder's name"),
        ({"train": "recipe.steps=2"}, "study.train must be a list of options"),
        ({"question": None}, "study lacks question"),
        ({"interventions": {"arms": ["whit"], "foresight": {}}}, "interventions.arms: there is no 'whit'"),
        ({"interventions": {"arms": ["with"], "foresight": {"zreo": []}}}, "there is no 'zreo'. Did you mean 'zero'"),
        ({"interventions": {"arms": ["with"]}}, "study.interventions lacks foresight"),
        ({"stages": {"slides": ["train"]}}, "study.stages: prepare has slides, too"),
        ({"stages": {"earlier": []}}, "study.stages.earlier must be a command and its options"),
        ({"arm": {}}, "there is no option 'arm'. Did you mean 'arms'"),
        ({"curve": {"axis": "n", "arms": {"whit": 1}}}, "study.curve.arms: there is no 'whit'"),
        (
            {"curve": {"axis": "n", "arms": {"with": 1}}},
            "give a number, of an arm that the primary contrast is not against",
        ),
    ],
)
def test_a_study_that_is_none_is_explained(change, message):
    with pytest.raises(ConfigurationError) as raised:
        read_study(STUDY | change, Path("s"))
    assert message in str(raised.value)


def test_the_folders_of_what_is_made_before_are_named_in_options():
    study = read_study(STUDY, Path("s"))
    earlier = study.staged("earlier", [1])
    assert earlier == {"all/seed-1": [*TRAINING, "dataset={path: s/prepare/slides, episodes: '0:1'}", "recipe.seed=1"]}
    assert study.staged("looked_at", [1])["all/seed-1"][1] == "policy.checkpoint=s/stages/earlier/all/seed-1"
    assert study.trainings([1])["all/without/seed-1"] == [
        *STUDY["train"],
        "dataset=s/prepare/slides",
        "policy.backbone.dropout=0.0",
        "recipe.batch_size=4",
        "init_from=s/stages/earlier/all/seed-1",
        "recipe.seed=1",
    ]
    ceiling = read_study(CEILING, Path("s"))
    assert ceiling.judgements([0])["held_out/straight/present/seed-0"][0] == "dataset=s/prepare/held_straight"
    assert [list(ceiling.regimes), list(ceiling.prepare)] == [["straight"], ["held_straight"]]
    own, other = (study.judgements([1])[f"near/all/with{of}/seed-1"] for of in ("", "/other_scene"))
    assert other == [*own, "foresight=other_scene", "foresight_bank=s/prepare/slides"]
    assert own[-1] == "policy.checkpoint=s/train/all/with/seed-1"


@pytest.mark.slow
def test_the_demo_of_video_is_a_study_of_three_arms(forehand):
    planned = forehand("demo", "video", "plan=true", "output=d")
    assert planned.returncode == 0, planned.stderr
    commands = [line.split()[1] for line in planned.stdout.splitlines()]
    assert commands == ["record"] * 3 + ["train"] * 3 + ["eval"] * 6
    trained = [line.rpartition("output=d/train/few/")[2] for line in planned.stdout.splitlines()[3:6]]
    assert trained == ["labels_only/seed-0", "video_unused_forecast/seed-0", "read/seed-0"]


def test_a_demo_of_video_that_its_hours_end_first_has_nothing_to_print(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo_video, "study", lambda config: None)
    primary = {"judged": "D", "regime": "few"}
    config = OmegaConf.create({"study": {"primary": primary}, "plan": False, "output": str(tmp_path)})
    demo_video.demo_video(config)
    assert capsys.readouterr().out == ""
