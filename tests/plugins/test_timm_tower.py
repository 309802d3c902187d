"""The timm tower computes what timm computes, from whatever file the weights come, and says what does not fit."""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import save_file
from torch import Tensor

import forehand_plugins
from forehand import registry
from forehand.errors import CheckpointError, ConfigurationError
from forehand_plugins.vision_towers.timm_tower import HUB, TimmTower, _size_options

timm = pytest.importorskip("timm")

VIT, RESNET, EFFICIENTNET = "test_vit.r160_in1k", "test_resnet.r160_in1k", "test_efficientnet.r160_in1k"
SIZE = 64


def make(model: str = RESNET, image_size: int = SIZE, **options: Any) -> TimmTower:
    tower: TimmTower = registry().create("vision_tower", "timm", model=model, image_size=image_size, **options)
    return tower


def reference(model: str, seed: int = 1, **options: Any) -> Any:
    """timm's own complete model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = timm.create_model(model, **options).eval()
        with torch.no_grad():
            for name, buffer in made.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.uniform_(0.5, 1.5)
    return made


def images(count: int = 2, size: int = SIZE) -> Tensor:
    return torch.randint(0, 256, (count, size, size, 3), generator=torch.Generator().manual_seed(0)).byte()


def normalized(model: Any, of: Tensor) -> Tensor:
    """(N, 3, H, W) as timm's own data configuration says."""
    about = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(about[name])[:, None, None] for name in ("mean", "std"))
    return (of.permute(0, 3, 1, 2) / 255 - mean) / std


def equal(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "nested", "parallel"])
def test_weights_of_a_file_give_timms_features(tmp_path: Path, suffix: str) -> None:
    model = reference(RESNET)
    state = model.state_dict()
    path = tmp_path / ("weights.safetensors" if suffix == "safetensors" else "weights.pth")
    if suffix == "safetensors":
        save_file(state, path)
    elif suffix == "pth":
        torch.save(state, path)
    elif suffix == "nested":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    tower = make(weights=str(path), frozen=True)
    tower.load_pretrained()
    patches, whole = tower(images())
    with torch.no_grad():
        wanted = model.forward_features(normalized(model, images()))
    assert patches.shape == (2, tower.patches, tower.width)
    equal(patches, wanted.flatten(2).transpose(1, 2))
    equal(whole, wanted.mean(dim=(2, 3)))


@pytest.mark.parametrize("model", [RESNET, EFFICIENTNET])
@pytest.mark.parametrize("stride", [8, 16])
def test_features_are_those_of_a_stride_and_deeper_layers_are_left_out(tmp_path: Path, model: str, stride: int) -> None:
    complete = reference(model)
    save_file(complete.state_dict(), tmp_path / "weights.safetensors")
    tower = make(model, weights=str(tmp_path / "weights.safetensors"), frozen=True, features=stride)
    tower.load_pretrained()
    assert tower.grid == (SIZE // stride, SIZE // stride)
    index = [about["reduction"] for about in complete.feature_info].index(stride)
    x = normalized(complete, images())
    with torch.no_grad():
        (wanted,) = complete.forward_intermediates(x, indices=[index], intermediates_only=True)
    patches, whole = tower(images())
    equal(patches, wanted.flatten(2).transpose(1, 2))
    equal(whole, wanted.mean(dim=(2, 3)))
    assert len(tower.state_dict()) < len(make(model).state_dict())


def test_a_transformer_gives_its_patches_and_its_own_pooling(tmp_path: Path) -> None:
    model = reference(VIT, img_size=SIZE)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    tower = make(VIT, weights=str(tmp_path / "weights.safetensors"), frozen=True)
    tower.load_pretrained()
    x = normalized(model, images())
    with torch.no_grad():
        tokens = model.forward_features(x)
        pooled = model.forward_head(tokens, pre_logits=True)
    patches, whole = tower(images())
    assert tower.grid == (4, 4)
    equal(patches, tokens[:, -16:])
    equal(whole, pooled)


def test_position_embeddings_are_resampled_to_the_size_of_the_images(tmp_path: Path) -> None:
    small = reference(VIT, img_size=32)
    path = tmp_path / "weights.pth"
    torch.save(small.state_dict(), path)
    tower = make(VIT, weights=str(path), frozen=True)
    tower.load_pretrained()
    theirs = timm.create_model(VIT, img_size=SIZE, pretrained=True, pretrained_cfg_overlay={"file": str(path)}).eval()
    with torch.no_grad():
        wanted = theirs.forward_features(normalized(theirs, images()))
    equal(tower(images())[0], wanted[:, -16:])


def test_names_of_an_original_release_are_converted(tmp_path: Path) -> None:
    model = reference(VIT, img_size=32)
    path = tmp_path / "weights.pth"
    torch.save({**model.state_dict(), "mask_token": torch.zeros(1, 64)}, path)  # as DINOv2's release has
    make(VIT, image_size=32, weights=str(path)).load_pretrained()


def test_the_same_weights_used_otherwise_are_another_tower() -> None:
    last, stage, other = make(VIT), make(VIT, features=16), make("test_vit")
    assert str(last) == str(make(VIT))
    assert len({str(last), str(stage), str(other)}) == 3


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"layer{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(state.items())}


def test_weights_under_other_names_are_matched_by_order(tmp_path: Path) -> None:
    model = reference(EFFICIENTNET)
    path = tmp_path / "weights.pth"
    torch.save(renamed(model.state_dict()), path)
    tower = make(EFFICIENTNET, weights=str(path), frozen=True, match="order")
    tower.load_pretrained()
    with torch.no_grad():
        wanted = model.forward_features(normalized(model, images()))
    equal(tower(images())[0], wanted.flatten(2).transpose(1, 2))
    with pytest.raises(CheckpointError, match=r"(?s)missing: conv_stem\.weight.*unexpected: layer0.*match=order"):
        make(EFFICIENTNET, weights=str(path)).load_pretrained()
    with pytest.raises(CheckpointError, match=r"not in the order of this model: layer0\.weight is"):
        make(RESNET, weights=str(path), match="order").load_pretrained()
    torch.save(dict(list(renamed(model.state_dict()).items())[:-1]), path)
    with pytest.raises(CheckpointError, match="tensors, and this model"):
        tower.load_pretrained()


class Code:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_files_that_do_not_fit_are_refused_and_no_code_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pth"
    state = make().network.state_dict()
    first, *rest = state
    torch.save({**{name: state[name] for name in rest}, "odd": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError) as caught:
        make(weights=str(path)).load_pretrained()
    assert f"missing: {first}" in str(caught.value)
    assert "unexpected: odd" in str(caught.value)
    torch.save({"state_dict": Code()}, path)
    with pytest.raises(CheckpointError, match="cannot be read as tensors alone"):
        make(weights=str(path)).load_pretrained()
    assert "executed" not in capsys.readouterr().out
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="holds no tensors by name"):
        make(weights=str(path)).load_pretrained()
    with pytest.raises(CheckpointError, match="there is no file"):
        make(weights=str(tmp_path / "absent.pth")).load_pretrained()


def test_a_frozen_tower_has_no_gradients_and_stays_in_eval_mode() -> None:
    tower = make(frozen=True).train()
    assert not any(module.training for module in tower.modules())
    assert not any(p.requires_grad for p in tower.parameters())
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    patches, whole = tower(images())
    assert not patches.requires_grad
    assert not whole.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in tower.state_dict().items())
    with pytest.raises(CheckpointError, match="frozen, and its configuration names no weights"):
        tower.load_pretrained()


