"""A frozen tower gets its weights from a file, once, before training."""

import pytest
import torch
from safetensors.torch import save_file

from forehand import registry
from forehand.errors import CheckpointError
from forehand.learning.checkpoint import build_policy

OPTIONS = {"image_size": 32, "width": 16, "layers": 1, "heads": 2}


def make(**options):
    return registry().create("vision_tower", "seer/mae_vit", **OPTIONS, **options)


@pytest.fixture
def weights():
    torch.manual_seed(5)
    return {name: torch.randn_like(tensor) for name, tensor in make().state_dict().items()}


def assert_loads(path, weights):
    tower = make(weights=str(path))
    tower.load_pretrained()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in tower.state_dict().items())


def test_from_maes_file_without_its_decoder(tmp_path, weights):
    path = tmp_path / "mae.pth"
    torch.save({"model": {**weights, "decoder_norm.weight": torch.ones(8), "mask_token": torch.ones(1, 1, 8)}}, path)
    assert_loads(path, weights)


def test_from_safetensors(tmp_path, weights):
    save_file(weights, tmp_path / "mae.safetensors")
    assert_loads(tmp_path / "mae.safetensors", weights)


def test_missing_and_misshapen_weights_are_named(tmp_path, weights):
    del weights["norm.bias"]
    weights["cls_token"] = torch.zeros(1, 1, 17)
    save_file(weights, tmp_path / "mae.safetensors")
    tower = make(weights=str(tmp_path / "mae.safetensors"))
    with pytest.raises(
        CheckpointError, match=r"missing: norm\.bias\n.*cls_token \(found \(1, 1, 17\), needed \(1, 1, 16\)\)"
    ):
        tower.load_pretrained()


def test_training_without_a_file_is_refused(seer):
    config = seer.preset("seer_calvin", "policy.backbone.layers=1")
    with torch.device("meta"):
        policy = build_policy(config, seer.contract(1), {})
    with pytest.raises(CheckpointError, match="names no weights"):
        policy.load_pretrained()
