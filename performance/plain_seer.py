"""Seer written down plainly, with one of our policies' weights: what seer_latency.py and seer_training.py compare to.

Plain means what one writes first, from the paper: float32 throughout, but the tower in the precision that ours has (the
released training has it in bfloat16); every frame of the window goes through the vision tower and the resampler again at
every step; queries stand at every timestep; attention is written out (scores, plus a dense float mask, softmax, values)
in tower, resampler, backbone and decoder alike; the foresight of every timestep and both cameras is decoded at every
step. Linear maps, LayerNorms, GELUs, the action head and the losses are the same modules as ours, since there is nothing
plainer to be had; so are torch's matrix kernels. What is plain is therefore what is computed and through what memory, not
a slower way to multiply. Nor are gradients of the frozen tower computed.
In training, ``all_frames`` says whether the k frames behind the history, which are in the window as targets alone, are
encoded with it.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from forehand import Camera, Contract, Field
from forehand.compose import ComposedPolicy, Layout, read_mask
from forehand.compose.losses import composition_loss
from forehand_seer.targets import CLIP_MEAN, CLIP_STD

CONTRACT = Contract(
    cameras=(Camera("primary", 224, 224), Camera("wrist", 224, 224)),
    state=(Field("arm", 6), Field("gripper", 1, gripper="open")),
    action=(Field("arm", 6), Field("gripper", 1, gripper="open")),
    rate=30.0,
)


def make_policy(preset: str, overrides: list[str], device: str) -> ComposedPolicy:
    """A preset of Seer with random weights; a part for few words stands in for CLIP's text feature, made once anyway."""
    from hydra import compose, initialize_config_module  # here, since gpu.py does without them
    from omegaconf import open_dict

    from forehand.learning.checkpoint import build_policy

    with initialize_config_module("forehand_seer.conf", version_base=None):
        config = compose(overrides=[f"+policy={preset}", *overrides]).policy
    with open_dict(config):
        config.encoders.text = {"name": "ngram_text"}
    torch.manual_seed(0)
    policy: ComposedPolicy = build_policy(config, CONTRACT, {}).to(device)
    return policy


def require_device(device: str) -> None:
    """End with a message where there is no such device."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"--device {device}: torch finds no GPU here; leave the option out to measure the CPU.")


class Stopwatch:
    """Seconds by stage, added up; a GPU is waited for."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, defaultdict[str, float](float)

    def now(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = self.now()
        yield
        self.seconds[name] += self.now() - start


def watch_stages(policy: ComposedPolicy, watch: Stopwatch) -> None:
    """Time the parts of ``policy`` and its losses with the watch."""
    cameras: Any = policy.encoders["cameras"]
    backbone: Any = policy.backbone
    assert policy.action_head is not None
    parts = {
        "tower": (cameras.tower, cameras.tower),
        "resampler": (cameras.resample, cameras.resample),
        "backbone": (backbone.norm, backbone.ln_f),  # its first and its last module
        "heads": (policy.action_head, policy.action_head),
    }
    began: dict[str, float] = {}
    for name, (first, last) in parts.items():
        first.register_forward_pre_hook(lambda *_, name=name: began.update({name: watch.now()}))

        def end(*_: object, name: str = name) -> None:
            watch.seconds[name] += watch.now() - began[name]

        last.register_forward_hook(end)

    for part in policy.query_parts.values():

        def timed_loss(*given: Any, loss: Callable[..., Any] = part.loss) -> Any:
            with watch.stage("foresight and heads"):
                return loss(*given)

        part.loss = timed_loss  # type: ignore[method-assign]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """(N, heads, L, d) each, and a float mask to add → (N, L, heads·d)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    weights = F.dropout(scores.softmax(dim=-1), dropout)
    return (weights @ v).transpose(1, 2).flatten(2)


def by_head(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads·d) → (N, heads, L, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def vit_block(block: Any, x: Tensor) -> Tensor:
    q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    heads = block.attn.heads
    x = x + block.attn.proj(attend(by_head(q, heads), by_head(k, heads), by_head(v, heads)))
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))


