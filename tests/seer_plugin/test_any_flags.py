"""Any flags compute what the paper says: compared with Seer written down a second time, from released weights alone."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from forehand.learning.checkpoint import build_policy
from forehand_seer.contracts import PLATFORMS
from forehand_seer.released import configuration, predict, stream

HEADS, TOWER_HEADS, DECODER_HEADS, RESAMPLER_HEADS = 4, 2, 16, 8
SMALL = {"hidden_dim": 64, "transformer_heads": HEADS, "transformer_layers": 2, "num_resampler_query": 2}
SMALL |= {"num_obs_token_per_image": 4, "sequence_length": 5}
IMAGE, PATCH = 64, 16

PRETRAINING = {"atten_goal": 2, "atten_goal_state": True, "atten_only_obs": True}
COMBINATIONS = {
    "fine-tuning": {},
    "finger widths": {"gripper_width": True},
    "without foresight": {"obs_pred": False},
    "pre-training": PRETRAINING,
    "pre-training, Large": {**PRETRAINING, "attn_robot_proprio_state": True, "num_obs_token_per_image": 16},
    "pre-training without foresight": {"atten_only_obs": True, "obs_pred": False},
    "a goal, and actions that see all": {"atten_goal": 1, "atten_goal_state": True},
    "a goal beyond the window": {**PRETRAINING, "atten_goal": 9},
    "one action, one query, one frame": {
        "action_pred_steps": 1,
        "num_resampler_query": 1,
        "num_obs_token_per_image": 1,
        "sequence_length": 1,
    },
    "longer chunks": {"action_pred_steps": 7, "future_steps": 5, "transformer_layers": 1},
}


class Plain:
    """Seer as a function of its released weights, over a whole window of one."""

    def __init__(self, weights, flags):
        self.w, self.flags = weights, flags

    def linear(self, x, name):
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, x, name, eps=1e-5):
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps)

    def count(self, template):
        return next(n for n in itertools.count() if template.format(n) not in self.w)

    @staticmethod
    def attend(q, k, v, heads, mask=None):
        """(L, heads·d) each; one head after another."""
        out = []
        for one_q, one_k, one_v in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
            scores = one_q @ one_k.T / math.sqrt(one_q.shape[-1])
            out.append((scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1) @ one_v)
        return torch.cat(out, -1)

    def vit_block(self, x, name, heads, eps):
        q, k, v = self.linear(self.norm(x, f"{name}.norm1", eps), f"{name}.attn.qkv").chunk(3, -1)
        x = x + self.linear(self.attend(q, k, v, heads), f"{name}.attn.proj")
        return x + self.linear(
            F.gelu(self.linear(self.norm(x, f"{name}.norm2", eps), f"{name}.mlp.fc1")), f"{name}.mlp.fc2"
        )

    def look(self, image):
        """(3, H, W) → patches (P, W) and the class token (W)."""
        patches = F.conv2d(image[None], self.w["vision_encoder.patch_embed.proj.weight"], stride=PATCH)[0]
        patches = patches.flatten(1).T + self.w["vision_encoder.patch_embed.proj.bias"]
        x = torch.cat([self.w["vision_encoder.cls_token"][0], patches]) + self.w["vision_encoder.pos_embed"][0]
        for n in range(self.count("vision_encoder.blocks.{}.norm1.weight")):
            x = self.vit_block(x, f"vision_encoder.blocks.{n}", TOWER_HEADS, 1e-6)
        x = self.norm(x, "vision_encoder.norm", 1e-6)
        return x[1:], x[0]

    def resample(self, patches):
        latents = self.w["perceiver_resampler.latents"]
        for n in range(3):
            name = f"perceiver_resampler.layers.{n}"
            normed = self.norm(latents, f"{name}.0.norm_latents")
            read = torch.cat([self.norm(patches, f"{name}.0.norm_media"), normed])
            k, v = self.linear(read, f"{name}.0.to_kv").chunk(2, -1)
            q = self.linear(normed, f"{name}.0.to_q")
            latents = latents + self.linear(self.attend(q, k, v, RESAMPLER_HEADS), f"{name}.0.to_out")
            hidden = F.gelu(self.linear(self.norm(latents, f"{name}.1.0"), f"{name}.1.1"))
            latents = latents + self.linear(hidden, f"{name}.1.3")
        return self.norm(latents, "perceiver_resampler.norm")

    def tokens(self, primary, wrist, state, text):
        """The tokens of one timestep, with the group of each."""
        gripper = state[6:]
        if not self.flags.get("gripper_width"):
            gripper = torch.tensor([1.0, 0.0] if gripper < 1 else [0.0, 1.0])
        pose = [self.linear(state[:6], "arm_state_encoder"), self.linear(gripper, "gripper_state_encoder")]
        seen = {camera: self.look(image) for camera, image in (("primary", primary), ("wrist", wrist))}
        groups = [
            ("text", self.linear(text, "text_projector")[None]),
            ("state", self.linear(torch.cat(pose), "state_projector")[None]),
            *(("image", self.linear(self.resample(p), f"image_{c}_projector")) for c, (p, _) in seen.items()),
            *(("image", self.linear(whole, f"cls_token_{c}_projector")[None]) for c, (_, whole) in seen.items()),
            *([("foresight", self.w["obs_tokens"][0, 0])] if self.flags.get("obs_pred", True) else []),
            ("action", self.w["action_pred_token"][0, 0]),
        ]
        return [(name, token) for name, several in groups for token in several]

    def may_read(self, reader, t, read, s):
        if read == "action":
            return False
        if read == "foresight":
            return reader == "action" and s == t
        if reader == "action" and self.flags.get("atten_only_obs"):
            return s == t and (read == "image" or (read == "state" and self.flags.get("attn_robot_proprio_state", False)))
        goal = self.flags.get("atten_goal", 0)
        return s <= t or (reader == "foresight" and read == "state" and goal > 0 and s == t + goal)

    def backbone(self, steps):
        places = [(name, t) for t, tokens in enumerate(steps) for name, _ in tokens]
        mask = torch.tensor([[self.may_read(a, t, b, s) for b, s in places] for a, t in places])
        embedding = self.w["transformer_backbone_position_embedding"][0, :, 0]
        x = torch.stack([token + embedding[t] for t, tokens in enumerate(steps) for _, token in tokens])
        x = self.norm(x, "embedding_layer_norm")
        for n in range(self.count("transformer_backbone.h.{}.ln_1.weight")):
            name = f"transformer_backbone.h.{n}"

            def conv(x, part, name=name):
                return x @ self.w[f"{name}.{part}.weight"] + self.w[f"{name}.{part}.bias"]

            q, k, v = conv(self.norm(x, f"{name}.ln_1"), "attn.c_attn").chunk(3, -1)
            x = x + conv(self.attend(q, k, v, HEADS, mask), "attn.c_proj")
            hidden = F.gelu(conv(self.norm(x, f"{name}.ln_2"), "mlp.c_fc"), approximate="tanh")
            x = x + conv(hidden, "mlp.c_proj")
        x = self.norm(x, "transformer_backbone.ln_f")
        length = len(steps[0])
        names = [name for name, _ in steps[0]]
        return [{g: one[[n == g for n in names]] for g in set(names)} for one in x.split(length)]

    def act(self, readout):
        hidden = F.relu(self.linear(F.relu(self.linear(readout, "action_decoder.0")), "action_decoder.2"))
        arm, gripper = (self.linear(hidden, f"{part}_action_decoder.0") for part in ("arm", "gripper"))
        return arm.tanh(), gripper.sigmoid()

    def paint(self, readout):
        """(F, D) → (P, pixels)."""
        dim = readout.shape[-1]
        seen = self.linear(readout, "image_decoder_obs_pred_projector") + grid(dim, math.isqrt(len(readout)))
        blank = self.w["mask_token"][0] + grid(dim, IMAGE // PATCH)
        x = torch.cat([seen, blank])
        for n in range(2):
            x = self.vit_block(x, f"image_decoder.{n}", DECODER_HEADS, 1e-5)
        return self.linear(self.norm(x[len(seen) :], "image_decoder_norm"), "image_decoder_pred")

    def __call__(self, image_primary, image_wrist, state, text_feature):
        frames = zip(image_primary[0], image_wrist[0], state[0], strict=True)
        read = self.backbone([self.tokens(*frame, text_feature[0]) for frame in frames])
        arm, gripper = (torch.stack(each)[None] for each in zip(*(self.act(r["action"]) for r in read), strict=True))
        foresight = None
        if "foresight" in read[0]:
            painted = [torch.stack([self.paint(camera) for camera in r["foresight"].chunk(2)]) for r in read]
            foresight = torch.stack(painted)[None]
        return arm, gripper, foresight


def grid(dim, side):
    """The fixed embedding of each place, one number after another: column first, sines before cosines."""
    table = torch.empty(side * side, dim)
    for row, column, i in itertools.product(range(side), range(side), range(dim)):
        half, within = divmod(i, dim // 2)
        wave, frequency = divmod(within, dim // 4)
        angle = (column, row)[half] / 10000 ** (frequency / (dim // 4))
        table[row * side + column, i] = (math.sin, math.cos)[wave](angle)
    return table


@pytest.fixture
def small(seer):
    """Flags → a small policy, its released weights, and its inputs."""

    def make(**flags):
        flags = {**SMALL, **flags}
        config = configuration(**flags)
        config["image_size"] = IMAGE
        config["encoders"]["cameras"]["tower"] |= {"width": 64, "layers": 1, "heads": TOWER_HEADS, "patch": PATCH}
        config["encoders"]["text"]["tower"] = None
        width = flags.get("gripper_width", False)
        policy = build_policy(config, PLATFORMS["libero" if width else "calvin"](), {}).eval()
        weights = seer.generated(policy)
        seer.fill(policy)
        return policy, Plain(weights, flags), seer.inputs("flags", flags["sequence_length"], width, image_size=IMAGE)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_window(name, small):
    policy, plain, given = small(**COMBINATIONS[name])
    for ours, theirs in zip(predict(policy, **given), plain(**given), strict=True):
        if theirs is None:
            assert ours is None
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fine-tuning", "finger widths", "without foresight", "pre-training, Large"])
def test_frame_by_frame(name, small):
    """The window grows to three frames, then slides; chunks are averaged, the oldest weighing most."""
    policy, plain, _ = small(**COMBINATIONS[name], sequence_length=3)
    width = policy.contract.state[-1].size == 2
    given = small(**COMBINATIONS[name], sequence_length=6)[2]
    text, running, chunks = given.pop("text_feature"), stream(policy, ensemble=True), []
    assert width == bool(COMBINATIONS[name].get("gripper_width"))
    for t in range(6):
        seen = {key: values[:, max(0, t - 2) : t + 1] for key, values in given.items()}
        arm, gripper, _ = plain(**seen, text_feature=text)
        chunks.append(torch.cat([arm[0, -1], gripper[0, -1]], dim=-1))
        chunk, action = running.step(**{key: values[:, t] for key, values in given.items()}, text_feature=text)
        torch.testing.assert_close(chunk, chunks[-1], rtol=1e-5, atol=1e-5)

        about_now = torch.stack([chunks[s][t - s] for s in range(max(0, t - 2), t + 1)])
        weights = torch.exp(-0.01 * torch.arange(len(about_now)))[:, None]
        mean = (weights * about_now).sum(0) / weights.sum()
        torch.testing.assert_close(action[:6], mean[:6], rtol=1e-5, atol=1e-5)
        assert action[6] == (1 if mean[6] > 0.5 else -1)
