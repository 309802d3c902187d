"""Warm-up from zero, clipping after some batches and whole epochs, against the same loop in plain PyTorch."""

import itertools
import math

import pytest
import torch
from torch import nn

from forehand.data.sampling import ShuffledBatches
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer

# batches an epoch, accumulated batches, batches after which is clipped, epochs
LOOPS = [(7, 3, 1, 3), (6, 1, 1, 2), (8, 4, 2, 2), (5, 4, 3, 2)]


class Line(nn.Module):
    """A policy whose loss is a product of two linear maps with a batch's inputs, less its labels, squared."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.second = nn.Parameter(torch.randn(3, generator=generator))
        self.losses = []

    def forward(self, batch):
        loss = (batch["x"] @ self.first @ self.second - batch["y"]).square().mean()
        self.losses.append(loss.item())
        return loss, {"error": loss.detach()}


def batch(number, in_epoch):
    """Batch ``number`` of a stream that repeats the same batches every epoch."""
    generator = torch.Generator().manual_seed(number % in_epoch)
    return {"x": torch.randn(5, 4, generator=generator), "y": torch.randn(5, generator=generator)}


def plain_loop(in_epoch, accumulate, clip_every, epochs, warmup, end, peak=0.1, most=0.05):
    """Losses, rates, the norms before each clipping, and the trained weights."""
    policy = Line()
    parameters = list(policy.parameters())
    optimizer = torch.optim.AdamW(parameters, weight_decay=1e-2)
    rates, norms = [], []
    for _, number in itertools.product(range(epochs), range(in_epoch)):
        (policy(batch(number, in_epoch))[0] / accumulate).backward()
        within = number % accumulate + 1
        last = within == accumulate or number == in_epoch - 1
        if within % clip_every == 0 or last:
            norms.append(nn.utils.clip_grad_norm_(parameters, most).item())
        if last:
            step = len(rates)
            cosine = 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / (end - warmup))))
            rates.append(peak * (step / warmup if step < warmup else cosine))
            optimizer.param_groups[0]["lr"] = rates[-1]
            optimizer.step()
            optimizer.zero_grad()
    return policy, rates, norms


@pytest.mark.parametrize("loop", LOOPS, ids=str)
def test_the_trainer_steps_as_the_plain_loop_does(loop, tmp_path, monkeypatch):
    in_epoch, accumulate, clip_every, epochs = loop
    warmup, end = in_epoch // accumulate + 1, epochs * in_epoch // accumulate + 1
    expected, rates, norms = plain_loop(*loop, warmup, end)

    recipe = Recipe(
        steps=len(rates),
        schedule_steps=end,
        warmup_steps=warmup,
        warmup_from_zero=True,
        learning_rate=0.1,
        weight_decay=1e-2,
        max_grad_norm=0.05,
        batch_size=5,
        gradient_accumulation_steps=accumulate,
        clip_every_batches=clip_every,
        batches_per_epoch=in_epoch,
        seed=0,
        log_every=1,
    )
    assert recipe.steps == epochs * recipe.steps_per_epoch
    policy, entries, clipped = Line(), [], []
    trainer = Trainer(policy, lambda n: batch(n, in_epoch), recipe, tmp_path, config={}, statistics={}, facts={})
    monkeypatch.setattr(trainer, "save", lambda: None)
    clip = trainer._clip
    monkeypatch.setattr(trainer, "_clip", lambda: clipped.append(clip()) or clipped[-1])
    trainer.run(entries.append)

    assert [entry["learning_rate"] for entry in entries] == pytest.approx(rates, rel=1e-12)
    assert policy.losses == pytest.approx(expected.losses, rel=1e-5)
    assert [norm.item() for norm in clipped] == pytest.approx(norms, rel=1e-5)
    for ours, theirs in zip(policy.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert min(norms) > 0.05  # so that it was clipped at all


def test_the_first_step_of_a_warm_up_from_zero_changes_nothing():
    given = {"steps": 9, "batch_size": 1, "learning_rate": 1e-3, "seed": 0, "warmup_steps": 3, "warmup_from_zero": True}
    recipe = Recipe(**given, schedule_steps=8)
    assert [recipe.rate(step) for step in (0, 1, 2, 3, 8)] == pytest.approx([0, 1e-3 / 3, 2e-3 / 3, 1e-3, 0], abs=1e-18)
    assert Recipe(**given, schedule_steps=5).rate(7) == 0  # and stays there


def test_batches_of_whole_epochs_never_hold_windows_of_two():
    order = ShuffledBatches(11, 3, seed=2, batches_per_epoch=3)
    for epoch in range(4):
        drawn = [order.at(epoch * 3 + number) for number in range(3)]
        assert all(len(one) == 3 for one in drawn)
        assert len({int(i) for one in drawn for i in one}) == 9
    with pytest.raises(ValueError, match="cannot draw 4 batches of 3 from 11 windows"):
        ShuffledBatches(11, 3, seed=2, batches_per_epoch=4)


@pytest.mark.parametrize(
    ("in_epoch", "accumulate", "firsts"), [(7, 3, [0, 3, 6, 7, 10, 13, 14]), (None, 3, [0, 3, 6, 9])]
)
def test_the_first_batch_of_a_step(in_epoch, accumulate, firsts):
    given = {"steps": 9, "batch_size": 1, "learning_rate": 1e-3, "seed": 0}
    recipe = Recipe(**given, gradient_accumulation_steps=accumulate, batches_per_epoch=in_epoch)
    assert [recipe.first_batch(step) for step in range(len(firsts))] == firsts
