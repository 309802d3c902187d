"""CLIP's text tower reads sentences, from OpenAI's file and from the hub's."""

import pytest
import torch
from safetensors.torch import save_file

from forehand import registry
from forehand.conformance.example import CONTRACT
from forehand.errors import CheckpointError, ConfigurationError
from forehand_seer.clip_tower import CLIPTextTower, tokenizer

SMALL = {"width": 32, "layers": 2, "heads": 4}
SENTENCES = ["lift the red block", "Push the sliding door to the left side!"]


def make(tower=None):
    torch.manual_seed(0)
    return registry().create("encoder", "seer/clip_text", contract=CONTRACT, dim=48, image_size=32, tower=tower)


@pytest.fixture
def tower():
    torch.manual_seed(1)
    return CLIPTextTower(**SMALL)


def hub_layout(weights):
    """OpenAI's names → those of the hub, as transformers' conversion script relates them."""
    found = {"text_projection.weight": weights["text_projection"].t().contiguous(), "logit_scale": torch.ones(())}
    found["text_model.embeddings.token_embedding.weight"] = weights["token_embedding.weight"]
    found["text_model.embeddings.position_embedding.weight"] = weights["positional_embedding"]
    found["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    for kind in ("weight", "bias"):
        found[f"text_model.final_layer_norm.{kind}"] = weights[f"ln_final.{kind}"]
        for n in range(SMALL["layers"]):
            ours, theirs = f"transformer.resblocks.{n}.", f"text_model.encoder.layers.{n}."
            for name, part in zip("qkv", weights[f"{ours}attn.in_proj_{kind}"].chunk(3), strict=True):
                found[f"{theirs}self_attn.{name}_proj.{kind}"] = part.clone()
            for mine, other in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ):
                found[f"{theirs}{other}.{kind}"] = weights[f"{ours}{mine}.{kind}"]
    return {**found, "vision_model.embeddings.class_embedding": torch.ones(4)}


# ---- what it computes ----------------------------------------------------------------------------------------------


def test_sentences_become_clips_tokens():
    # As CLIP's own tokenizer has them: 49406 begins, 49407 ends.
    assert tokenizer()(["a diagram", "a dog"])[:, :5].tolist() == [
        [49406, 320, 22697, 49407, 0],
        [49406, 320, 1929, 49407, 0],
    ]
    assert torch.equal(tokenizer()(["  Lift THE red\nblock "]), tokenizer()(["lift the red block"]))


