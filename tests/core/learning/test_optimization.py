"""Schedules, optimizers, averages of weights, precision and recomputation against plain PyTorch, and resumed exactly."""

import copy
import math

import pytest
import torch
from torch import nn

from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import latest_checkpoint, load_policy, read_provenance, read_tensors
from forehand.learning.optimization.optimizers import make_optimizer, set_rate
from forehand.learning.optimization.recomputation import checkpoint_activations
from forehand.learning.parameter_groups import parameter_groups
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import TRAINING_STATE
from forehand.learning.training_state import fill_optimizer, pack_optimizer, unpack_optimizer
from forehand.learning.weights import AVERAGED_WEIGHTS

from .runs import assert_same_run, ignore, interrupt_at, log

GIVEN = {"steps": 12, "batch_size": 1, "learning_rate": 0.8, "seed": 0, "warmup_steps": 2}


def rates(schedule, steps=(2, 4, 7, 11, 12, 30)):
    recipe = Recipe(**GIVEN, schedule=schedule)
    return [recipe.rate(step) / 0.8 for step in steps]


def test_the_cosine_is_what_it_was_to_the_bit():
    recipe = Recipe(**GIVEN | {"steps": 1009, "learning_rate": 1.7e-3, "warmup_steps": 5})
    for step in range(5, 1012):
        done = (step - 5) / (1009 - 5)
        assert recipe.rate(step) == 1.7e-3 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1, 0.8, 0.5, 0.1, 0, 0]),
        ({"name": "linear", "final": 0.5}, [1, 0.9, 0.75, 0.55, 0.5, 0.5]),
        ("constant", [1, 1, 1, 1, 1, 1]),
        ({"name": "warmup_stable_decay", "decay_fraction": 0.5}, [1, 1, 1, 0.2, 0, 0]),
        ({"name": "warmup_stable_decay", "decay_fraction": 0.4, "shape": "sqrt"}, [1, 1, 1, 1 - math.sqrt(0.75), 0, 0]),
        ({"name": "cosine_with_restarts", "cycles": 2}, [1, None, 1, None, 0, 0]),
    ],
    ids=str,
)
def test_schedules(schedule, expected):
    assert [e if e is None else pytest.approx(e) for e in expected] == [
        r if e is not None else None for r, e in zip(rates(schedule), expected, strict=True)
    ]
    recipe = Recipe(**GIVEN, schedule=schedule)
    assert recipe.rate(0) == pytest.approx(0.4)  # the warm-up comes before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "cosin"}, "no schedule 'cosin'. Did you mean 'cosine'"),
        ({"schedule": {"name": "linear", "finall": 1}}, "has no option 'finall'. Did you mean 'final'"),
        ({"schedule": {"name": "linear", "final": 2}}, "final is a number from 0 to 1, not 2"),
        ({"schedule": {"name": "cosine_with_restarts", "cycles": 0}}, "cycles is a whole number of at least 1"),
        ({"schedule": {"name": "warmup_stable_decay", "decay_fraction": 0}}, "decay_fraction is 0"),
        ({"schedule": {"final": 0.1}}, "recipe.schedule is a name"),
        ({"ema": 1.0}, "decay is a number above 0 and below 1"),
        ({"ema": {"dacay": 0.9}}, "recipe.ema has no option 'dacay'"),
        ({"precision": "float16", "clip_every_batches": 1}, "float16 scales those"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_named(change, message):
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        Recipe(**GIVEN, **change)


# ---- optimizers -------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A policy with matrices, an embedding, a norm and a bias."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(3, 4)
        self.body = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Dropout(0.3), nn.Linear(6, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, batch):
        return self.head(self.body(self.embed(batch))).square().mean(), {}


def optimizer_of(policy, **changes):
    recipe = Recipe(**GIVEN, **changes)
    return make_optimizer(policy, parameter_groups(policy, recipe), recipe)


def test_muon_takes_the_matrices_and_adamw_the_rest():
    ours, theirs, options = Net(), Net(), {"name": "muon", "exclude": ["head"]}
    optimizer = optimizer_of(ours, optimizer=options, weight_decay=0.1)
    matrices = [theirs.body[0].weight, theirs.body[3].weight]
    rest = [p for p in theirs.parameters() if not any(p is m for m in matrices)]
    plain = [
        torch.optim.Muon(matrices, lr=0.8, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.8, weight_decay=0.1),
    ]
    for _ in range(3):
        for policy, steps in ((ours, [optimizer]), (theirs, plain)):
            policy.eval()
            for one in steps:
                one.zero_grad()
            policy(torch.tensor([0, 1]))[0].backward()
            for one in steps:
                one.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
    assert len(optimizer.state) == len(list(ours.parameters()))


def test_optimizers_are_refused_by_name_and_option():
    for given, message in (
        ("adamax", "there is no optimizer 'adamax'. Did you mean 'adamw'"),
        ({"name": "sgd", "betas": [0.9, 0.95]}, "recipe.optimizer sgd has no option 'betas'"),
        ({"name": "adamw", "betas": [0.9, 2.0]}, "Invalid beta parameter"),
    ):
        with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
            optimizer_of(Net(), optimizer=given)
    assert optimizer_of(Net(), optimizer={"name": "adamw", "betas": [0.9, 0.95]}).param_groups[0]["betas"] == (0.9, 0.95)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "schedule": "linear"},
        {"optimizer": "muon", "schedule": "warmup_stable_decay", "ema": {"decay": 0.9}},
        {"precision": "float16", "ema": 0.9},
    ],
    ids=str,
)
def test_what_is_interrupted_ends_as_if_it_had_not_been(begin, tmp_path, changes):
    whole = begin(tmp_path / "whole", **changes)
    whole.run(ignore)
    first = begin(tmp_path / "run", **changes)
    first.run(interrupt_at(3))
    second = begin(tmp_path / "run", **changes)
    second.resume(latest_checkpoint(second.folder))
    second.run(ignore)
    assert_same_run(second.folder, whole.folder)
    if "ema" in changes:
        kept = [read_tensors(latest_checkpoint(f) / AVERAGED_WEIGHTS) for f in (second.folder, whole.folder)]
        assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[1])
        assert kept[0].keys() == set(whole.parameters)


