"""Optimizer, schedule and epoch are carried both ways, and training goes on as with a plain AdamW."""

import pytest
import torch
from tests.seer_plugin.test_convert import FLAGS, HEADS, TOWER, convert, write_files

from forehand.errors import CheckpointError
from forehand.learning.checkpoint import build_policy, load_policy, read_provenance
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer
from forehand.learning.training_state import read_training_state
from forehand_seer.contracts import PLATFORMS
from forehand_seer.released import cameras_of, configuration, released_weights
from forehand_seer.released_names import PREFIX, VISION, our_name, released_order, unused_shapes

RECIPE = Recipe(
    steps=6,
    learning_rate=1e-3,
    seed=0,
    warmup_steps=2,
    warmup_from_zero=True,
    batch_size=1,
    batches_per_epoch=2,
    log_every=1,
)
UNUSED = unused_shapes(FLAGS["hidden_dim"])


def small_config():
    """The small model of the files, without what is drawn at random in training."""
    config = configuration(**FLAGS)
    config |= {"image_size": 64, "random_shift": {}}
    config["encoders"]["cameras"]["tower"] |= TOWER
    config["encoders"]["text"]["tower"] = None
    config["backbone"]["dropout"] = 0.0
    return config


def small_seer():
    return build_policy(small_config(), PLATFORMS["calvin"](), {})


def trainer(policy, seer, folder):
    batch = lambda number: seer.window(f"carry/{number}", 3, 3, 3, width=False, image_size=64)  # noqa: E731
    return Trainer(policy, batch, RECIPE, folder, config=small_config(), statistics={}, facts={})


@pytest.fixture
def small(seer, tmp_path):
    """Files of a small released model, trained for three steps with a plain AdamW; the model, optimizer, scheduler."""
    released, _, files = write_files(tmp_path, seer)
    content = torch.load(files["released"], weights_only=False)
    content["model_state_dict"] = {
        PREFIX + name: content["model_state_dict"][PREFIX + name]
        for name in released_order(n.removeprefix(PREFIX) for n in content["model_state_dict"])
    }
    policy = small_seer()
    policy.load_state_dict(released.state_dict())
    optimizer, scheduler = plain_adamw(policy, content["model_state_dict"])
    go_on(policy, optimizer, scheduler, seer, range(3))
    for name, tensor in released_weights(policy).items():
        if not name.startswith(VISION):
            content["model_state_dict"][PREFIX + name].copy_(
                tensor.detach().view_as(content["model_state_dict"][PREFIX + name])
            )
    content |= {
        "optimizer_state_dict": in_shapes(optimizer.state_dict(), list(content["model_state_dict"].values())),
        "lr_scheduler_state_dict": scheduler.state_dict(),
        "epoch": 0,
    }
    torch.save(content, files["released"])
    return policy, optimizer, scheduler, files


def plain_adamw(policy, names):
    """AdamW and LambdaLR as any training loop has them, over all released weights in the file's order."""
    mine, cameras = dict(policy.named_parameters()), cameras_of(policy)
    unused = {name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in UNUSED.items()}
    names = [name.removeprefix(PREFIX) for name in names]
    parameters = [unused[n] if n in unused else mine[our_name(n, cameras)] for n in names]
    optimizer = torch.optim.AdamW(parameters, lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay, fused=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: RECIPE.rate(step, 1.0))


def in_shapes(state_dict, parameters):
    """The state of an optimizer whose queries have leading axes of size 1, or have none, as ``parameters``."""
    state = {
        number: {kind: t.clone() if kind == "step" else t.clone().view_as(parameters[number]) for kind, t in of.items()}
        for number, of in state_dict["state"].items()
    }
    return {**state_dict, "state": state}


def go_on(policy, optimizer, scheduler, seer, steps):
    policy.train()
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        policy(seer.window(f"carry/{step}", 3, 3, 3, width=False, image_size=64))[0].backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], RECIPE.max_grad_norm)
        optimizer.step()
        scheduler.step()


def continued(folder, seer, output):
    """The policy of a converted checkpoint, after the rest of the recipe here."""
    policy = small_seer()
    kept = {n: t for n, t in load_policy(folder).state_dict().items() if not n.startswith("encoders.text.tower.")}
    policy.load_state_dict(kept)
    here = trainer(policy, seer, output)
    assert here.init_optimizer(folder) == {"step": 3, "optimizer_state": len(here.parameters)}
    here.save = lambda: None
    output.mkdir()
    here.run(lambda entry: None)
    return policy


@pytest.mark.slow
def test_training_goes_on_here_as_it_would_have_there(small, seer, tmp_path):
    policy, optimizer, scheduler, files = small
    folder = convert(**files, flags=HEADS, optimizer_order="weights", output=str(tmp_path / "out"))
    assert read_provenance(folder)["converted"]["training"]["epoch"] == 0
    mine = continued(folder, seer, tmp_path / "run")
    go_on(policy, optimizer, scheduler, seer, range(3, 6))
    theirs = dict(policy.named_parameters())
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], rtol=0, atol=0)


