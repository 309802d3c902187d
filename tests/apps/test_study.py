"""``forehand study``: declared once, carried out in rounds of seeds, compared, and gone on with."""

import json
from pathlib import Path

import pytest

from forehand.errors import ConfigurationError
from forehand_apps.study_plan import read_study

from .test_foresight import FORESEES
from .test_train import POLICY

SLIDER = Path(__file__).parents[1] / "data/slider"
PLUGINS = {"FOREHAND_PLUGINS": "stock,seer,robots,tabletop,slider", "PYTHONPATH": str(SLIDER), "OMP_NUM_THREADS": "1"}
EVALUATION = ["robot=slider", "benchmark=slider", "episodes=2", "num_videos=0", "policy.device=cpu"]
STUDY = {
    "question": "Does dropout help?",
    "primary": {"arm": "without", "against": "with", "regime": "all", "judged": "near"},
    "seeds": [0, 1],
    "prepare": {"slides": ["record", "robot=slider", "benchmark=slider", "episodes=2", "workers=1"]},
    "train": ["policy=smallest", "recipe.batch_size=2", "recipe.steps=2", "threads=1", "device=cpu", *FORESEES],
    "regimes": {"all": ["dataset={slides}"]},
    "arms": {"with": [], "without": ["policy.backbone.dropout=0.0", "recipe.batch_size=4"]},
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
    assert len(planned.stdout.splitlines()) == 1 + 2 * 2 + 2 * 4
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

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("job.json")}
    assert len(before) == 12
    again = study(STUDY, "seeds_per_round=2")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before

    other = study(STUDY | {"seeds": [0, 1, 2]})
    assert other.returncode == 2
    assert "declared otherwise" in other.stderr
    assert "seeds: [0, 1] and [0, 1, 2]" in other.stderr


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
        ({"arm": {}}, "there is no option 'arm'. Did you mean 'arms'"),
    ],
)
def test_a_study_that_is_none_is_explained(change, message):
    with pytest.raises(ConfigurationError) as raised:
        read_study(STUDY | change, Path("s"))
    assert message in str(raised.value)


def test_the_folders_of_what_is_prepared_are_named_in_options():
    study = read_study(STUDY, Path("s"))
    assert study.trainings([1])["all/without/seed-1"] == [
        *STUDY["train"],
        "dataset=s/prepare/slides",
        "policy.backbone.dropout=0.0",
        "recipe.batch_size=4",
        "recipe.seed=1",
    ]
    own, other = (study.judgements([1])[f"near/all/with{of}/seed-1"] for of in ("", "/other_scene"))
    assert other == [*own, "foresight=other_scene", "foresight_bank=s/prepare/slides"]
    assert own[-1] == "policy.checkpoint=s/train/all/with/seed-1"