def test_quantized_state_is_kept_and_read_back():
    def train(policy, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (policy.weight.square().sum() + policy.bias.sum()).backward()
            optimizer.step()

    with torch.compiler.set_stance("force_eager"):  # compiling the step takes longer than all else
        torch.manual_seed(0)
        first = nn.Linear(64, 64)
        second = copy.deepcopy(first)
        whole, half = optimizer_of(first, optimizer="adamw_8bit"), optimizer_of(second, optimizer="adamw_8bit")
        train(first, whole, 4)
        train(second, half, 2)
        packed = pack_optimizer({name: half.state[p] for name, p in second.named_parameters()})
        assert packed["optimizer/exp_avg:codes/weight"].dtype == torch.uint8
        assert packed["optimizer/exp_avg/bias"].dtype == torch.float32  # small ones are not quantized
        resumed = optimizer_of(second, optimizer="adamw_8bit")
        fill_optimizer(resumed, dict(second.named_parameters()), unpack_optimizer(packed))
        train(second, resumed, 2)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_a_rate_reaches_every_kind_of_optimizer():
    for name in ("adamw", "sgd", "muon", "adamw_8bit"):
        optimizer = optimizer_of(Net(), optimizer=name)
        set_rate(optimizer, Recipe(**GIVEN), 0)
        expected = 0.4 if name != "adamw_8bit" else float(torch.tensor(0.4))
        assert {float(group["lr"]) for group in optimizer.param_groups} == {expected}


def test_weights_are_averaged_after_each_step(begin, tmp_path):
    trainer = begin(tmp_path / "run", ema={"decay": 0.5, "warmup": False}, save_every=1, keep_checkpoints=9)
    expected = {name: p.detach().clone() for name, p in trainer.parameters.items()}

    def follow(entry):
        for name, p in trainer.parameters.items():
            expected[name] = 0.5 * expected[name] + 0.5 * p.detach()

    trainer.run(follow)
    kept = read_tensors(latest_checkpoint(trainer.folder) / AVERAGED_WEIGHTS)
    for name in expected:
        torch.testing.assert_close(kept[name], expected[name])
    raw = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    with trainer.evaluated_weights():
        assert all(torch.equal(p, kept[name]) for name, p in trainer.parameters.items())
    assert all(torch.equal(p, raw[name]) for name, p in trainer.parameters.items())


def test_a_scaled_step_that_overflows_is_left_out_and_the_scale_lowered(begin, tmp_path):
    trainer = begin(tmp_path / "run", precision="float16", steps=2)
    trainer.precision.scaler._init_scale = 2.0**120
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    trainer.run(ignore)
    assert all(torch.equal(p, before[name]) for name, p in trainer.parameters.items())
    assert read_tensors(latest_checkpoint(trainer.folder) / TRAINING_STATE)["scaler/scale"] == 2.0**118


def test_recomputed_activations_give_the_same_gradients():
    plain, recomputed = Net(), Net()
    assert checkpoint_activations(recomputed, ["body.*", "head"]) == ["body.0", "body.1", "body.3", "head"]
    whole = Net()
    assert checkpoint_activations(whole, ["body", "body.0"]) == ["body"]
    found = []
    for policy in (plain, recomputed, whole):
        torch.manual_seed(5)  # dropout is drawn the same again
        loss = policy(torch.tensor([0, 1, 2]))[0]
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in policy.parameters())])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    assert plain.state_dict().keys() == recomputed.state_dict().keys()
    with pytest.raises(ConfigurationError, match="'boddy' matches no module"):
        checkpoint_activations(plain, ["boddy"])


