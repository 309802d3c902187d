"""The command that labels: by an ensemble, by several processes, with what it says and writes."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tests.by_axis import by_axis
from tests.without_columns import without

from forehand.data.lerobot.source import LeRobotSource

SMALL = ("image_size=32", "dim=16", "backbone.layers=1", "encoders.cameras.cameras=[static]")


@pytest.mark.slow
def test_an_ensemble_labels_a_recording_and_is_judged_by_another(forehand, slider_dataset, tmp_path):
    without(slider_dataset, tmp_path / "video", "action", "observation.state")
    done = forehand(
        "train",
        f"dataset={slider_dataset}",
        "policy=inverse_dynamics",
        *(f"policy.{option}" for option in SMALL),
        *("recipe.steps=2", "recipe.batch_size=4", "validation.every=2"),
        *("recipe.save_every=1", "recipe.keep_checkpoints=2"),
        "output=run",
    )
    assert done.returncode == 0, done.stderr
    assert "not recovered, R² below 0.1: position (R² -" in done.stderr
    members = "checkpoint=[run,run/checkpoints/step_0000001]"
    done = forehand("data", "label", "source=video", members, "output=labelled", "workers=2")
    assert done.returncode == 0, done.stderr
    assert "Note: Not recovered, R² below 0.1 in validation: position." in done.stderr
    assert "Note: The accuracy of a model was not measured" in done.stderr
    found = LeRobotSource(tmp_path / "labelled").episodes.actions
    assert np.abs(found).max() > 0
    card = (tmp_path / "labelled/README.md").read_text()
    assert "forehand data label source=video checkpoint='[run,step_0000001]' output=labelled" in card
    assert "| `run/step_0000001` |" in card
    assert "## State\n\nNone." in card
    checked = forehand("data", "check", "labelled", "videos=none", "json=check.json")
    assert checked.returncode == 0, checked.stdout
    assert "actions: 0 recorded, 0 labelled" in checked.stdout

    judged = forehand("eval", f"dataset={slider_dataset}", "policy.checkpoint=run", "output=judged")
    assert judged.returncode == 0, judged.stderr
    found = json.loads((tmp_path / "judged/open_loop.json").read_text())
    assert [one["name"] for one in found["fields"]] == ["position"]
    assert found["fields"][0]["r2"] < 0.1

    replaced = forehand("data", "label", f"source={slider_dataset}", members, "output=replaced", "replace=true")
    assert replaced.returncode == 0, replaced.stderr
    together = forehand("eval", f"dataset={slider_dataset}", f"policy.{members}", "output=together")
    assert together.returncode == 0, together.stderr
    ensemble = json.loads((tmp_path / "together/open_loop.json").read_text())
    assert ensemble["fields"][0]["error"] != found["fields"][0]["error"]
    driven = forehand("eval", f"policy.{members}", "output=driven")
    assert driven.returncode == 2
    assert "policy.checkpoint names several" in driven.stderr


@pytest.mark.slow
def test_a_field_that_is_left_out_teaches_nothing(forehand, slider_dataset, tmp_path):
    by_axis(slider_dataset, tmp_path / "recorded")
    small = (*(f"policy.{option}" for option in SMALL), "recipe.steps=2", "recipe.batch_size=4")
    done = forehand("train", "dataset=recorded", "policy=inverse_dynamics", *small, "output=inverse")
    assert done.returncode == 0, done.stderr
    done = forehand("data", "label", "source=recorded", "checkpoint=inverse", "output=labelled", "replace=true")
    assert done.returncode == 0, done.stderr

    def weights(output: str, *options: str, fields: str = "[x]") -> dict[str, torch.Tensor]:
        sources = f"dataset=[recorded,{{path: labelled, labelled_fields: {fields}}}]"
        done = forehand("train", sources, "policy=behaviour_cloning", *small, f"output={output}", *options)
        assert done.returncode == 0, done.stderr
        assert ("1 of their 2 numbers learned from" in done.stderr) == (fields == "[x]")
        return load_file(tmp_path / output / "checkpoints/step_0000002/model.safetensors")

    def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(a[name], b[name]) for name in a)

    before, both = weights("before"), weights("both", fields="[x,y]")
    for file in (tmp_path / "labelled/data").rglob("*.parquet"):
        table = pq.read_table(file)
        actions = np.stack(table["action"].to_numpy())
        actions[:, 1] += 0.05
        place = table.column_names.index("action")
        column = pa.array(list(actions), table["action"].type)
        pq.write_table(table.set_column(place, table.field("action"), column), file)
    assert equal(weights("after"), before)
    assert not equal(weights("both_after", fields="[x,y]"), both)
    noisy = ("policy.action_head.name=flow_matching", "~policy.action_head.gripper_weight", "~policy.action_head.beta")
    sources = "dataset=[recorded,{path: labelled, labelled_fields: [x]}]"
    refused = forehand("train", sources, "policy=behaviour_cloning", *noisy, "output=no")
    assert refused.returncode == 2
    assert "Only composed policies can mask them, whose action head learns each number by itself" in refused.stderr
