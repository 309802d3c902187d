"""``forehand push``, ``pull``, ``reproduce`` and ``hf://``, with a hub on this machine."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, constants
from tests.fake_hub import TOKEN, running_hub

from forehand.errors import CheckpointError, ConfigurationError
from forehand.evaluation.results import read_record
from forehand.learning.checkpoint import fingerprint, latest_checkpoint, load_policy, read_provenance
from forehand.learning.hub import HubRepository
from forehand.sharing.card import model_card
from forehand.sharing.evaluations import evaluations_of
from forehand.sharing.repository import pull_checkpoint
from forehand_apps.commands.reproduce import _moved

PLUGIN = Path(__file__).parents[1] / "data/slider"
PLUGINS = {"FOREHAND_PLUGINS": "slider,stock,seer,robots,tabletop", "PYTHONPATH": str(PLUGIN)}
JUDGED = ["eval", "robot=slider", "benchmark=slider", "seed=3", "episodes=4", "num_videos=0", "policy.device=cpu"]
LEARNED = [
    "train",
    "policy=tiny",
    "dataset=data",
    "cache=cache",
    "recipe.steps=2",
    "recipe.batch_size=2",
    "threads=1",
    "device=cpu",
]


@pytest.fixture(scope="module")
def made(command_in, tmp_path_factory):
    """A folder with a dataset, a training run and its evaluation; nobody may change it."""
    folder = tmp_path_factory.mktemp("made")
    for words in (
        ["record", "robot=slider", "benchmark=slider", "episodes=3", "seed=5", "workers=1", "output=data"],
        [*LEARNED, "output=outputs/first"],
        [*JUDGED, "policy.checkpoint=outputs/first", "output=outputs/eval/d"],
    ):
        command_in(folder, *words, **PLUGINS)
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub, and its client set up for it as environment variables would, without a token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running_hub() as hub:
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "ENDPOINT": hub.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        yield hub


@pytest.fixture
def command(forehand):
    """Runs a command with the slider's plugin; its user may write to the hub unless ``token`` says otherwise."""

    def run(*arguments, status=0, token=TOKEN):
        done = forehand(*map(str, arguments), **PLUGINS, **({"HF_TOKEN": token} if token else {}))
        assert done.returncode == status, done.stdout + done.stderr
        assert TOKEN not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def complaint(command):
    """What a command that fails says, in one line."""
    return lambda *arguments, **options: " ".join(command(*arguments, status=2, **options).stderr.split())


@pytest.mark.slow
def test_a_pushed_checkpoint_comes_back_whole_with_its_card(hub, command, process, made, tmp_path):
    run, checkpoint = made / "outputs/first", latest_checkpoint(made / "outputs/first")
    pushed = command("push", run, "repo=me/blocks", "license=apache-2.0")
    assert "in the private repository" in pushed.stderr
    kept = hub.repositories["me/blocks"]
    assert kept.private
    assert kept.messages == ["initial commit", "A checkpoint of Forehand"]
    assert pushed.stdout == f"hf://me/blocks@{kept.branches['main']}\n"
    files = kept.files()
    checkpoint_files = {"model.safetensors", "config.yaml", "contract.json", "provenance.json"}
    evaluation_files = {"evaluations/d/results.json", "evaluations/d/table.md"}
    assert set(files) == {".gitattributes", "README.md", *checkpoint_files, *evaluation_files}
    assert not any(TOKEN.encode() in data for data in files.values())

    again = command("push", run, "repo=me/blocks", "license=apache-2.0")
    assert sum(asked.startswith("PUT /upload") for asked in hub.asked) == 1
    assert kept.files() == files
    assert again.stdout == f"hf://me/blocks@{kept.branches['main']}\n"

    client = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    client |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    pulled = process("pull", "repo=me/blocks", "output=pulled", **client)
    assert pulled.returncode == 0, pulled.stderr
    assert fingerprint(tmp_path / "pulled") == fingerprint(checkpoint)
    found = {str(path.relative_to(tmp_path / "pulled")) for path in (tmp_path / "pulled").rglob("*") if path.is_file()}
    assert found == set(files) - {".gitattributes"}

    repeated = command("push", "pulled", "repo=me/again", "dry_run=true")
    assert "evaluation: " in repeated.stderr
    assert "| slider |" in repeated.stdout