@pytest.mark.slow
def test_and_there_as_it_would_have_here(small, seer, tmp_path):
    policy, _, _, files = small
    folder = convert(**files, flags=HEADS, optimizer_order="weights", output=str(tmp_path / "out"))
    back = convert(checkpoint=str(folder), output=str(tmp_path / "back.pth"))
    content = torch.load(back, weights_only=True)
    optimizer, scheduler = plain_adamw(policy, content["model_state_dict"])
    parameters = optimizer.param_groups[0]["params"]
    optimizer.load_state_dict(in_shapes(content["optimizer_state_dict"], parameters))
    scheduler.load_state_dict(content["lr_scheduler_state_dict"])
    assert content["epoch"] == 0
    mine = continued(folder, seer, tmp_path / "run")
    go_on(policy, optimizer, scheduler, seer, range(3, 6))
    theirs = dict(policy.named_parameters())
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(parameter, theirs[name], rtol=0, atol=0)


@pytest.mark.slow
def test_a_round_trip_keeps_moments_to_the_bit_and_the_order(small, tmp_path):
    *_, files = small
    first = convert(**files, flags=HEADS, optimizer_order="weights", output=str(tmp_path / "first"))
    back = convert(checkpoint=str(first), output=str(tmp_path / "back.pth"))
    again = convert(**{**files, "released": str(back)}, flags=HEADS, output=str(tmp_path / "again"))
    a, b = read_training_state(first), read_training_state(again)
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(tensor.any() for name, tensor in a.items() if name.startswith("optimizer/exp_avg/"))
    before, after = (torch.load(f, weights_only=False) for f in (files["released"], back))
    assert after["lr_scheduler_state_dict"] == before["lr_scheduler_state_dict"]
    group = after["optimizer_state_dict"]["param_groups"][0]
    assert group.pop("param_names") == list(before["model_state_dict"]) == list(after["model_state_dict"])
    assert group == before["optimizer_state_dict"]["param_groups"][0]


def test_a_run_of_ours_is_written_as_torch_writes_it(seer, tmp_path):
    policy = seer.fill(small_seer())
    (tmp_path / "run").mkdir()
    trainer(policy, seer, tmp_path / "run").run(lambda entry: None)
    content = torch.load(convert(checkpoint=str(tmp_path / "run"), output=str(tmp_path / "run.pth")), weights_only=True)
    optimizer, scheduler = plain_adamw(policy, content["model_state_dict"])
    for _ in range(RECIPE.steps):
        optimizer.step()
        scheduler.step()
    written, wanted = content["lr_scheduler_state_dict"], scheduler.state_dict()
    assert written == {key: wanted[key] for key in written}
    group = content["optimizer_state_dict"]["param_groups"][0]
    assert {key: optimizer.param_groups[0][key] for key in ("lr", "betas", "eps", "weight_decay", "initial_lr")} == {
        key: group[key] for key in ("lr", "betas", "eps", "weight_decay", "initial_lr")
    }
    assert content["epoch"] == 2
    assert {float(of["step"]) for of in content["optimizer_state_dict"]["state"].values()} == {6.0}


def test_without_a_stated_order_weights_alone_are_taken(small, tmp_path, caplog):
    *_, files = small
    with caplog.at_level("INFO"):
        folder = convert(**files, flags=HEADS, output=str(tmp_path / "out"))
    assert "optimizer_order=weights" in caplog.text
    with pytest.raises(CheckpointError, match="training cannot continue"):
        read_training_state(folder)


def swapped(content):
    state = content["optimizer_state_dict"]["state"]
    state[0], state[1] = state[1], state[0]


def fewer(content):
    content["optimizer_state_dict"]["param_groups"][0]["params"].pop()
    content["optimizer_state_dict"]["state"].pop(len(content["model_state_dict"]) - 1)


def none_of_one(content):
    del content["optimizer_state_dict"]["state"][0]


def another_step(content):
    content["lr_scheduler_state_dict"]["last_epoch"] = 7


def other_betas(content):
    content["optimizer_state_dict"]["param_groups"][0]["betas"] = (0.9, 0.95)


def gradients_of_unused(content):
    number = list(content["model_state_dict"]).index("module.action_projector.bias")
    like = content["model_state_dict"]["module.action_projector.bias"]
    content["optimizer_state_dict"]["state"][number] = {
        "step": torch.tensor(3.0), "exp_avg": torch.ones_like(like), "exp_avg_sq": torch.ones_like(like)
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (swapped, "exp_avg does not fit the weights"),
        (fewer, "the stated order names"),
        (none_of_one, "holds nothing of 1 weights that are trained, such as action_pred_token"),
        (another_step, "has taken 3 steps, and the scheduler 7"),
        (other_betas, "its betas is"),
        (gradients_of_unused, "action_projector.bias would have had gradients"),
    ],
)
def test_doubt_is_refused_and_nothing_is_written(spoil, words, small, tmp_path):
    *_, files = small
    content = torch.load(files["released"], weights_only=False)
    spoil(content)
    torch.save(content, files["released"])
    with pytest.raises(CheckpointError, match=words):
        convert(**files, flags=HEADS, optimizer_order="weights", output=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_order_that_is_written_is_that_of_the_released_files(seer):
    config = seer.preset("seer_calvin", "policy.encoders.text.tower=null")
    with torch.device("meta"):
        policy = build_policy(config, seer.contract(1), {})
    names = [name for name in released_weights(policy) if not name.startswith(VISION)]
    assert released_order([*names, *UNUSED]) == list(seer.released["seer_calvin"])