class PlainSeer(nn.Module):
    """The same function as ``policy``, computed plainly."""

    def __init__(self, policy: ComposedPolicy, watch: Stopwatch) -> None:
        super().__init__()
        self.policy, self.watch = policy, watch
        self.all_frames = False
        assert policy.world_model is not None
        assert policy.action_head is not None
        self.foresight: Any = policy.world_model
        self.action: Any = policy.action_head

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of windows: every query, every decoding; with ``all_frames`` the last targets' tokens."""
        augment, horizon = self.policy.augmentations, self.foresight.horizon
        observation, target = augment(batch["observation"], batch["target"], (horizon,))
        beyond = [target[f"future.{c}"][:, -horizon:].flatten(0, 1) for c in augment.by_camera]
        read = self.readouts(observation, beyond if self.all_frames else [])
        self.foresight.forward = self.decode  # the loss is ours, what it decodes with is plain
        try:
            with self.watch.stage("foresight and heads"):
                return composition_loss(self.policy, read, target)
        finally:
            del self.foresight.forward

    def act(self, observation: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The actions and the decoded foresight of a whole window, at every timestep."""
        read = self.readouts(observation)
        with self.watch.stage("heads"):
            actions = self.policy.normalize_action.inverse(self.action(read["action"]))
        with self.watch.stage("foresight"):
            return actions, self.decode(read["foresight"])

    def readouts(self, observation: Mapping[str, Any], beyond: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """What the queries of every timestep have read, (B, T, count, D); frames ``beyond`` them are encoded in vain."""
        policy = self.policy
        encoders: Any = policy.encoders
        batch, steps = observation["state"].shape[:2]
        cameras: Any = encoders["cameras"]
        images = torch.cat([*(observation[f"images.{c}"].flatten(0, 1) for c in cameras.cameras), *beyond])
        with self.watch.stage("tower"), torch.no_grad():
            low = cameras.tower.precision == "bfloat16"
            with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
                patches, whole = (found.float() for found in self.tower(cameras.tower, images))
        with self.watch.stage("resampler"):
            count = batch * steps * len(cameras.cameras)
            latents = self.resample(cameras.resample, patches)[:count].chunk(len(cameras.cameras))
            classes = whole[:count, None].chunk(len(cameras.cameras))
        tokens = {c: cameras.project[c](x) for c, x in zip(cameras.cameras, latents, strict=True)}
        tokens |= {f"class_{c}": cameras.project_class[c](x) for c, x in zip(cameras.cameras, classes, strict=True)}
        tokens |= encoders["state"]({"state": policy.normalize_state(observation["state"].flatten(0, 1))})
        tokens = {name: x.unflatten(0, (batch, steps)) for name, x in tokens.items()}
        text = encoders["text"]({"instruction": observation["instruction"]})["text"]
        tokens["text"] = text[:, None].expand(-1, steps, -1, -1)
        queries = [self.foresight, self.action]
        tokens |= {part.group.name: part.queries.expand(batch, steps, -1, -1) for part in queries}
        groups = [*policy.groups, *(part.group for part in queries)]
        with self.watch.stage("backbone"):
            sequence = torch.cat([tokens[group.name] for group in groups], dim=2)
            mask = read_mask(Layout(policy.groups, [p.group for p in queries], steps, range(steps)), policy.reads)
            dense = torch.zeros(mask.shape).masked_fill(~torch.from_numpy(mask), -math.inf).to(sequence.device)
            out = self.backbone(sequence, dense)
        read = out.unflatten(1, (steps, -1)).split([group.count for group in groups], dim=2)
        return {group.name: r for group, r in zip(groups, read, strict=True)}

    def tower(self, tower: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = images.new_tensor(CLIP_MEAN, dtype=torch.float32), images.new_tensor(CLIP_STD, dtype=torch.float32)
        pixels = ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        patches = tower.patch_embed.proj(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([tower.cls_token.expand(len(patches), -1, -1), patches], dim=1) + tower.pos_embed
        for block in tower.blocks:
            x = vit_block(block, x)
        x = tower.norm(x)
        return x[:, 1:], x[:, 0]

    def resample(self, resampler: Any, patches: Tensor) -> Tensor:
        latents = resampler.latents.expand(len(patches), -1, -1)
        for layer, feed_forward in zip(resampler.attention, resampler.feed_forward, strict=True):
            normed = layer.norm_latents(latents)
            k, v = layer.to_kv(torch.cat([layer.norm_media(patches), normed], dim=1)).chunk(2, dim=-1)
            q, k, v = (by_head(t, layer.heads) for t in (layer.to_q(normed), k, v))
            latents = latents + layer.to_out(attend(q, k, v))
            latents = latents + feed_forward(latents)
        return resampler.norm(latents)

    def backbone(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """(B, T, tokens of a timestep, D) → (B, L, D)."""
        backbone: Any = self.policy.backbone
        steps = sequence.shape[1]
        x = sequence + backbone.timestep_embedding[:, :steps]
        x = backbone.dropout(backbone.norm(x.flatten(1, 2)))
        for block in backbone.h:
            heads, dropout = block.attn.heads, block.attn.dropout if self.training else 0.0
            q, k, v = (by_head(t, heads) for t in block.attn.c_attn(block.ln_1(x)).chunk(3, dim=-1))
            x = x + block.dropout(block.attn.c_proj(attend(q, k, v, mask, dropout)))
            x = x + block.dropout(block.mlp(block.ln_2(x)))
        return backbone.ln_f(x)

    def decode(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) → (..., C, patches, pixels·3)."""
        model = self.foresight
        seen = model.project(readout.reshape(-1, len(model.grid), readout.shape[-1])) + model.grid
        blank = (model.mask_token + model.canvas).expand(len(seen), -1, -1)
        x = torch.cat([seen, blank], dim=1)
        for block in model.decoder:
            x = vit_block(block, x)
        patches = model.predict(model.norm(x)[:, len(model.grid) :])
        return patches.reshape(*readout.shape[:-2], len(model.cameras), *patches.shape[1:])


def matrix_rate(device: str, precision: str = "float32", seconds: float = 1.0, size: int = 0) -> float:
    """Operations a second that a product of matrices (``size``, ``size``), or large ones, reaches, at its best."""
    n = size or (2048 if device == "cpu" else 8192)
    a, b = torch.randn(2, n, n, device=device, dtype=getattr(torch, precision))
    watch, best, began = Stopwatch(device), math.inf, time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = watch.now()
        a @ b
        best = min(best, watch.now() - start)
    return 2 * n**3 / best


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products, convolutions and attentions in ``run``."""

    def attention(q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object) -> int:
        return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={fused: attention}) as counter:
        run()
    return counter.get_total_flops()


def peak_memory(device: str, run: Callable[[], object]) -> int:
    """Bytes that ``run`` takes at its peak, beyond what the process holds before (on a CPU of Linux alone)."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before

    def status(key: str) -> int:
        return int(re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]

    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    run()
    return status("VmHWM") - before