def test_a_finished_run_is_extended_and_its_provenance_says_so(begin, tmp_path):
    begin(tmp_path / "run", schedule="constant").run(ignore)
    longer = begin(tmp_path / "run", schedule="linear", steps=9)
    with pytest.raises(CheckpointError, match=r"recipe\.steps: was 6, is 9"):
        longer.resume(latest_checkpoint(longer.folder))
    longer = begin(tmp_path / "run", schedule="linear", steps=9)
    longer.resume(latest_checkpoint(longer.folder), extend=True)
    longer.run(interrupt_at(7))
    again = begin(tmp_path / "run", schedule="linear", steps=9)
    again.resume(latest_checkpoint(again.folder))  # as any run
    again.run(ignore)
    told = read_provenance(latest_checkpoint(again.folder))
    assert told["extended"] == [{"step": 6, "steps": 6, "schedule": "constant", "schedule_steps": None}]
    rates = [entry["learning_rate"] for entry in log(again.folder)]
    assert rates[5] == 1e-2  # constant, until it was extended
    assert rates[6:] == [again.recipe.rate(step) for step in (6, 7, 8)]
    shorter = begin(tmp_path / "run", schedule="linear", steps=8)
    with pytest.raises(ConfigurationError, match=r"is at step 9, and recipe\.steps is 8"):
        shorter.resume(latest_checkpoint(again.folder), extend=True)


def test_averaged_weights_are_what_is_run_unless_raw_ones_are_asked_for(begin, tmp_path):
    trainer = begin(tmp_path / "run", ema=0.5)
    trainer.run(ignore)
    checkpoint = latest_checkpoint(trainer.folder)
    stored = {"raw": read_tensors(checkpoint / "model.safetensors")}
    stored["ema"] = stored["raw"] | read_tensors(checkpoint / AVERAGED_WEIGHTS)
    prints = set()
    for weights, expected in ((None, "ema"), ("ema", "ema"), ("raw", "raw")):
        policy = load_policy(checkpoint, weights=weights)
        assert all(torch.equal(t, stored[expected][name]) for name, t in policy.state_dict().items())
        assert policy.origin.get("weights", "raw") == expected
        prints.add(policy.origin["fingerprint"])
    assert len(prints) == 2
    begin(tmp_path / "plain", steps=0).run(ignore)
    with pytest.raises(CheckpointError, match=r"has no averaged weights: it was trained without recipe\.ema"):
        load_policy(tmp_path / "plain", weights="ema")
    with pytest.raises(ConfigurationError, match=r"policy\.weights is ema or raw, not 'mean'"):
        load_policy(checkpoint, weights="mean")
    fresh = begin(tmp_path / "next", ema=0.5)
    (checkpoint / AVERAGED_WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="holds no model_ema"):
        fresh.resume(checkpoint)
