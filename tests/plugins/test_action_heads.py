"""What each action head is for: heads that model a distribution recover both ways round an obstacle."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forehand import registry
from forehand.compose import ActionHead, IterativeActionHead, SamplingActionHead
from forehand.conformance import assert_policy_conforms, example
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError
from forehand.learning.checkpoint import build_policy, load_policy, save_policy

DIM, CHUNK, SMALL = 16, 2, {"width": 32, "layers": 1, "heads": 2}
FLAT = replace(CONTRACT, action=(CONTRACT.action[0], CONTRACT.action[2]))
"""Three elements of motion and a gripper."""

SAMPLING: Mapping[str, Mapping[str, Any]] = {
    "flow_matching": SMALL,
    "diffusion": SMALL,
    "gaussian_mixture": {"modes": 3, "decode": "sample", "min_std": 0.02},
    "discrete_bins": {"bins": 16, "decode": "sample"},
}
HEADS: Mapping[str, Mapping[str, Any]] = {**SAMPLING, "flow_matching_expert": {"steps": 4}, "cvae": SMALL}
READS = {"observation": {"observation": "past"}, "action": {"observation": "past", "action": "same"}}


def make(name: str, **options: Any) -> ActionHead:
    torch.manual_seed(0)
    head: ActionHead = registry().create(
        "action_head", name, **{"contract": FLAT, "dim": DIM, "image_size": 32, "chunk": CHUNK, **options}
    )
    return head


def train(
    head: ActionHead,
    batch: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    rate: float = 5e-3,
    max_grad_norm: float = torch.inf,
) -> list[float]:
    """Losses over steps of readouts (N, H, D) and actions (N, H, A)."""
    optimizer = torch.optim.Adam(head.train().parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        readout, actions = (t[:, None] for t in batch())
        terms = head.loss(readout, {"actions": actions}, torch.ones(actions.shape[:3], dtype=torch.bool))
        loss = torch.stack([weight * terms[term] for term, weight in head.weights.items()]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
    head.eval()
    return losses


def both_ways(pairs: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Chunks to the left, with an open gripper, and as many to the right, with a closed one; nothing to tell from."""
    side = torch.tensor([-0.5, 0.5]).repeat(pairs)[:, None, None]
    return torch.ones(len(side), CHUNK, DIM), side.expand(-1, CHUNK, FLAT.action_size)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLING)
def test_samples_go_either_way_and_not_between(name: str) -> None:
    head = make(name, **SAMPLING[name])
    assert isinstance(head, SamplingActionHead)
    train(head, both_ways, 250 if name == "diffusion" else 150)
    noise = torch.randn(400, *head.noise_shape)
    with torch.no_grad():
        actions = head.sample(torch.ones(400, CHUNK, DIM), noise)
    left, right = ((actions - side).abs() < 0.2 for side in (-0.5, 0.5))
    assert 0.3 < left.float().mean() < 0.7
    assert (left | right).float().mean() > 0.85
    if name != "discrete_bins":  # whose elements are independent of each other
        one_way = left.all(dim=(1, 2)) | right.all(dim=(1, 2))
        assert one_way.float().mean() > 0.75


def test_the_iterative_head_goes_either_way() -> None:
    """With a context that is the tokens themselves, through a small network in place of a backbone."""
    head, network = make("flow_matching_expert", dim=32), torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU())
    network.append(torch.nn.Linear(64, 64))

    def read(tokens: torch.Tensor) -> torch.Tensor:
        return tokens + network(tokens.flatten(-2)).reshape(tokens.shape)

    optimizer = torch.optim.Adam([*head.parameters(), *network.parameters()], lr=5e-3)
    target = {"actions": both_ways(64)[1][:, None]}
    for _ in range(250):
        tokens, drawn = head.training_tokens(target)
        terms = head.loss(read(tokens), drawn, torch.ones(128, 1, CHUNK, dtype=torch.bool))
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        actions = head.sample(read, torch.randn(400, *head.noise_shape))
    left, right = ((actions - side).abs() < 0.2 for side in (-0.5, 0.5))
    assert 0.3 < left.float().mean() < 0.7
    assert (left.all(dim=(1, 2)) | right.all(dim=(1, 2))).float().mean() > 0.75


@pytest.mark.parametrize(
    ("name", "options"), [("chunk_regression", {"loss": "mse"}), ("discrete_bins", {"decode": "expectation"})]
)
def test_the_mean_goes_between(name: str, options: dict[str, Any]) -> None:
    head = make(name, **options)
    train(head, both_ways, 100)
    with torch.no_grad():
        assert head(torch.ones(1, CHUNK, DIM)).abs().max() < 0.1


