"""Every stock backbone, composed with the stock encoders, world model and head, learns, streams, is saved and loaded."""

import copy
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from forehand import registry
from forehand.compose.parts import Backbone, StreamingBackbone
from forehand.conformance.example import CONTRACT
from forehand.conformance.example import observation as observe
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import build_policy, load_policy, save_policy, step_folder
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer
from forehand.registry import LIMIT_VARIABLE
from forehand.utils.images import resize

QWEN = {
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 8,
}
LLAMA = QWEN | {"model_type": "llama", "hidden_size": 48}
MAMBA = {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 8}
LORA = {"r": 4, "alpha": 8, "targets": ["q_proj", "v_proj"]}

BACKBONES = {
    "transformer": {"name": "transformer", "layers": 2, "dropout": 0.0},
    "causal_transformer": {"name": "causal_transformer", "layers": 2, "kv_heads": 2, "dropout": 0.0},
    "encoder_decoder": {"name": "encoder_decoder", "layers": 1, "decoder_layers": 2, "dropout": 0.0},
    "qwen2": {"name": "huggingface", "config": QWEN},
    "llama": {"name": "huggingface", "config": LLAMA},
    "qwen2 with LoRA": {"name": "huggingface", "config": QWEN, "lora": LORA},
}
READS = {
    "direct": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "queries read each other": {
        "observation": {"observation": "same"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past", "foresight": "same", "action": "same"},
    },
    "queries read earlier ones": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past", "foresight": "past"},
        "action": {"observation": "same", "action": "past"},
    },
}
CONFIG = {
    "name": "composed",
    "dim": 32,
    "history": 3,
    "image_size": 32,
    "encoders": {
        "text": {"name": "ngram_text"},
        "state": {"name": "state_mlp"},
        "cameras": {"name": "keypoints", "cameras": ["static", "wrist"], "tokens": 1},
    },
    "world_model": None,
    "action_head": {"name": "chunk_regression", "chunk": 2},
    "normalization": {"state": "none", "action": "none"},
}
FORESIGHT = {"name": "appearance_flow", "cameras": ["static"], "horizon": 1, "queries": 2, "width": 8, "grid": 4}
SENTENCES = ["lift the red block", "push the green block", "stack the blue block", "open the drawer"]