def test_a_trained_tower_starts_from_scratch_and_learns() -> None:
    tower = make().train()
    tower.load_pretrained()
    assert any(module.training for module in tower.modules())
    whole = tower(images())[1]
    whole.square().sum().backward()
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad)
    assert any(p.requires_grad for p in tower.parameters())


def test_parameters_without_influence_are_not_trained() -> None:
    tower = make("mobilenetv3_small_050.lamb_in1k")  # one layer of it stands behind the pooling
    still = [name for name, p in tower.network.named_parameters() if not p.requires_grad]
    assert still
    assert all(name.startswith("conv_head") for name in still)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet81"}, r"timm has no model 'resnet81'\. Did you mean .*'resnet18'"),
        ({"model": "resnet18.imagenet"}, r"no weights 'resnet18\.imagenet'\. Tags of resnet18: .*tv_in1k"),
        ({"features": 5}, r"no features of stride 5\. Strides that it has: 2, 4, 8, 16, 32"),
        ({"model": VIT, "image_size": 72}, r"no whole number of patches.* which are of 16\. .*64 or 80"),
        ({"match": "shape"}, "match must be name or order"),
    ],
)
def test_what_there_is_not_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(**options)


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[str, dict[str, Any]]]:
    """timm's hub answers with a model or raises; returns what it was asked for."""
    create, questions = timm.create_model, []

    def ask(name: str, pretrained: bool = False, **options: Any) -> Any:
        if not pretrained:
            return create(name, pretrained=False, **options)
        questions.append((name, options))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(timm, "create_model", ask)
    return questions


def test_without_a_network_the_hub_is_answered_with_the_file_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, OSError("Network is unreachable"))
    with pytest.raises(CheckpointError, match=r"Network is unreachable.*huggingface\.co/timm/test_resnet.*weights"):
        make(weights=HUB).load_pretrained()


def test_weights_of_the_hub_are_timms_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = reference(RESNET, num_classes=0)
    questions = hub(monkeypatch, model)
    tower = make(weights=HUB, features=16, frozen=True)
    tower.load_pretrained()
    assert questions == [(RESNET, {"num_classes": 0})]
    for name, tensor in tower.network.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_missing_library_is_answered_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigurationError, match=r"needs the library timm.*forehand\[timm\]"):
        make()


def test_heavy_libraries_are_imported_when_a_part_is_made() -> None:
    for path in Path(forehand_plugins.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"timm", "transformers"} & {name.partition(".")[0] for name in names}, path


PRESETS = sorted(
    path.stem
    for path in (Path(forehand_plugins.__file__).parent / "conf/vision_tower").glob("*.yaml")
    if "name: timm" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_models_and_weights_that_timm_has(name: str) -> None:
    chosen = ["+policy=vision_bc", f"vision_tower@policy.towers.eyes={name}"]
    with initialize_config_module("forehand_plugins.conf", version_base=None):
        config: Any = compose(overrides=chosen).policy.towers.eyes
    options = {key: value for key, value in config.items() if key not in ("name", "model")}
    assert config.name == "timm"
    _size_options(config.model, 224)
    assert timm.is_model_pretrained(config.model)
    small = {"efficientnet_lite0": EFFICIENTNET, "resnet18": RESNET}.get(name, VIT)
    assert make(small, **options).frozen == options["frozen"]


def test_the_presets_are_there() -> None:
    assert PRESETS == ["clip_base", "dinov2_small", "dinov3_small", "efficientnet_lite0", "resnet18", "siglip_base"]