@pytest.mark.slow
def test_a_checkpoint_on_the_hub_is_used_in_place_and_without_a_network(hub, command, made, tmp_path, monkeypatch):
    commit = command("push", made / "outputs/first", "repo=me/blocks", "training_state=true").stdout.strip()
    shutil.copytree(made / "data", tmp_path / "data")
    command(*JUDGED, "policy.checkpoint=hf://me/blocks", "output=judged")
    judged, before = (
        json.loads((f / "results.json").read_text()) for f in (tmp_path / "judged", made / "outputs/eval/d")
    )
    assert judged["setup"]["policy_facts"]["checkpoint"] == commit
    assert [e["steps"] for e in judged["episodes"]] == [e["steps"] for e in before["episodes"]]
    assert not list((tmp_path / "hub").rglob("training.safetensors"))

    onward = [word for word in LEARNED if "steps" not in word]
    more = (*onward, "recipe.steps=3", f"init_from={commit}", "init_optimizer=true", "reinitialize=[]")
    command(*more, "output=more")
    init = read_provenance(latest_checkpoint(tmp_path / "more"))["init"]
    assert (init["checkpoint"], init["step"]) == (commit, 2)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    command(*JUDGED, "policy.checkpoint=hf://me/blocks", "output=judged")  # continues what is finished
    assert (
        fingerprint(latest_checkpoint(made / "outputs/first")) == load_policy("hf://me/blocks").describe()["fingerprint"]
    )
    assert len(hub.asked) == asked
    with pytest.raises(CheckpointError, match="the cache holds no whole copy"):
        load_policy("hf://me/other")


@pytest.mark.slow
def test_branches_public_repositories_and_what_is_no_more(hub, command, made, tmp_path):
    run, other = made / "outputs/first", tmp_path / "other"
    command("push", run, "repo=me/blocks", "private=false", "training_state=true", "message=first try")
    kept = hub.repositories["me/blocks"]
    assert not kept.private
    assert kept.messages[-1] == "first try"
    assert {"training.safetensors", "evaluations/d/table.md"} <= set(kept.files())
    shutil.copytree(latest_checkpoint(run), other)
    said = command("push", other, "repo=me/blocks").stderr
    assert "public repository" in said
    assert "no evaluation of this checkpoint is known" in " ".join(said.split())
    assert not {"training.safetensors", "evaluations/d/table.md"} & set(kept.files())
    command("push", run, "repo=me/blocks@better")
    assert "evaluations/d/table.md" in kept.files("better")
    assert "evaluations/d/table.md" not in kept.files("main")
    command("pull", "me/blocks@better", "output=pulled", token=None)  # public: for all
    assert (tmp_path / "pulled/evaluations/d/table.md").exists()


def test_a_card_that_its_owner_wrote_stays(hub, command, made):
    command("push", made / "outputs/first", "repo=me/blocks")
    kept = hub.repositories["me/blocks"]
    kept.commit("main", {**kept.files(), "README.md": b"# mine"}, "my own words")
    said = command("push", made / "outputs/first", "repo=me/blocks", "license=mit").stderr
    assert "was written by its owner" in said
    assert kept.files()["README.md"] == b"# mine"


def test_the_card_states_data_recipe_contract_evaluation_and_limits(command, made):
    shown = command("push", made / "outputs/first", "repo=me/blocks", "license=apache-2.0", "dry_run=true")
    assert "model.safetensors: " in shown.stderr
    card = ModelCard(shown.stdout)
    assert card.data.to_dict().items() >= {"license": "apache-2.0", "library_name": "forehand"}.items()
    (result,) = card.data.eval_results
    record = json.loads((made / "outputs/eval/d/results.json").read_text())
    assert (result.dataset_type, result.metric_type, result.dataset_args) == (
        "slider",
        "success_rate",
        {"n": 4, "seed": 3},
    )
    assert result.metric_value == round(record["success_rate"], 4)
    low, high = record["success_interval"]
    provenance = read_provenance(latest_checkpoint(made / "outputs/first"))
    for words in (
        f"| slider |  | success rate | 4 | {record['success_rate']:.2f} | [{low:.2f}, {high:.2f}] | 3 |",
        (made / "outputs/eval/d/table.md").read_text(),
        f"| `data` | 3 | {provenance['data'][0]['frames']} | `{provenance['fingerprint']}` |",
        "| `static` | 32 × 32 | static |",
        "| 0–1 | `position` | m |  |  | delta | -0.1 to 0.1 |",
        "| batch_size | `2` |",
        "forehand train policy=tiny dataset=data cache=cache recipe.steps=2",
        provenance["commit"].removesuffix("-dirty"),
        "One training, of one seed",
        'load_policy("hf://me/blocks")',
    ):
        assert words in card.content
    assert "No licence is stated" not in card.content


