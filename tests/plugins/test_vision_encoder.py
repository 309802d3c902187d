"""The vision encoder: every kind of tokens learns, and the instruction modulates features from identity on."""

from functools import partial
from typing import Any

import pytest
import torch
from tests.plugins.overfitting import DIM, SIZE, overfit, squares
from torch import nn

from forehand import registry
from forehand.compose.parts import INSTRUCTION, FeatureShape
from forehand.conformance import assert_encoder_conforms
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError
from forehand_plugins.encoders.token_pooling import KINDS
from forehand_plugins.encoders.vision import Vision

pytest.importorskip("timm")

TOWER = {"name": "timm", "model": "test_resnet", "features": 4}
CAMERAS = ["static", "wrist"]
SENTENCES = ("lift the red block", "push the green block")


def make(seed: int = 0, **options: Any) -> Vision:
    given = {"contract": CONTRACT, "dim": DIM, "image_size": SIZE, "cameras": ["static"], "tower": TOWER}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: Vision = registry().create("encoder", "vision", **given | options)
    return encoder


@pytest.mark.parametrize("tokens", KINDS)
def test_every_kind_of_tokens_overfits_positions_in_eight_images(tokens: str) -> None:
    images, red, _ = squares()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = overfit(make(tokens=tokens).train(), {"images.static": images}, red)
    assert last < 0.1 * first


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_only_a_batch_norm_learns_from_the_images_beside_one(norm: str) -> None:
    encoder = make(tower={**TOWER, "frozen": True}, convolutions=1, norm=norm)
    images, _, _ = squares()
    state = {name: tensor.clone() for name, tensor in encoder.convolutions.state_dict().items()}
    with torch.no_grad():
        few, many = (encoder.train()({"images.static": images[:n]})["static"][:2] for n in (2, 8))
        changed = any(not tensor.equal(state[name]) for name, tensor in encoder.convolutions.state_dict().items())
        alone, beside = (encoder.eval()({"images.static": images[:n]})["static"][:2] for n in (2, 8))
    assert changed == (norm == "batch")
    assert torch.allclose(few, many, atol=1e-5) == (norm == "group")
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-5)


def test_a_norm_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigurationError, match="unknown norm 'layer'"):
        make(convolutions=1, norm="layer")


def test_the_instruction_decides_what_is_found() -> None:
    images, red, green = squares()
    inputs = {"images.static": images.repeat(2, 1, 1, 1), INSTRUCTION: [s for s in SENTENCES for _ in range(8)]}
    target = torch.cat([red, green])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        aware = overfit(make(tokens="spatial_softmax", film=True).train(), inputs, target)[1]
        del inputs[INSTRUCTION]
        torch.manual_seed(0)
        blind = overfit(make(tokens="spatial_softmax").train(), inputs, target)[1]
    assert aware < 0.2 * blind


def test_film_starts_as_identity_and_then_depends_on_the_instruction() -> None:
    plain, modulated = make().eval(), make(film=True).eval()
    plain.load_state_dict({k: v for k, v in modulated.state_dict().items() if not k.startswith(("film", "sentence"))})
    images, _, _ = squares(2)
    inputs = {"images.static": images, INSTRUCTION: list(SENTENCES)}
    assert torch.equal(modulated(inputs)["static"], plain(inputs)["static"])
    nn.init.normal_(modulated.film["static"].modulate.weight)
    turned = modulated(inputs | {INSTRUCTION: list(reversed(SENTENCES))})
    assert not torch.allclose(modulated(inputs)["static"], turned["static"])


def test_film_takes_any_text_encoder_also_of_features() -> None:
    encoder = make(film={"name": "seer/clip_text"})
    images, _, _ = squares(3)
    features = torch.randn(3, 512, generator=torch.Generator().manual_seed(0))
    assert encoder({"images.static": images, INSTRUCTION: features})["static"].shape == (3, 1, 16)
    with pytest.raises(ConfigurationError, match="'state_mlp' reads state"):
        make(film={"name": "state_mlp"})
    with pytest.raises(ConfigurationError, match="film: the text encoder has no name"):
        make(film={"buckets": 3})


def test_cameras_share_a_tower_or_have_one_each() -> None:
    images, _, _ = squares(2)
    inputs = {"images.static": images, "images.wrist": images.flip(1)}
    shared, own = make(cameras=CAMERAS).eval(), make(cameras=CAMERAS, shared=False).eval()
    assert len(list(own.towers)) == 2
    assert len(list(shared.towers)) == 1
    alone = make(cameras=["wrist"]).eval()
    alone.load_state_dict({k: v for k, v in shared.state_dict().items() if "static" not in k})
    torch.testing.assert_close(shared(inputs)["wrist"], alone(inputs)["wrist"])
    assert {name: tuple(t.shape) for name, t in own(inputs).items()} == dict.fromkeys(CAMERAS, (2, 1, 16))


def test_a_tower_of_the_policy_gives_what_a_tower_of_ones_own_does() -> None:
    own = make(cameras=CAMERAS).eval()
    (tower,) = own.towers.values()
    shape = FeatureShape(tower.grid, tower.width)
    encoder = make(cameras=CAMERAS, tower="eye", towers={"eye": shape}).eval()
    assert encoder.inputs == ("features.eye.static", "features.eye.wrist")
    assert not any("tower" in name for name in encoder.state_dict())
    encoder.load_state_dict({k: v for k, v in own.state_dict().items() if "tower" not in k})
    images, _, _ = squares(2)
    patches, whole = tower(images)
    features = torch.cat([patches, whole[:, None]], dim=1)
    read = encoder({"features.eye.static": features, "features.eye.wrist": features.flip(0)})
    wanted = own({"images.static": images, "images.wrist": images.flip(0)})
    for camera in CAMERAS:
        torch.testing.assert_close(read[camera], wanted[camera])
    with pytest.raises(ConfigurationError, match=r"no tower 'eye'.*policy\.towers"):
        make(tower="eye")
    with pytest.raises(ConfigurationError, match="leave shared out"):
        make(tower="eye", towers={"eye": shape}, shared=False)


@pytest.mark.parametrize("tokens", KINDS)
def test_it_conforms_on_a_tower_of_the_policy(tokens: str) -> None:
    assert_encoder_conforms(partial(Vision, cameras=CAMERAS, tower="tower", tokens=tokens, film=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ["front"]}, "no camera 'front'"),
        ({"cameras": []}, "it has no cameras"),
        ({"tokens": "attention"}, r"unknown tokens 'attention'\. Did you mean 'attention_pooled'"),
        ({"count": 3}, "count is an option of tokens=spatial_softmax and tokens=attention_pooled.* Set count=null"),
        ({"tokens": "spatial_softmax", "count": 0}, "at least 1, not 0"),
        ({"tokens": "attention_pooled", "heads": 3}, "3 heads do not divide the policy's dim, 16"),
        ({"tower": {"model": "resnet18"}}, "its tower has no name"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(**options)