def make_policy(backbone, reads="direct", **changes):
    world_model = None if reads == "direct" else FORESIGHT
    config = {**CONFIG, "world_model": world_model, "backbone": backbone, "reads": READS[reads], **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_policy(copy.deepcopy(config), CONTRACT, {}), config


def make_backbone(name, dim=32, history=4, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {"contract": CONTRACT, "dim": dim, "image_size": 32, "history": history}
        return registry().create("backbone", name, **given, **options).eval()


def windows(count, steps):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.rand(count, steps, *shape, generator=generator)

    return {
        "observation": {
            "images.static": (255 * draw(32, 32, 3)).byte(),
            "images.wrist": (255 * draw(32, 32, 3)).byte(),
            "state": draw(CONTRACT.state_size),
            "instruction": [SENTENCES[i % len(SENTENCES)] for i in range(count)],
        },
        "target": {
            "actions": draw(2, CONTRACT.action_size) * 2 - 1,
            "valid": torch.ones(count, steps, dtype=torch.bool),
            "actions_valid": torch.ones(count, steps, 2, dtype=torch.bool),
        },
    }


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_a_policy_learns_eight_windows_by_heart_and_is_loaded_as_it_was_saved(backbone, tmp_path):
    encoders = {**CONFIG["encoders"], "cameras": {"name": "keypoints", "cameras": ["wrist"], "tokens": 1}}
    policy, config = make_policy(backbone, history=1, encoders=encoders)
    batch = windows(8, 1)
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=6e-3, weight_decay=0.0)
    first = policy.train()(batch)[0].item()
    for _ in range(80):
        optimizer.zero_grad()
        loss = policy(batch)[0]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    assert loss.item() < 0.3 * first

    save_policy(tmp_path / "saved", policy.eval(), config, {}, {})
    loaded = load_policy(tmp_path / "saved")
    assert all(torch.equal(tensor, policy.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    with torch.no_grad():
        expected, found = (p.readouts(batch["observation"])["action"] for p in (policy, loaded))
    assert torch.equal(expected, found)


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_sessions_of_any_age_compute_what_whole_windows_do(backbone, reads):
    policy, _ = make_policy(backbone, reads)
    policy.eval()
    assert isinstance(policy.backbone, StreamingBackbone)
    generator = np.random.default_rng(0)
    sessions, seen = [policy.open(text) for text in SENTENCES[:2]], [[], []]
    for step in range(5):
        here = [i for i in (0, 1) if i == 0 or step != 1]  # the second session is a step younger
        for i in here:
            seen[i].append(observe(CONTRACT, generator, 0.0))
        forecast = reads != "direct" and step != 2
        answers = policy.step([sessions[i] for i in here], [seen[i][-1] for i in here], forecast=forecast)
        for i, answer in zip(here, answers, strict=True):
            frames = seen[i][-policy.history :]
            observation = {
                f"images.{c}": torch.from_numpy(resize(np.stack([o.images[c] for o in frames]), 32))[None]
                for c in policy.cameras
            }
            observation |= {"state": torch.from_numpy(np.stack([o.state for o in frames]))[None]}
            with torch.no_grad():
                readout = policy.readouts({**observation, "instruction": [SENTENCES[i]]})["action"][:, -1]
                expected = policy.action_head(readout)[0]
            torch.testing.assert_close(torch.from_numpy(answer.actions), expected, rtol=1e-5, atol=1e-5)


class WithoutCache(Backbone):
    """A backbone that runs whole sequences, by one that could do better."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.takes_queries = inner, inner.takes_queries

    def forward(self, tokens, timesteps, mask, **queries):
        return self.inner(tokens, timesteps, mask, **queries)


@pytest.fixture
def example(monkeypatch):
    """Names of an encoder whose tokens stand once an episode, and of an action head that reads several times."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "data/parts"))
    monkeypatch.setenv(LIMIT_VARIABLE, "stock")
    parts = importlib.import_module("example_parts")
    registry.cache_clear()
    registry().add("encoder", "test/words", parts.Words, "words")
    registry().add("action_head", "test/denoised", parts.Denoised, "noise that moves towards the actions")
    yield "test/words", "test/denoised"
    registry.cache_clear()


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_words_of_the_episode_and_passes_of_a_head_are_cached_exactly(backbone, example):
    words, head = example
    changes = {"encoders": {**CONFIG["encoders"], "text": {"name": words}}, "action_head": {"name": head}}
    cached, whole = (make_policy(backbone, "queries read each other", **changes)[0].eval() for _ in range(2))
    whole.backbone = WithoutCache(whole.backbone)
    generator = np.random.default_rng(0)
    seeds = zip(SENTENCES[:2], (1, 2), strict=True)
    both = [[policy.open(text, seed) for policy in (cached, whole)] for text, seed in seeds]
    for step in range(5):
        here = both[: 1 if step == 1 else 2]
        seen = [observe(CONTRACT, generator, 0.0) for _ in here]
        ours, theirs = (p.step(list(s), seen) for p, s in zip((cached, whole), zip(*here, strict=True), strict=True))
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine.actions, other.actions, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_an_output_depends_on_what_the_mask_lets_through_and_on_nothing_else(backbone):
    options = dict(backbone)
    part = make_backbone(options.pop("name"), **options)
    generator = torch.Generator().manual_seed(2)
    length, queries = 9, torch.tensor([0, 0, 1, 0, 0, 1, 1, 0, 1]).bool()
    mask = (torch.rand(3, length, length, generator=generator) < 0.25) | torch.eye(length).bool()
    extra = {}
    if part.takes_queries:
        mask &= queries[:, None] | ~queries
        extra = {"queries": queries}
    timesteps = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    tokens = torch.randn(3, length, 32, generator=generator)
    reaches = mask.float()
    for _ in range(4):
        reaches = ((reaches @ reaches) > 0).float()
    hidden = 0
    with torch.no_grad():
        before = part(tokens, timesteps, mask, **extra)
        for changed in range(length):
            other = tokens.clone()
            other[:, changed] += 1 + torch.arange(32) % 3
            moved = (part(other, timesteps, mask, **extra) - before).abs().amax(dim=-1)  # (row, reader)
            assert (moved[reaches[:, :, changed] == 0] < 1e-6).all()
            assert (moved[mask[:, :, changed]] > 1e-6).all()
            hidden += int((reaches[:, :, changed] == 0).sum())
    assert hidden > 20


# ---- causal_transformer -----------------------------------------------------------------------------------------------


def test_the_causal_transformer_sees_differences_of_timesteps_alone():
    part = make_backbone("causal_transformer")
    tokens, mask = torch.randn(2, 4, 32), torch.ones(4, 4, dtype=torch.bool)
    with torch.no_grad():
        out = [part(tokens, torch.tensor(t), mask) for t in ([0, 0, 1, 1], [5, 5, 6, 6], [0, 0, 2, 2])]
    torch.testing.assert_close(out[0], out[1], rtol=1e-5, atol=1e-5)
    assert (out[0] - out[2]).abs().max() > 1e-3


def test_shared_keys_and_values_make_the_cache_smaller():
    widths = {k: make_backbone("causal_transformer", layers=2, heads=4, kv_heads=k).cache_width for k in (4, 2, 1)}
    assert widths == {4: 128, 2: 64, 1: 32}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("causal_transformer", {"heads": 3}, "dim 32 must be an even number for each of the heads"),
        ("causal_transformer", {"heads": 32}, "dim 32 must be an even number for each of the heads"),
        ("causal_transformer", {"heads": 4, "kv_heads": 3}, "kv_heads 3 does not divide heads 4"),
        ("encoder_decoder", {"heads": 3}, "dim 32 is not divisible by heads 3"),
        ("encoder_decoder", {"decoder_layers": 0}, "decoder_layers must be a whole number, at least 1, not 0"),
        ("encoder_decoder", {"layers": "3"}, "encoder_decoder': layers must be a whole number, not '3'"),
        ("causal_transformer", {"layers": 0}, "causal_transformer: layers must be a whole number, at least 1, not 0"),
        ("causal_transformer", {"kv_heads": 0}, "causal_transformer: kv_heads must be a whole number, at least 1"),
        ("causal_transformer", {"rope_theta": -1.0}, "rope_theta must be a positive number"),
    ],
)
def test_heads_and_layers_that_do_not_fit_are_refused(name, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make_backbone(name, **options)


# ---- encoder_decoder --------------------------------------------------------------------------------------------------


def test_the_decoder_computes_the_queries_that_no_other_group_reads():
    counts = {}
    for reads in READS:
        policy, _ = make_policy(BACKBONES["encoder_decoder"], reads)
        decoded = []
        policy.backbone.decoder_norm.register_forward_pre_hook(lambda _, given, to=decoded: to.append(given[0].shape[1]))
        with torch.no_grad():
            policy.readouts(windows(1, 3)["observation"])
        action = policy.action_head.group.count
        counts[reads] = [count / 3 - action for count in decoded]
    foresight = FORESIGHT["queries"]
    assert counts == {"direct": [0], "queries read each other": [0], "queries read earlier ones": [foresight]}


def test_queries_that_may_read_nothing_are_what_they_were_but_for_their_norm():
    part = make_backbone("encoder_decoder", layers=1)
    tokens, mask = torch.randn(1, 3, 32), torch.eye(3, dtype=torch.bool)
    mask[2, 2] = False
    queries = torch.tensor([False, False, True])
    with torch.no_grad():
        out = part(tokens, torch.zeros(3, dtype=torch.long), mask, queries=queries)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("queries", [[True] * 2, [False] * 2])
def test_new_tokens_may_be_queries_alone_or_observations_alone(queries):
    part = make_backbone("encoder_decoder", layers=1)
    tokens, kinds = torch.randn(2, 4, 32), torch.tensor([False, False, *queries])
    mask = torch.ones(4, 4, dtype=torch.bool).tril() & (kinds[:, None] | ~kinds)
    timesteps = torch.tensor([0, 0, 1, 1])
    with torch.no_grad():
        whole = part(tokens, timesteps, mask, queries=kinds)
        start = tokens[:, :2], timesteps[:2], mask[:2, :2], torch.arange(2)
        _, past = part.forward_cached(*start, tokens.new_empty(2, 0, part.cache_width), queries=kinds[:2])
        rest = tokens[:, 2:], timesteps[2:], mask[2:], torch.arange(2)
        out, _ = part.forward_cached(*rest, past, queries=kinds[2:])
    torch.testing.assert_close(out, whole[:, 2:], rtol=1e-5, atol=1e-5)


# ---- huggingface ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder with a tiny language model of random weights, as the library writes it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**QWEN))
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model", model.eval()


@pytest.mark.parametrize("lora", [None, LORA])
def test_pretrained_weights_compute_what_the_library_computes(folder, lora):
    path, model = folder
    part = make_backbone("huggingface", weights=str(path), lora=lora)
    tokens, timesteps = torch.randn(2, 4, 32), torch.arange(4)
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    with torch.no_grad():
        part.timestep_embedding.zero_()
        expected = model.model(inputs_embeds=tokens).last_hidden_state
        assert not torch.allclose(part(tokens, timesteps, mask), expected, atol=1e-3)
        part.load_pretrained()
        torch.testing.assert_close(part(tokens, timesteps, mask), expected, rtol=1e-5, atol=1e-5)


def test_the_embeddings_of_words_take_no_memory():
    part = make_backbone("huggingface", config=QWEN | {"vocab_size": 10**9})
    assert sum(p.numel() for p in part.parameters()) < 10**5


def test_pretrained_weights_of_another_shape_are_refused(folder):
    part = make_backbone("huggingface", config=QWEN | {"intermediate_size": 48}, weights=str(folder[0]))
    with pytest.raises(CheckpointError, match=r"does not fit the model.*\n.*of another shape: layers\.0\.mlp"):
        part.load_pretrained()


def test_weights_of_a_model_that_computes_otherwise_are_refused(folder):
    part = make_backbone("huggingface", config=QWEN | {"rms_norm_eps": 1e-3}, weights=str(folder[0]))
    with pytest.raises(CheckpointError, match=r"differs from the configuration.*\n  - rms_norm_eps: 0.001, but 1e-06$"):
        part.load_pretrained()


def test_a_checkpoint_has_no_need_of_the_folder_with_the_weights(folder, tmp_path):
    path, _ = folder
    policy, config = make_policy({"name": "huggingface", "weights": str(path), "lora": LORA}, history=1)
    policy.load_pretrained()
    recipe = Recipe(steps=1, batch_size=2, learning_rate=1e-3, seed=0)
    facts = {"config": config, "statistics": {}, "facts": {}}
    trainer = Trainer(policy, lambda number: windows(2, 1), recipe, tmp_path, **facts)
    trainer.run(lambda entry: None)
    resumed = Trainer(policy, lambda number: windows(2, 1), recipe, tmp_path, **facts)
    resumed.resume(step_folder(tmp_path, 1))
    path.rename(tmp_path / "elsewhere")
    loaded = load_policy(tmp_path)
    observation = windows(2, 1)["observation"]
    with torch.no_grad():
        expected, found = (p.eval().readouts(observation)["action"] for p in (policy, loaded))
    assert torch.equal(expected, found)


def test_lora_trains_its_adapters_and_what_is_around_the_model():
    part = make_backbone("huggingface", dim=48, config=QWEN, lora=LORA)
    trained = {name for name, parameter in part.named_parameters() if parameter.requires_grad}
    around = {"timestep_embedding", "project_in.weight", "project_in.bias", "project_out.weight", "project_out.bias"}
    adapters = {name for name in trained if ".lora_" in name}
    assert trained == around | adapters
    assert len(adapters) == 2 * 2 * 2  # A and B of queries and values in two layers
    everywhere = make_backbone("huggingface", config=QWEN, lora={})
    assert sum(".lora_" in name for name, _ in everywhere.named_parameters()) == 2 * 2 * 7


def test_a_frozen_model_stays_as_it_is():
    part = make_backbone("huggingface", config=QWEN | {"attention_dropout": 0.5}, freeze=True).train()
    assert not part.model.training
    assert {name for name, p in part.named_parameters() if p.requires_grad} == {"timestep_embedding"}


def test_bfloat16_weights_are_half_as_large_and_adapters_are_float32():
    part = make_backbone("huggingface", config=QWEN, lora=LORA, dtype="bfloat16")
    kinds = {(".lora_" in name, p.dtype) for name, p in part.model.named_parameters()}
    assert kinds == {(False, torch.bfloat16), (True, torch.float32)}
    tokens, mask = torch.randn(1, 3, 32), torch.ones(3, 3, dtype=torch.bool)
    with torch.no_grad():
        rough = part(tokens, torch.arange(3), mask)
        assert rough.dtype == torch.float32
        exact = make_backbone("huggingface", config=QWEN, lora=LORA)
        exact.load_state_dict(part.state_dict())
        torch.testing.assert_close(rough, exact(tokens, torch.arange(3), mask), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "which model"),
        ({"config": {"hidden_size": 32}}, "It lacks model_type"),
        ({"config": {"model_type": "qwen2x"}}, "describes no model of the transformers library"),
        ({"weights": "no/such/folder"}, "no model's configuration could be read from 'no/such/folder'"),
        ({"config": QWEN, "dtype": "half"}, "dtype must be float32 or bfloat16, not 'half'"),
        ({"config": QWEN, "lora": {"rank": 4}}, "lora has no option 'rank'"),
        ({"config": QWEN, "lora": {"targets": ["nowhere"]}}, r"cannot be applied.*among \['down_proj', 'gate_proj'"),
        ({"config": MAMBA}, "a model of type 'mamba' cannot be built"),
    ],
)
def test_models_that_cannot_be_a_backbone_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        make_backbone("huggingface", **options)


@pytest.mark.parametrize(("library", "extra"), [("transformers", "transformers"), ("peft", "peft")])
def test_a_missing_library_is_named_with_its_extra(library, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'forehand\[{extra}\]'"):
        make_backbone("huggingface", config=QWEN, lora=LORA)