def test_an_evaluation_that_may_have_chosen_the_checkpoint_is_named(made, tmp_path):
    record = json.loads((made / "outputs/eval/d/results.json").read_text())
    record["config"]["output"] = "outputs/first/evaluations/step_0000002/evaluation"
    (tmp_path / "results.json").write_text(json.dumps(record))
    checkpoint = latest_checkpoint(made / "outputs/first")
    chosen, plain = (model_card(checkpoint, "me/blocks", [read_record(f)]) for f in (tmp_path, made / "outputs/eval/d"))
    assert "may have chosen it among several" in chosen
    assert "may have chosen it among several" not in plain


def test_what_is_not_known_is_said(command, made, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(latest_checkpoint(made / "outputs/first"), old)
    known = json.loads((old / "provenance.json").read_text())
    left = {key: known[key] for key in ("format", "fingerprint")}
    (old / "provenance.json").write_text(json.dumps(left))
    card = command("push", "old", "repo=me/blocks", "dry_run=true").stdout
    assert "model-index" not in yaml.safe_load(card.split("---")[1])
    for words in (
        "The command is not known",
        "the number of episodes is not known",
        "Commit: not known",
        "No evaluation of these weights is known",
        "How often it succeeds is not known",
        "No licence is stated",
        "The code that trained it is not that of a commit",
    ):
        assert words in card


def test_a_card_has_the_contract_of_each_embodiment(made, tmp_path):
    several = tmp_path / "several"
    shutil.copytree(latest_checkpoint(made / "outputs/first"), several)
    about = json.loads((several / "contract.json").read_text())
    embodiments = {name: {key: about[key] for key in ("contract", "statistics")} for name in ("arm", "hand")}
    (several / "contract.json").write_text(json.dumps(about | {"embodiments": embodiments}))
    card = model_card(several, "me/several")
    for name in embodiments:
        section = card.split(f"## Embodiment `{name}`")[1].split("\n## ")[0]
        assert "### Action\n\n| elements |" in section
        assert f"Actions of `{name}` in the data lie within [" in card
    assert "## Contract" not in card


def test_evaluations_of_other_policies_and_shards_are_refused(made, tmp_path):
    checkpoint, judged = latest_checkpoint(made / "outputs/first"), made / "outputs/eval/d"
    record = json.loads((judged / "results.json").read_text())
    shard = record | {"shard": {"index": 1, "count": 2, "trials": [0, 2]}}
    other = record | {"setup": record["setup"] | {"policy_facts": {"fingerprint": "ab" * 16}}}
    for name, content in (("shard", shard), ("other", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="is of another policy: its fingerprint is abab"):
        evaluations_of(checkpoint, [tmp_path / "other"])
    with pytest.raises(ConfigurationError, match="is a shard of an evaluation"):
        evaluations_of(checkpoint, [tmp_path / "shard"])
    assert [found.folder for found in evaluations_of(checkpoint, [judged])] == [judged]


def test_what_cannot_be_shared_is_explained(hub, complaint, command, made, monkeypatch, tmp_path):
    run = made / "outputs/first"
    assert "hf auth login" in complaint("push", run, "repo=me/blocks", token=None)
    command("push", run, "repo=me/blocks")
    assert "it is private and this account may not see it" in complaint("pull", "me/blocks", "output=new", token=None)
    (tmp_path / "there").mkdir()
    hub.repositories["me/empty"] = type(hub.repositories["me/blocks"])(False)
    hub.repositories["me/empty"].commit("main", {"notes.txt": b"nothing"}, "notes")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for repository, output, words in (
        ("me/nothing", "new", "the hub has no such repository"),
        ("me/blocks@v9", "new", "no such branch, tag or commit"),
        ("me/empty", "new", r"is not a checkpoint: it lacks model\.safetensors"),
        ("me/blocks", "there", "there exists; checkpoints are never overwritten"),
    ):
        with pytest.raises(CheckpointError, match=words):
            pull_checkpoint(HubRepository.parse(repository), tmp_path / output)
    for text in ("blocks", "hf://blocks", "a/b/c", "me/blocks@", "../blocks", ""):
        with pytest.raises(ConfigurationError, match=r"is no repository on the hub\. Write owner/name"):
            HubRepository.parse(text)
    assert not (tmp_path / "new").exists()


def test_the_command_of_a_checkpoint_is_printed_with_what_changed_since(hub, command, made, tmp_path):
    expected = " ".join([*("forehand", *LEARNED), "output=outputs/first\n"])
    command("push", made / "outputs/first", "repo=me/blocks")
    for checkpoint in (made / "outputs/first", "hf://me/blocks"):
        same = command("reproduce", checkpoint, f"dataset={made / 'data'}")
        assert same.stdout == expected
        assert "Nothing that was recorded has changed" in " ".join(same.stderr.split())
    shutil.copytree(made / "outputs/first", tmp_path / "first")
    assert _moved(["forehand", "train", "dataset=a"], "b c") == ['dataset="b c"']
    assert _moved(["forehand", "train", "dataset={path: a, split: train}"], "b") == ["dataset.path=b"]
    file = latest_checkpoint(tmp_path / "first") / "provenance.json"
    provenance = json.loads(file.read_text())
    provenance["versions"]["torch"], provenance["commit"] = "0.1", "c0ffee"
    provenance["init"] = {"checkpoint": str(tmp_path / "gone"), "fingerprint": "ab"}
    file.write_text(json.dumps(provenance))
    changed = command("reproduce", "first")
    assert changed.stdout == expected
    said = " ".join(changed.stderr.split())
    for words in ("commit c0ffee", "versions.torch 0.1", "dataset fingerprint", "cannot be read", "initial weights ab"):
        assert words in said


@pytest.mark.slow
def test_a_training_is_run_again_and_compared(command, complaint, made, tmp_path):
    run, data = made / "outputs/first", f"dataset={made / 'data'}"
    assert "needs output" in complaint("reproduce", run, "run=true")
    done = command("reproduce", run, data, "run=true", "output=again")
    assert "are the same, to the bit" in done.stdout
    again = latest_checkpoint(tmp_path / "again")
    assert fingerprint(again) == fingerprint(latest_checkpoint(run))
    provenance = json.loads((again / "provenance.json").read_text())
    assert provenance["command"][0] == "forehand train"
    (again / "provenance.json").write_text(json.dumps(provenance | {"command": ["script.py", "fast"]}))
    assert command("reproduce", "again").stdout == "python script.py fast\n"
    assert "Only forehand train is run again" in complaint("reproduce", "again", "run=true", "output=third")


@pytest.mark.slow
def test_a_run_of_a_sweep_is_repeated_alone(command, made, tmp_path):
    (tmp_path / "conf").mkdir()
    seeds = [word for word in LEARNED[1:] if "dataset" not in word and "steps" not in word]
    flags = ("--config-dir", "conf", "--multirun")
    sweep = ("recipe.seed=1,2", "recipe.steps=0", f"dataset={made / 'data'}", "output=seeds")
    command("train", *flags, *seeds, *sweep)
    words = read_provenance(latest_checkpoint(tmp_path / "seeds/recipe.seed-2"))["command"]
    assert words[:3] == ["forehand train", "--config-dir", str(tmp_path / "conf")]
    assert "recipe.seed=2" in words
    assert words[-1] == f"output={tmp_path / 'seeds/recipe.seed-2'}"
    assert not any("multirun" in word or "1,2" in word for word in words)