@pytest.mark.parametrize(
    ("name", "options"), [("gaussian_mixture", {"decode": "mode"}), ("discrete_bins", {"decode": "argmax", "bins": 16})]
)
def test_the_most_probable_action_is_one_of_them(name: str, options: dict[str, Any]) -> None:
    head = make(name, **options)
    assert head.noise_shape == ()
    train(head, both_ways, 100)
    with torch.no_grad():
        np.testing.assert_allclose(head(torch.ones(1, CHUNK, DIM)).abs(), 0.5, atol=0.1)


@pytest.mark.slow
def test_a_style_tells_two_ways_apart() -> None:
    """Without the divergence the style alone explains the side; with a large one, it says nothing."""
    free, bound = (make("cvae", **SMALL, kl_weight=weight, style=2) for weight in (1e-3, 100.0))
    for head in (free, bound):
        train(head, lambda: both_ways(4), 150)
    readout, actions = (t[:, None] for t in both_ways())
    valid = torch.ones(64, 1, CHUNK, dtype=torch.bool)
    with torch.no_grad():
        told, kept = (head.loss(readout, {"actions": actions}, valid) for head in (free, bound))
    assert told["motion"] < 0.15
    assert kept["motion"] > 0.4
    assert told["kl"] > 10 * kept["kl"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cvae", "gaussian_mixture"])
def test_chunks_are_learned_by_heart(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    readout = torch.randn(8, CHUNK, DIM, generator=generator)
    actions = torch.rand(8, CHUNK, FLAT.action_size, generator=generator) * 2 - 1
    options = {"cvae": SMALL, "gaussian_mixture": {"decode": "mode", "width": 64}}[name]
    head = make(name, **options)
    train(head, lambda: (readout, actions), 300)
    with torch.no_grad():
        assert (head(readout) - actions).abs().mean() < 0.1


@pytest.mark.parametrize(
    ("name", "calm", "drawing"),
    [
        ("gaussian_mixture", "mode", "low_noise"),
        ("discrete_bins", "argmax", "sample"),
        ("cvae", "prior_mean", "sample"),
    ],
)
def test_how_actions_are_decoded_is_changed_afterwards(name: str, calm: str, drawing: str) -> None:
    config = configuration(name)
    config["action_head"]["decode"] = calm
    policy = build_policy(config, CONTRACT, {}).eval()
    seen = example.observation(CONTRACT, np.random.default_rng(0), 0.0)

    def differ() -> bool:
        sessions = [policy.open("lift", seed) for seed in range(8)]
        first, *others = (prediction.actions for prediction in policy.step(sessions, [seen] * 8))
        return not all(np.allclose(first, other, atol=1e-6) for other in others)

    assert not policy.samples
    assert not differ()
    policy.action_head.decode = drawing
    assert policy.samples
    assert differ()


def test_a_mixture_learns_motions_beside_elements_that_never_vary() -> None:
    """Rotations that are always 0, and a gripper, as in demonstrations; a low bound of the deviations fails here."""
    head = make("gaussian_mixture", contract=CONTRACT, decode="mode", width=32, gripper_weight=0.1)
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(DIM, 3, generator=generator) / 4

    def batch(pairs: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
        readout = torch.randn(pairs, CHUNK, DIM, generator=generator)
        actions = torch.zeros(pairs, CHUNK, CONTRACT.action_size)
        actions[..., :3], actions[..., -1] = torch.tanh(readout @ mix), readout[..., 0].sign()
        return readout, actions

    train(head, batch, 300, rate=2e-3, max_grad_norm=1.0)
    readout, actions = batch(500)
    with torch.no_grad():
        errors = (head(readout) - actions).abs().mean(dim=(0, 1))
    assert errors[:3].mean() < 0.09
    assert errors[3:6].max() < 0.05


@pytest.mark.parametrize("mixture", ["action", "chunk"])
def test_actions_of_a_chunk_share_their_mode_or_do_not(mixture: str) -> None:
    head = make("gaussian_mixture", mixture=mixture, modes=2, decode="low_noise")
    noise = torch.randn(500, *head.noise_shape)
    with torch.no_grad():
        together = {tuple(chunk) for chunk in head.sample(torch.ones(500, CHUNK, DIM), noise)[..., 0].tolist()}
    assert len(together) == {"action": 4, "chunk": 2}[mixture]


def test_a_mixture_of_one_is_a_normal_distribution() -> None:
    head = make("gaussian_mixture", modes=1, gripper_weight=0.5, decode="sample")
    readout, noise = torch.randn(1, 1, CHUNK, DIM), torch.randn(1, 1, *head.noise_shape)
    with torch.no_grad():
        low = make("gaussian_mixture", modes=1, decode="low_noise")
        low.load_state_dict(head.state_dict())
        mean = low.sample(readout, noise)
        std = (head.sample(readout, noise) - mean) / noise[..., 1:]
        target = torch.randn_like(mean)
        term = head.loss(readout, {"actions": target}, torch.tensor([[[True, False]]]))
    density = torch.distributions.Normal(mean[0, 0, 0], std[0, 0, 0]).log_prob(target[0, 0, 0])
    expected = -(density[:3].sum() + 0.5 * density[3])
    assert term["negative_log_likelihood"].item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize(("spacing", "limit"), [("uniform", 1.0), ("uniform", 2.0), ("quantile", 1.0)])
def test_bins_cover_the_range(spacing: str, limit: float) -> None:
    head = make("discrete_bins", bins=100, spacing=spacing, limit=limit)
    values = torch.randn(10_000) if spacing == "quantile" else (torch.rand(10_000) * 2 - 1) * limit
    labels = torch.bucketize(values, head.edges)
    counts = torch.bincount(labels, minlength=100)
    assert counts.min() > 50
    assert counts.max() < 170
    assert (head.centres[labels] - values).abs().median() < 0.02 * limit
    assert torch.bucketize(torch.tensor([-9.0, 9.0]), head.edges).tolist() == [0, 99]


@pytest.mark.parametrize("name", ["flow_matching", "diffusion", "cvae"])
def test_actions_behind_an_episode_s_end_are_not_read(name: str) -> None:
    head = make(name, **SMALL)
    train(head, both_ways, 3)  # its blocks are the identity at first
    readout, actions = torch.randn(2, 1, CHUNK, DIM), torch.rand(2, 1, CHUNK, FLAT.action_size)
    other = actions.clone()
    other[:, :, 1] += 5

    def terms(of: torch.Tensor, second: bool) -> list[float]:
        torch.manual_seed(3)
        with torch.no_grad():
            found = head.loss(readout, {"actions": of}, torch.tensor([True, second]).expand(2, 1, 2))
        return [value.item() for value in found.values()]

    assert terms(actions, False) == pytest.approx(terms(other, False), rel=1e-5)
    assert terms(actions, True) != pytest.approx(terms(other, True), rel=1e-2)


@pytest.mark.parametrize("name", ["flow_matching", "flow_matching_expert", "diffusion", "discrete_bins", "cvae"])
@pytest.mark.parametrize("element", [0, 1])
def test_terms_are_those_of_the_contract(name: str, element: int) -> None:
    head = make(name, contract=replace(FLAT, action=(FLAT.action[element],)), gripper_weight=0.5)
    assert {term: head.weights[term] for term in head.weights if term != "kl"} == [{"motion": 1.0}, {"gripper": 0.5}][
        element
    ]


@pytest.mark.parametrize("name", HEADS)
def test_a_readout_that_is_not_a_number_gives_such_a_loss(name: str) -> None:
    head = make(name, **{k: v for k, v in HEADS[name].items() if k != "chunk"})
    target = {"actions": torch.zeros(1, 1, CHUNK, FLAT.action_size)}
    if isinstance(head, IterativeActionHead):
        target |= head.training_tokens(target)[1]
    terms = head.loss(torch.full((1, 1, CHUNK, DIM), torch.nan), target, torch.ones(1, 1, CHUNK, dtype=torch.bool))
    assert all(terms[term].isnan() for term in head.weights)


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_a_perfect_denoiser_ends_at_the_actions(prediction: str) -> None:
    head = make("diffusion", prediction=prediction, steps=5, diffusion_steps=50, clip=None, **SMALL)
    actions = torch.rand(3, 1, CHUNK, FLAT.action_size) * 2 - 1
    kept = head.forward_process.alphas_cumprod

    class Denoiser(torch.nn.Module):
        def forward(self, noisy: torch.Tensor, times: torch.Tensor, *_: Any) -> torch.Tensor:
            share = kept[(times * 50).round().long()][..., None, None]
            return actions if prediction == "sample" else (noisy - share.sqrt() * actions) / (1 - share).sqrt()

    head.denoise = Denoiser()
    sampled = head.sample(torch.zeros(3, CHUNK, DIM), torch.randn(3, CHUNK, FLAT.action_size))
    torch.testing.assert_close(sampled, actions[:, 0], atol=1e-2, rtol=0)


def test_a_perfect_velocity_ends_at_the_actions_in_one_step() -> None:
    head = make("flow_matching", steps=1, **SMALL)
    actions = torch.rand(3, 1, CHUNK, FLAT.action_size)

    class Velocity(torch.nn.Module):
        def forward(self, noisy: torch.Tensor, times: torch.Tensor, *_: Any) -> torch.Tensor:
            return (actions - noisy) / (1 - times)[..., None, None]

    head.velocity = Velocity()
    for head.steps in (1, 4):
        sampled = head.sample(torch.zeros(3, CHUNK, DIM), torch.randn(3, CHUNK, FLAT.action_size))
        torch.testing.assert_close(sampled, actions[:, 0])


def test_times_of_training_are_early_as_in_pi0() -> None:
    from forehand_plugins.action_heads.rectified_flow import TIMES

    uniform = (torch.arange(100_000) + 0.5) / 100_000
    times = TIMES["beta"](uniform)
    assert times.min() >= 0
    assert times.max() < 0.999
    assert times.mean().item() == pytest.approx(0.999 * (1 - 0.6), abs=1e-3)  # 0.6: the mean of Beta(1.5, 1)
    assert (times < 0.999 * 0.5).float().mean().item() == pytest.approx(1 - 0.5**1.5, abs=1e-3)
    assert torch.equal(TIMES["uniform"](uniform), uniform)


def configuration(name: str) -> dict[str, Any]:
    return {
        "name": "composed",
        "dim": 32,
        "history": 3,
        "image_size": 32,
        "encoders": {"text": {"name": "ngram_text"}, "state": {"name": "state_mlp"}},
        "backbone": {"name": "transformer", "layers": 1, "heads": 2, "dropout": 0.0},
        "action_head": {"name": name, "chunk": CHUNK, **HEADS[name]},
        "reads": READS,
        "normalization": {"state": "none", "action": "none"},
    }


@pytest.mark.parametrize("name", HEADS)
def test_a_policy_with_it_conforms_and_is_stored(name: str, tmp_path: Path) -> None:
    config = configuration(name)
    torch.manual_seed(0)
    policy = build_policy(config, CONTRACT, {}).eval()
    assert policy.samples == bool(policy.action_head.noise_shape)
    assert_policy_conforms(lambda: policy)

    save_policy(tmp_path / "checkpoint", policy, config, {}, {})
    loaded = load_policy(tmp_path / "checkpoint")
    seen = example.observation(CONTRACT, np.random.default_rng(0), 0.0)
    first, second = (p.step([p.open("lift the red block", 5)], [seen])[0].actions for p in (policy, loaded))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_of_a_policy_learns(name: str) -> None:
    policy = build_policy(configuration(name), CONTRACT, {}).train()
    observation = {"state": torch.randn(2, 3, CONTRACT.state_size), "instruction": ["lift", "push"]}
    target = {
        "actions": torch.rand(2, 3, CHUNK, CONTRACT.action_size) * 2 - 1,
        "valid": torch.ones(2, 3, dtype=torch.bool),
        "actions_valid": torch.ones(2, 3, CHUNK, dtype=torch.bool),
    }
    loss, terms = policy({"observation": observation, "target": target})
    loss.backward()
    assert set(policy.action_head.weights) == set(terms)
    assert [n for n, p in policy.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("flow_matching", {"steps": 0}, "flow_matching: steps must be a whole number, at least 1, not 0"),
        ("flow_matching", {"times": "late"}, "flow_matching: unknown times 'late'"),
        ("flow_matching", {"width": 30}, "width 30 .* divisible by heads 4"),
        ("flow_matching_expert", {"chunk": 0}, "flow_matching_expert: chunk must be"),
        ("flow_matching_expert", {"width": 7}, "even width, not 7"),
        ("diffusion", {"prediction": "noise"}, "diffusion: unknown prediction 'noise'"),
        ("diffusion", {"steps": 200}, r"steps \(200\) must be at most diffusion_steps \(100\)"),
        ("diffusion", {"clip": 0.0}, "diffusion: clip must be a positive number"),
        ("gaussian_mixture", {"mixture": "episode"}, "gaussian_mixture: unknown mixture 'episode'"),
        ("gaussian_mixture", {"min_std": 0.0}, "gaussian_mixture: min_std must be a positive number"),
        ("gaussian_mixture", {"decode": "mean"}, "gaussian_mixture: unknown decode 'mean'"),
        ("discrete_bins", {"bins": 1}, "discrete_bins: bins must be a whole number, at least 2"),
        ("discrete_bins", {"spacing": "log"}, "discrete_bins: unknown spacing 'log'"),
        ("cvae", {"width": 30}, "cvae: width 30 is not divisible by heads 4"),
        ("cvae", {"kl_weight": -1.0}, "cvae: kl_weight must be 0 or a positive number"),
    ],
)
def test_what_cannot_be_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(name, **options)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "diffusers"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(
        ConfigurationError, match=r"diffusers, which is not installed: pip install 'forehand\[diffusion\]'"
    ):
        make("diffusion")
