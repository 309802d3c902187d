"""Parameter groups: chosen by the policy, changed by the recipe's patterns, recorded, and resumed exactly."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forehand.conformance.example import CONTRACT
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import PROVENANCE, latest_checkpoint, read_provenance, read_tensors
from forehand.learning.parameter_groups import parameter_groups
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import TRAINING_STATE, Trainer

RECIPE = {"steps": 5, "batch_size": 4, "learning_rate": 1e-2, "seed": 0, "weight_decay": 0.1, "warmup_steps": 2}
NAMES = ["encoders.state.weight", "encoders.state.bias", "norm.weight", "norm.bias", "head.weight", "head.bias", "tower"]


class Small(nn.Module):
    """A policy with encoders, a norm, a head, and a tower that it keeps frozen itself."""

    contract = CONTRACT

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoders = nn.ModuleDict({"state": nn.Linear(3, 4)})
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)
        self.tower = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = (self.head(self.norm(self.encoders["state"](batch["x"] * self.tower).tanh())) - 1).square().mean()
        return loss, {"squared_error": loss}


class Grouped(Small):
    """The same, with groups of its own: ``offered(policy, recipe)``."""

    def __init__(self, offered: Any) -> None:
        super().__init__()
        self.offered = offered

    def parameter_groups(self, recipe: Recipe) -> Any:
        return self.offered(self, recipe)


def batches(number: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(4, 3, generator=torch.Generator().manual_seed(number))}


def begin(folder: Path, policy: nn.Module | None = None, **changes: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    recipe = Recipe(**{**RECIPE, **changes})
    return Trainer(
        policy or Small(), batches, recipe, folder, config={"name": "small"}, statistics={}, facts={"fingerprint": "f"}
    )


def trained(folder: Path, policy: nn.Module | None = None, **changes: Any) -> dict[str, torch.Tensor]:
    trainer = begin(folder, policy, **changes)
    trainer.run(lambda entry: None)
    return {name: p.detach().clone() for name, p in trainer.policy.named_parameters()}


def rates(policy: nn.Module, **changes: Any) -> dict[str, tuple[str, float, float]]:
    """Name of the group, learning rate and weight decay of each parameter that is trained."""
    groups = parameter_groups(policy, Recipe(**{**RECIPE, **changes}))
    return {n: (g.name, g.learning_rate, g.weight_decay) for g in groups if not g.frozen for n in g.parameters}


def test_without_options_there_is_one_group_as_before(tmp_path: Path):
    trainer = begin(tmp_path)
    (group,) = trainer.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-2, 0.1)
    expected = [p for name, p in trainer.policy.named_parameters() if name != "tower"]
    assert [id(p) for p in group["params"]] == [id(p) for p in expected]
    assert list(trainer.parameters) == NAMES[:-1]


def test_one_group_trains_as_plain_adamw_to_the_bit(tmp_path: Path):
    ours, policy = trained(tmp_path), Small()
    recipe = Recipe(**RECIPE)
    weights = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate(step)
        optimizer.zero_grad()
        policy(batches(step))[0].backward()
        nn.utils.clip_grad_norm_(weights, recipe.max_grad_norm)
        optimizer.step()
    assert all(torch.equal(ours[name], p) for name, p in policy.named_parameters())
    assert not torch.equal(ours["head.weight"], Small().head.weight)


def test_groups_alike_train_as_one_to_the_bit(tmp_path: Path):
    def offered(policy: Grouped, recipe: Recipe) -> Any:
        return [
            {"params": [*policy.head.parameters(), *policy.norm.parameters()]},
            {"params": list(policy.encoders.named_parameters()), "lr": recipe.learning_rate},
        ]

    one, two = trained(tmp_path / "one"), trained(tmp_path / "two", Grouped(offered))
    assert all(torch.equal(one[name], two[name]) for name in NAMES)


def test_patterns_change_rates_and_decays_option_by_option(tmp_path: Path):
    given = {
        "encoders": {"learning_rate": 1e-3},  # the beginning of names
        "*.bias": {"weight_decay": 0.0},
        "head.*": {"learning_rate_scale": 0.5},
    }
    assert rates(Small(), parameter_groups=given) == {
        "encoders.state.weight": ("encoders", 1e-3, 0.1),
        "encoders.state.bias": ("*.bias", 1e-3, 0.0),
        "norm.weight": ("default", 1e-2, 0.1),
        "norm.bias": ("*.bias", 1e-2, 0.0),
        "head.weight": ("head.*", 5e-3, 0.1),
        "head.bias": ("head.*", 5e-3, 0.0),
    }


def test_every_rate_follows_the_schedule(tmp_path: Path):
    trainer = begin(tmp_path, parameter_groups={"head": {"learning_rate": 1e-3}})
    seen = []
    original = trainer.optimizer.step
    trainer.optimizer.step = lambda: seen.append([g["lr"] for g in trainer.optimizer.param_groups]) or original()
    trainer.run(lambda entry: None)
    recipe = trainer.recipe
    assert seen == [[recipe.rate(step), recipe.rate(step, 1e-3)] for step in range(5)]
    assert [a / b for a, b in seen] == pytest.approx([10] * 5)


def test_what_is_frozen_stays_and_has_no_optimizer_state(tmp_path: Path):
    before = Small().state_dict()
    after = trained(tmp_path, parameter_groups={"encoders.*": {"frozen": True}})
    for name in NAMES:
        assert torch.equal(after[name], before[name]) == (name.startswith("encoders") or name == "tower"), name
    state = read_tensors(latest_checkpoint(tmp_path) / TRAINING_STATE)
    assert {key.split("/")[2] for key in state if key.startswith("optimizer/")} == set(NAMES[2:-1])


def test_norms_and_biases_lose_their_decay_where_asked(tmp_path: Path):
    found = rates(Small(), no_decay_norms_and_biases=True, parameter_groups={"head": {"weight_decay": 0.2}})
    assert {name: decay for name, (_, _, decay) in found.items()} == {
        "encoders.state.weight": 0.1,
        "encoders.state.bias": 0.0,
        "norm.weight": 0.0,
        "norm.bias": 0.0,
        "head.weight": 0.2,
        "head.bias": 0.0,
    }
    assert {name for name, _, _ in found.values()} == {"default", "default, no decay", "head", "head, no decay"}
    layer = nn.TransformerEncoderLayer(8, 2)
    no_decay = {name for name, (_, _, decay) in rates(layer, no_decay_norms_and_biases=True).items() if decay == 0}
    assert no_decay == {name for name, p in layer.named_parameters() if p.ndim == 1}


def test_a_policy_chooses_its_groups_and_the_recipe_changes_them(tmp_path: Path):
    def offered(policy: Grouped, recipe: Recipe) -> Any:
        return [
            {"name": "encoders", "params": policy.encoders.parameters(), "lr": 0.1 * recipe.learning_rate},
            {"name": "norm", "params": policy.norm.parameters(), "weight_decay": 0.0},
            {"params": policy.head.weight},
            {"params": [("head.bias", policy.head.bias)]},
        ]

    assert rates(Grouped(offered), parameter_groups={"norm.bias": {"learning_rate_scale": 2}}) == {
        "encoders.state.weight": ("encoders", 1e-3, 0.1),
        "encoders.state.bias": ("encoders", 1e-3, 0.1),
        "norm.weight": ("norm", 1e-2, 0.0),
        "norm.bias": ("norm.bias", 2e-2, 0.0),
        "head.weight": ("group 2", 1e-2, 0.1),
        "head.bias": ("group 3", 1e-2, 0.1),
    }


@pytest.mark.parametrize(
    ("offered", "message"),
    [
        (lambda p: [{"params": p.head.parameters()}], r"leaves out 4 parameters, such as 'encoders\.state\.weight'"),
        (lambda p: [{"params": p.parameters()}, {"params": [p.tower]}], r"group 1 holds 'tower', which 'group 0' holds"),
        (lambda p: [{"params": [torch.ones(2)]}], "group 0 holds what is no parameter of the policy: Tensor"),
        (lambda p: [{"params": p.parameters(), "name": "all", "rate": 1}], r"group 'all' has a key 'rate'"),
    ],
)
def test_groups_that_are_no_partition_are_refused(offered: Any, message: str):
    with pytest.raises(ConfigurationError, match=message):
        rates(Grouped(lambda policy, recipe: offered(policy)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder.*": {"frozen": True}}, r"'encoder\.\*' matches no parameter .* Did you mean 'encoders\.\*'"),
        ({"head.wieght": {"learning_rate": 1}}, r"Did you mean 'head\.weight'"),
        ({"qqq": {"learning_rate": 1}}, r"matches no parameter of the policy\. Known: encoders, head, norm, tower\."),
        ({"tower": {"learning_rate": 1}}, r"'tower' matches 1 parameters, .* keeps them frozen itself"),
        ({"*": {"frozen": True}}, "freezes all parameters"),
    ],
)
def test_patterns_without_effect_are_refused(given: Any, message: str):
    with pytest.raises(ConfigurationError, match=message):
        parameter_groups(Small(), Recipe(**RECIPE, parameter_groups=given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs options"),
        (3, "needs options"),
        ({"rate": 1}, "has no option 'rate'"),
        ({"learning_rate": -1}, "learning_rate must be 0 or a positive number, not -1"),
        ({"weight_decay": True}, "weight_decay must be 0 or a positive number, not True"),
        ({"learning_rate": "1e-4"}, "not '1e-4'"),
        ({"learning_rate": 1, "learning_rate_scale": 1}, "Give one of them"),
        ({"frozen": 1}, "frozen must be true or false"),
        ({"frozen": True, "learning_rate": 1}, "is frozen, and has a rate"),
    ],
)
def test_options_of_a_pattern_that_cannot_be_are_refused(options: Any, message: str):
    with pytest.raises(ConfigurationError, match=rf"recipe\.parameter_groups: 'head'.*{message}"):
        Recipe(**RECIPE, parameter_groups={"head": options})


GIVEN = {"encoders.*": {"frozen": True}, "head.*": {"learning_rate": 1e-3}}


def test_a_checkpoint_records_the_groups(tmp_path: Path):
    trained(tmp_path, parameter_groups=GIVEN)
    groups = read_provenance(latest_checkpoint(tmp_path))["parameter_groups"]
    assert groups == [
        {"name": "default", "tensors": 2, "parameters": 8, "learning_rate": 1e-2, "weight_decay": 0.1},
        {"name": "head.*", "tensors": 2, "parameters": 10, "learning_rate": 1e-3, "weight_decay": 0.1},
        {"name": "frozen", "tensors": 3, "parameters": 19, "frozen": True},
    ]


def test_an_interrupted_run_with_groups_ends_as_if_it_had_not_been(tmp_path: Path):
    options = {"parameter_groups": GIVEN, "no_decay_norms_and_biases": True, "log_every": 1}
    whole = trained(tmp_path / "whole", **options)
    first = begin(tmp_path / "run", **options)
    first.run(lambda entry: signal.raise_signal(signal.SIGINT) if entry["step"] == 3 else None)
    assert (first.interrupted, first.step) == (True, 3)
    second = begin(tmp_path / "run", **options)
    second.resume(latest_checkpoint(tmp_path / "run"))
    second.run(lambda entry: None)
    assert all(torch.equal(whole[name], p) for name, p in second.policy.named_parameters())
    states = [read_tensors(latest_checkpoint(tmp_path / name) / TRAINING_STATE) for name in ("whole", "run")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    with pytest.raises(CheckpointError, match=r"recipe\.parameter_groups\.encoders\.\*: was .*, is None"):
        begin(tmp_path / "run", **options | {"parameter_groups": {"head.*": {"learning_rate": 1e-3}}}).resume(
            latest_checkpoint(tmp_path / "run")
        )


def test_a_run_from_before_there_were_groups_goes_on(tmp_path: Path):
    begin(tmp_path, steps=0).run(lambda entry: None)
    path = latest_checkpoint(tmp_path) / PROVENANCE
    about = json.loads(path.read_text())
    del about["parameter_groups"], about["recipe"]["parameter_groups"], about["recipe"]["no_decay_norms_and_biases"]
    path.write_text(json.dumps(about))
    begin(tmp_path, steps=0).resume(latest_checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match=r"recipe\.no_decay_norms_and_biases: was False, is True"):
        begin(tmp_path, steps=0, no_decay_norms_and_biases=True).resume(latest_checkpoint(tmp_path))
