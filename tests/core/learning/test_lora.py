"""Low-rank adapters in any part of a policy: what is trained, kept, merged and begun with."""

import logging

import pytest
import torch
from torch import nn

from forehand.errors import ConfigurationError
from forehand.learning.callbacks.adapter_check import AdapterCheck
from forehand.learning.checkpoint import latest_checkpoint, load_policy
from forehand.learning.lora import ADAPTER, LoRAOptions, base_name, inject_lora, merge_lora, read_lora
from forehand.learning.warm_start import load_pretrained_weights

from .runs import assert_same_run, ignore, interrupt_at

ADAPTERS = {"backbone": {"rank": 2, "alpha": 4}, "encoders.cameras.*": {"rank": 1}}


class Transposed(nn.Module):
    """A linear map with its weight the other way round, as GPT-2 has them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6))

    def forward(self, x):
        return x @ self.weight


class Net(nn.Module):
    """Layers of all kinds that can be adapted."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.ModuleDict(
            {
                "linear": nn.Linear(6, 8),
                "own": Transposed(),
                "norm": nn.LayerNorm(6),
                "attention": nn.MultiheadAttention(6, 2, batch_first=True),
            }
        )
        self.conv, self.embed, self.head = nn.Conv2d(1, 2, 3), nn.Embedding(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = x + self.conv(torch.ones(1, 1, 5, 5)).mean() + self.embed(torch.tensor([1]))
        y = self.body["norm"](self.body["own"](self.body["linear"](x)))[None]
        return self.head(y + self.body["attention"](y, y, y)[0])


def test_adapters_change_nothing_until_they_are_trained_and_merge_exactly():
    net, x = Net(), torch.randn(3, 6)
    names, before = set(net.state_dict()), net(x)
    inject_lora(net, read_lora({"lora": {"body": {"rank": 2}, "conv": {"rank": 1}, "embed": {"alpha": 3}}}))
    assert torch.equal(net(x), before)
    net(x).square().sum().backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    assert trained == {name for name, p in net.named_parameters() if ADAPTER in name or name.startswith("head.")}
    assert {base_name(n).partition(".lora_")[0] for n in trained if ADAPTER in n} == {
        *(f"body.{name}" for name in ("linear", "own", "attention")),
        *("conv", "embed"),
    }
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if ADAPTER in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    adapted = net(x)
    assert not torch.allclose(adapted, before, atol=1e-2)
    merge_lora(net)
    torch.testing.assert_close(net(x), adapted)
    assert set(net.state_dict()) == names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bodi": {}}, "'bodi' matches no layer that can be adapted. Did you mean"),
        ({"body.norm": {}}, "'body.norm' matches no layer"),
        ({"body": {"r": 3}}, "has no option 'r'"),
        ({"body": {"rank": 0}}, "rank is a whole number of at least 1, not 0"),
        ({"body": {"alpha": -1}}, "alpha is a positive number"),
        ({"body": {"dropout": 1}}, "dropout is a number from 0 to below 1"),
        ({"body": 3}, "maps names of parts to options"),
    ],
    ids=str,
)
def test_adapters_that_cannot_be_are_named(given, message):
    with pytest.raises(ConfigurationError, match=message):
        inject_lora(Net(), read_lora({"lora": given}))


def test_a_weight_that_a_part_reads_by_itself_is_warned_of(caplog):
    class Reads(Net):
        def forward(self, x):
            return nn.functional.linear(x, self.head.weight)

    net = Reads()
    inject_lora(net, {"head": LoRAOptions()})
    net(torch.randn(2, 6)).sum()
    check, run = AdapterCheck(), type("Run", (), {"policy": net})
    with caplog.at_level(logging.WARNING):
        check.on_step(run)
        check.on_step(run)
    assert [r.getMessage().partition(":")[0] for r in caplog.records] == ["policy.lora"]


def adapted(begin, folder):
    return begin(folder, lora=ADAPTERS, ema=0.5)


def test_adapters_resume_exactly_and_are_loaded_merged_or_not(begin, tmp_path):
    whole = adapted(begin, tmp_path / "whole")
    frozen = {name: p.detach().clone() for name, p in whole.policy.named_parameters() if not p.requires_grad}
    assert any(name.startswith("backbone.") for name in frozen)
    whole.run(ignore)
    assert all(torch.equal(p, frozen[name]) for name, p in whole.policy.named_parameters() if name in frozen)
    first = adapted(begin, tmp_path / "run")
    first.run(interrupt_at(3))
    second = adapted(begin, tmp_path / "run")
    second.resume(latest_checkpoint(second.folder))
    second.run(ignore)
    assert_same_run(second.folder, whole.folder)

    apart, merged = (load_policy(tmp_path / "run", merge_lora=merge) for merge in (False, True))
    names = {name for name, _ in merged.named_parameters()}
    assert names == {base_name(name) for name, _ in apart.named_parameters() if ADAPTER not in name}
    batch = whole.batches(0)
    torch.manual_seed(0)
    expected = apart(batch)[0]
    torch.manual_seed(0)
    torch.testing.assert_close(merged(batch)[0], expected)

    fresh = begin(tmp_path / "next")
    load_pretrained_weights(fresh.policy, tmp_path / "run")
    weights = merged.state_dict()
    assert all(torch.equal(t, weights[name]) for name, t in fresh.policy.state_dict().items())