@pytest.mark.slow
def test_agrees_with_openclips_transformer(tower):
    from open_clip.transformer import QuickGELU, TextTransformer

    theirs = TextTransformer(width=32, layers=2, heads=4, output_dim=512, act_layer=QuickGELU).eval()
    theirs.load_state_dict(tower.text.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(tower(SENTENCES), theirs(tokenizer()(SENTENCES)), rtol=1e-5, atol=1e-6)


def test_a_feature_does_not_depend_on_what_else_is_read(tower):
    together = tower(SENTENCES)
    other = CLIPTextTower(**SMALL)
    other.load_state_dict(tower.state_dict())
    torch.testing.assert_close(other(SENTENCES[1:]), together[1:])
    assert together.norm(dim=-1).sub(1).abs().min() > 0.01  # not normalized


def test_each_distinct_sentence_is_read_once(tower, monkeypatch):
    read = []
    transformer = tower.text.forward
    monkeypatch.setattr(tower.text, "forward", lambda tokens: read.append(len(tokens)) or transformer(tokens))
    features = tower([SENTENCES[0], SENTENCES[1], SENTENCES[0]])
    assert torch.equal(features[0], features[2])
    assert torch.equal(tower(SENTENCES), features[:2])
    assert read == [2]


def test_other_weights_read_anew(tower):
    before = tower(SENTENCES)
    holder = torch.nn.Sequential(tower)
    holder.load_state_dict({name: 2 * tensor for name, tensor in holder.state_dict().items()})
    assert not torch.allclose(tower(SENTENCES), before)


def test_the_tower_is_frozen_and_serves_sessions_and_training_alike():
    encoder = make(SMALL)
    with torch.inference_mode():
        encoder({"instruction": SENTENCES})
    encoder({"instruction": SENTENCES})["text"].sum().backward()
    assert {name for name, p in encoder.named_parameters() if p.grad is not None} == {"project.weight", "project.bias"}
    assert not any(p.requires_grad for p in encoder.tower.parameters())


def test_features_given_as_numbers_still_work():
    encoder = make(SMALL)
    features = encoder.tower(SENTENCES)
    for given in (features, list(features), list(features.numpy())):
        torch.testing.assert_close(encoder({"instruction": given}), encoder({"instruction": SENTENCES}))


def test_without_a_tower_sentences_are_refused():
    with pytest.raises(ConfigurationError, match=r"without CLIP's text tower.*512 numbers.*tower"):
        make()({"instruction": SENTENCES})


# ---- files ---------------------------------------------------------------------------------------------------------


class OpenAI(torch.nn.Module):
    """Laid out as OpenAI's CLIP: text weights at the top, images below ``visual``."""

    def __init__(self, text):
        super().__init__()
        for name, child in text.named_children():
            self.add_module(name, child)
        self.positional_embedding, self.text_projection = text.positional_embedding, text.text_projection
        self.visual = torch.nn.Linear(2, 2)
        self.logit_scale = torch.nn.Parameter(torch.ones([]))

    def forward(self, tokens):
        return self.ln_final(self.token_embedding(tokens)) @ self.text_projection


def openai_file(tower, path):
    """A TorchScript archive in half precision, as OpenAI's ``ViT-B-32.pt`` is one."""
    model = OpenAI(tower.text).half()
    torch.jit.trace(model.float(), torch.zeros(1, 77, dtype=torch.long)).half().save(str(path))


def hub_folder(tower, path):
    path.mkdir()
    save_file(hub_layout(tower.text.state_dict()), path / "model.safetensors")


def hub_pickle(tower, path):
    path.mkdir()
    torch.save(hub_layout(tower.text.state_dict()), path / "pytorch_model.bin")


@pytest.mark.parametrize("write", [openai_file, hub_folder, hub_pickle])
def test_both_layouts_give_the_same_tower(write, tower, tmp_path):
    with torch.no_grad():
        for weight in tower.text.parameters():
            weight.copy_(weight.half())  # what OpenAI's file can hold
    wanted = {name: tensor.clone() for name, tensor in tower.text.state_dict().items()}
    write(tower, tmp_path / "clip")
    filled = CLIPTextTower(weights=str(tmp_path / "clip"), **SMALL)
    filled.load_pretrained()
    assert {n: t.dtype for n, t in filled.text.state_dict().items()} == dict.fromkeys(wanted, torch.float32)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in filled.text.state_dict().items())


def test_weights_that_do_not_fit_are_named(tower, tmp_path):
    weights = hub_layout(tower.text.state_dict())
    del weights["text_model.encoder.layers.1.self_attn.k_proj.bias"]
    weights["text_model.final_layer_norm.bias"] = torch.zeros(33)
    save_file(weights, tmp_path / "clip.safetensors")
    with pytest.raises(CheckpointError) as raised:
        CLIPTextTower(weights=str(tmp_path / "clip.safetensors"), **SMALL).load_pretrained()
    assert "missing: transformer.resblocks.1.attn.in_proj_bias" in str(raised.value)
    assert "of another shape: ln_final.bias (found (33,), needed (32,))" in str(raised.value)


def test_an_empty_folder_and_a_missing_name_are_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        CLIPTextTower(weights=str(tmp_path), **SMALL).load_pretrained()
    with pytest.raises(CheckpointError, match="names no weights"):
        CLIPTextTower(**SMALL).load_pretrained()
