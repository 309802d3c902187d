"""What Seer's parts compute, on cases small enough to check by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from forehand import Camera, Contract, Field, registry
from forehand.compose import Layout, TokenGroup, read_mask
from forehand.compose.parts import FeatureShape
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError
from forehand_seer.backbone import bands_of
from forehand_seer.targets import CLIP_MEAN, CLIP_STD, PatchNormalized, Pixels
from forehand_seer.vision_transformer import patchify, sincos_table, unpatchify


def make(kind, name, contract=CONTRACT, **options):
    torch.manual_seed(0)
    return registry().create(kind, name, contract=contract, dim=48, image_size=32, **options)


def contract_of(state=CONTRACT.state, action=CONTRACT.action):
    return Contract(CONTRACT.cameras, state, action, 10.0)


# ---- patches and tables --------------------------------------------------------------------------------------------


def test_patches_go_row_by_row_and_their_pixels_in_row_column_channel_order():
    images = torch.arange(4 * 4 * 3).reshape(1, 4, 4, 3)
    patches = patchify(images, 2)
    assert patches.shape == (1, 4, 12)
    assert patches[0, 1].tolist() == images[0, 0:2, 2:4].flatten().tolist()
    assert patches[0, 2].tolist() == images[0, 2:4, 0:2].flatten().tolist()


def test_unpatchify_is_the_inverse():
    images = torch.randn(2, 3, 8, 8, 3)
    assert torch.equal(unpatchify(patchify(images, 4), 4), images)


def test_sincos_table_speaks_of_the_column_first():
    table = sincos_table(8, 3)
    row, column = 2, 1
    expected = [
        trigonometric(place / 10000 ** (i / 2))
        for place in (column, row)
        for trigonometric in (math.sin, math.cos)
        for i in range(2)
    ]
    torch.testing.assert_close(table[row * 3 + column], torch.tensor(expected))


# ---- state ---------------------------------------------------------------------------------------------------------


def test_state_takes_the_gripper_from_the_contract_wherever_it_stands():
    first = contract_of(state=(Field("gripper", 1, gripper="open"), Field("arm", 6)))
    last = contract_of(state=(Field("arm", 6), Field("gripper", 1, gripper="open")))
    a, b = make("encoder", "seer/state", first), make("encoder", "seer/state", last)
    values = torch.randn(4, 7)
    torch.testing.assert_close(a({"state": values})["state"], b({"state": values.roll(-1, dims=1)})["state"])


def test_a_one_hot_gripper_knows_open_and_closed_alone():
    encoder = make("encoder", "seer/state", gripper="one_hot")
    values = torch.randn(5, 7)
    values[:, 6] = torch.tensor([-1.0, 0.0, 0.99, 1.0, 2.0])
    values[:, :6] = values[0, :6]
    tokens = encoder({"state": values})["state"]
    for closed in (1, 2):
        torch.testing.assert_close(tokens[0], tokens[closed])
    torch.testing.assert_close(tokens[3], tokens[4])
    assert not torch.allclose(tokens[0], tokens[3], atol=1e-3)


def test_finger_widths_are_taken_as_they_are():
    encoder = make("encoder", "seer/state", contract_of((Field("arm", 6), Field("fingers", 2, gripper="open"))))
    wide, narrow = torch.zeros(1, 8), torch.zeros(1, 8)
    wide[0, 7] = 0.04
    assert not torch.equal(encoder({"state": wide})["state"], encoder({"state": narrow})["state"])


def test_a_state_without_a_gripper_is_all_arm():
    encoder = make("encoder", "seer/state", contract_of((Field("joints", 7),)))
    assert encoder({"state": torch.randn(2, 7)})["state"].shape == (2, 1, 48)


@pytest.mark.parametrize(
    ("fields", "gripper", "message"),
    [
        ((Field("arm", 6), Field("fingers", 2, gripper="open")), "one_hot", "one gripper element .* not 2"),
        ((Field("arm", 6),), "one_hot", "not 0"),
        ((Field("arm", 6),), None, "gripper must be text, not None"),
        ((Field("gripper", 1, gripper="open"),), "width", "no arm"),
        (CONTRACT.state, "widht", "Did you mean 'width'"),
    ],
)
def test_a_state_that_cannot_be_encoded_is_refused(fields, gripper, message):
    with pytest.raises(ConfigurationError, match=message):
        make("encoder", "seer/state", contract_of(fields), gripper=gripper)


# ---- cameras and text ----------------------------------------------------------------------------------------------


def test_the_resampler_makes_all_cameras_then_all_classes():
    encoder = make(
        "encoder",
        "seer/resampler",
        cameras=["wrist", "static"],
        queries=5,
        tower={"name": "seer/mae_vit", "width": 16, "layers": 1, "heads": 2},
    )
    assert [(g.name, g.count) for g in encoder.groups] == [
        ("wrist", 5),
        ("static", 5),
        ("class_wrist", 1),
        ("class_static", 1),
    ]
    assert all(g.matches("images") for g in encoder.groups)


def test_each_camera_has_its_own_way_out_of_the_shared_resampler():
    tower = {"name": "seer/mae_vit", "width": 16, "layers": 1, "heads": 2}
    encoder = make("encoder", "seer/resampler", cameras=["static", "wrist"], tower=tower)
    images = torch.randint(0, 256, (2, 32, 32, 3)).byte()
    tokens = encoder({"images.static": images, "images.wrist": images})
    assert not torch.allclose(tokens["static"], tokens["wrist"])
    for maps in (encoder.project, encoder.project_class):
        maps["wrist"].load_state_dict(maps["static"].state_dict())
    tokens = encoder({"images.static": images, "images.wrist": images})
    torch.testing.assert_close(tokens["static"], tokens["wrist"])
    torch.testing.assert_close(tokens["class_static"], tokens["class_wrist"])


def test_a_tower_of_the_policy_is_read_as_its_own_would_be():
    options = {"cameras": ["static", "wrist"], "queries": 2}
    own = make(
        "encoder", "seer/resampler", tower={"name": "seer/mae_vit", "width": 16, "layers": 1, "heads": 2}, **options
    )
    shared = make("encoder", "seer/resampler", tower="eyes", towers={"eyes": FeatureShape((2, 2), 16)}, **options)
    shared.load_state_dict({name: w for name, w in own.state_dict().items() if not name.startswith("tower.")})
    images = torch.randint(0, 256, (2, 3, 32, 32, 3)).byte()
    seen = {f"images.{camera}": some for camera, some in zip(own.cameras, images, strict=True)}
    features = {
        key.replace("images", "features.eyes"): torch.cat([p, w[:, None]], 1)
        for key, (p, w) in ((key, own.tower(some)) for key, some in seen.items())
    }
    assert shared.inputs == tuple(features)
    assert shared.group_inputs("class_wrist") == ("features.eyes.wrist",)
    torch.testing.assert_close(shared(features), own(seen))
    with pytest.raises(ConfigurationError, match=r"has none called 'eye'.*eyes"):
        make("encoder", "seer/resampler", tower="eye", towers={"eyes": FeatureShape((2, 2), 16)}, **options)


def test_the_tower_takes_no_gradient():
    tower = {"name": "seer/mae_vit", "width": 16, "layers": 1, "heads": 2}
    encoder = make("encoder", "seer/resampler", cameras=["static"], tower=tower)
    encoder({"images.static": torch.rand(1, 32, 32, 3)})["static"].sum().backward()
    assert {name for name, p in encoder.named_parameters() if not p.requires_grad} == {
        f"tower.{name}" for name, _ in encoder.tower.named_parameters()
    }


def test_images_are_normalized_as_clip_does():
    tower = make_tower()
    image = torch.randint(0, 256, (1, 32, 32, 3)).byte()
    normalized = (image.float() / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    for ours, theirs in zip(tower(image), tower(normalized), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_tower_may_compute_in_bfloat16_and_keeps_float32_weights():
    exact, rough = make_tower(), make_tower(precision="bfloat16")
    images = torch.randint(0, 256, (3, 32, 32, 3)).byte()
    for a, b in zip(exact(images), rough(images), strict=True):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)
    assert {p.dtype for p in rough.parameters()} == {torch.float32}
    with pytest.raises(ConfigurationError, match="must be float32 or bfloat16, not 'float16'"):
        make_tower(precision="float16")


def make_tower(**options):
    torch.manual_seed(0)
    return registry().create(
        "vision_tower", "seer/mae_vit", image_size=32, **{"width": 16, "layers": 1, "heads": 2, **options}
    )


# ---- foresight -----------------------------------------------------------------------------------------------------


def test_a_patch_is_normalized_by_its_own_mean_and_unbiased_variance():
    patch = torch.tensor([[1.0, 2.0, 4.0, 9.0]])
    variance = ((patch - 4) ** 2).sum() / 3
    torch.testing.assert_close(PatchNormalized().from_patches(patch), (patch - 4) / (variance + 1e-6).sqrt())


def test_the_loss_is_the_error_averaged_over_cameras_and_valid_steps():
    model = make("world_model", "seer/foresight", cameras=["static", "wrist"], patch=8)
    readout = torch.randn(2, 3, 18, 48)
    target = {f"future.{c}": torch.randint(0, 256, (2, 3, 32, 32, 3)).byte() for c in ("static", "wrist")}
    valid = torch.tensor([[True, True, False], [False, True, True]])
    forecast = model(readout)
    assert forecast.shape == (2, 3, 2, 16, 192)
    errors = []
    for i, images in enumerate(target.values()):
        normalized = (images.float() / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
        patches = patchify(normalized, 8)
        wanted = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        errors.append(F.mse_loss(forecast[:, :, i][valid], wanted[valid]))
    torch.testing.assert_close(model.loss(readout, target, valid)["foresight"], sum(errors) / 2)


def test_cameras_share_the_decoder_and_differ_by_their_queries_alone():
    model = make("world_model", "seer/foresight", cameras=["static", "wrist"], queries=4)
    readout = torch.randn(3, 8, 48)
    forecast, swapped = model(readout), model(readout.roll(4, dims=1))
    torch.testing.assert_close(forecast[:, 0], swapped[:, 1])
    torch.testing.assert_close(forecast[:, 1], swapped[:, 0])


@pytest.mark.parametrize("target", [PatchNormalized(), Pixels()])
def test_a_perfect_forecast_of_a_still_scene_is_the_scene(target):
    image = torch.randint(0, 256, (2, 32, 32, 3)).byte()
    patches = patchify(target.normalize(image), 8)
    expected = target.to_patches(target.from_patches(patches), present=patches)
    assert torch.equal(target.to_pixels(unpatchify(expected, 8)).round().byte(), image)


def test_a_patch_normalized_forecast_borrows_the_brightness_of_the_present():
    model = make("world_model", "seer/foresight", cameras=["static"], patch=8)
    readout = torch.randn(1, 9, 48)
    dark, bright = torch.full((1, 32, 32, 3), 20).byte(), torch.full((1, 32, 32, 3), 220).byte()
    assert model.decode_images(readout, {"static": dark})["static"].float().mean() < 25
    assert model.decode_images(readout, {"static": bright})["static"].float().mean() > 215


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ["overhead"]}, "no camera 'overhead'"),
        ({"queries": 8}, "square number .* not 8"),
        ({"patch": 5}, "whole number of 5"),
        ({"heads": 5}, "multiple of 4 and of 5 heads"),
        ({"target": "pixel"}, "Did you mean 'pixels'"),
    ],
)
def test_foresight_that_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        make("world_model", "seer/foresight", **{"cameras": ["static"], **options})


# ---- actions -------------------------------------------------------------------------------------------------------


def test_arm_and_gripper_have_their_own_losses():
    head = make("action_head", "seer/inverse_dynamics")
    readout, actions = torch.randn(2, 4, 3, 48), torch.rand(2, 4, 3, 7) * 2 - 1
    valid = torch.rand(2, 4, 3) > 0.3
    predicted = head(readout)
    terms = head.loss(readout, {"actions": actions}, valid)
    torch.testing.assert_close(terms["arm"], F.smooth_l1_loss(predicted[valid][:, :6], actions[valid][:, :6]))
    probability, label = (predicted[valid][:, 6] + 1) / 2, (actions[valid][:, 6] > 0).float()
    torch.testing.assert_close(terms["gripper"], F.binary_cross_entropy(probability, label))
    assert head.weights == {"arm": 1.0, "gripper": 0.01}


def test_a_gripper_may_stand_anywhere_in_the_action():
    first = contract_of(action=(Field("gripper", 1, gripper="open"), Field("arm", 6)))
    readout = torch.randn(5, 3, 48)
    torch.testing.assert_close(
        make("action_head", "seer/inverse_dynamics", first)(readout),
        make("action_head", "seer/inverse_dynamics")(readout).roll(1, dims=-1),
    )


def test_without_a_gripper_there_is_no_gripper_loss():
    head = make("action_head", "seer/inverse_dynamics", contract_of(action=(Field("joints", 7),)))
    terms = head.loss(torch.randn(1, 1, 3, 48), {"actions": torch.zeros(1, 1, 3, 7)}, torch.ones(1, 1, 3).bool())
    assert set(terms) == set(head.weights) == {"arm"}
    assert head(torch.randn(2, 3, 48)).shape == (2, 3, 7)


def test_actions_are_within_their_range():
    actions = make("action_head", "seer/inverse_dynamics")(1000 * torch.randn(50, 3, 48))
    assert actions.abs().max() <= 1


# ---- backbone ------------------------------------------------------------------------------------------------------


def test_all_tokens_of_a_timestep_get_the_same_embedding():
    backbone = make("backbone", "seer/backbone", history=3, layers=1, heads=4).eval()
    same = torch.randn(1, 1, 48).expand(1, 4, 48)
    alone = torch.eye(4, dtype=torch.bool)
    out = backbone(same, torch.tensor([0, 0, 1, 1]), alone)[0]
    assert torch.equal(out[0], out[1])
    assert not torch.allclose(out[1], out[2])


def test_heads_must_share_the_width():
    with pytest.raises(ConfigurationError, match="48 cannot be shared by 5 heads"):
        make("backbone", "seer/backbone", history=3, heads=5)


CAUSAL = torch.ones(7, 7, dtype=torch.bool).tril()


def gradients(backbone, tokens, mask):
    torch.manual_seed(1)  # of dropout
    out = backbone.train()(tokens, torch.arange(7) // 2, mask)
    return out, torch.autograd.grad(out.square().sum(), list(backbone.parameters()))


def test_checkpointing_changes_memory_alone():
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    tokens = torch.randn(2, 7, 48)
    results, memory = [], []
    for checkpointing in (False, True):
        backbone = make("backbone", "seer/backbone", history=4, layers=3, heads=4, checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            backbone.train()(tokens, torch.arange(7) // 2, CAUSAL)
        memory.append(sum(kept))
        kept.clear()
        results.append(gradients(backbone, tokens, CAUSAL))
    torch.testing.assert_close(results[0], results[1])
    assert memory[1] < memory[0] / 3


@pytest.mark.parametrize("mask", [CAUSAL, torch.stack([CAUSAL, CAUSAL.T.logical_not() | torch.eye(7, dtype=torch.bool)])])
def test_attention_under_the_mask_is_fused(mask):
    backbone = make("backbone", "seer/backbone", history=4, layers=1, heads=4, dropout=0.0)
    tokens = torch.randn(2, 7, 48)
    fused, unfused = [], []
    for found, kernel in ((fused, SDPBackend.FLASH_ATTENTION), (unfused, SDPBackend.MATH)):
        with sdpa_kernel(kernel):  # an error, if this kernel could not be taken
            found += gradients(backbone, tokens, mask)
    torch.testing.assert_close(fused, unfused, rtol=1e-4, atol=1e-4)


TABLE = {"observation": {"observation": "past"}, "foresight": {"observation": "past"}}
TABLE |= {"action": {"observation": "past", "foresight": "same"}}
GROUPS = [TokenGroup("observation", 2), TokenGroup("foresight", 1), TokenGroup("action", 1)]
SEERS = torch.from_numpy(read_mask(Layout(GROUPS[:1], GROUPS[1:], 6, range(6)), TABLE))


@pytest.mark.parametrize("mask", [SEERS, CAUSAL, torch.eye(5, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)])
def test_bands_are_the_whole_mask_and_leave_out_what_is_empty(mask):
    order, bands = bands_of(mask)
    assert sorted(order.tolist()) == list(range(len(mask)))
    whole = torch.cat([F.pad(band, (0, len(mask) - band.shape[1])) for band in bands])
    assert torch.equal(whole, mask[order][:, order])
    assert sum(band.numel() for band in bands) <= mask.numel()
    if mask is SEERS:
        assert [tuple(band.shape) for band in bands] == [(18, 12), (6, 18)]


def test_bands_change_nothing_but_the_order_of_tokens():
    backbone = make("backbone", "seer/backbone", history=6, layers=2, heads=4, dropout=1e-9)  # it never strikes
    tokens, timesteps = torch.randn(2, 24, 48), torch.arange(24) // 4
    with torch.no_grad():
        in_bands, at_once = (backbone.train(on)(tokens, timesteps, SEERS) for on in (True, False))
    torch.testing.assert_close(in_bands, at_once, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_attention_under_the_mask_is_fused_on_a_gpu_with_dropout_too(precision):
    backbone = make("backbone", "seer/backbone", history=4, layers=1, heads=4).cuda().train()
    tokens = torch.randn(2, 7, 48, device="cuda")
    with (
        sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION),
        torch.autocast("cuda", precision, enabled=precision != torch.float32),
    ):
        out = backbone(tokens, torch.arange(7, device="cuda") // 2, CAUSAL.cuda())
    out.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


def test_cameras_of_the_contract_may_have_any_name():
    contract = Contract((Camera("overhead", 32, 32),), CONTRACT.state, CONTRACT.action, 10.0)
    assert make("world_model", "seer/foresight", contract, cameras=["overhead"]).cameras == ("overhead",)
