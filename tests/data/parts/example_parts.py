"""A plugin with the smallest parts that a policy can be composed of, so that the core is tested without other plugins."""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand import Contract, Registry, hookimpl
from forehand.compose import (
    ActionHead,
    Augmentation,
    Encoder,
    FeatureShape,
    IterativeActionHead,
    SamplingActionHead,
    StreamingBackbone,
    TokenGroup,
    VisionTower,
    WorldModel,
)
from forehand.compose.parts import Inputs, LossTerms, Read, masked_mean

WORDS = 64


class Text(Encoder):
    """One learned token for each instruction."""

    inputs = ("instruction",)

    def __init__(self, *, contract: Contract, dim: int, image_size: int) -> None:
        super().__init__()
        self.groups = (TokenGroup("text", 1),)
        self.table = nn.Embedding(WORDS, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        rows = [zlib.crc32(sentence.encode()) % WORDS for sentence in inputs["instruction"]]
        return {"text": self.table(torch.tensor(rows))[:, None]}


class Words(Encoder):
    """One learned token for each word, up to ``most`` of them; made once an episode, or at every frame."""

    inputs = ("instruction",)

    def __init__(self, *, contract: Contract, dim: int, image_size: int, most: int = 4, scope: str = "episode") -> None:
        super().__init__()
        self.groups = (TokenGroup("text", most, scope=scope),)
        self.table = nn.Embedding(WORDS, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        most = self.groups[0].count
        rows = [[zlib.crc32(w.encode()) % WORDS for w in sentence.split()][:most] for sentence in inputs["instruction"]]
        padded = torch.tensor([row + [0] * (most - len(row)) for row in rows])
        there = torch.tensor([[i < len(row) for i in range(most)] for row in rows])
        return {"text": self.table(padded), "valid.text": there}


class Patches(VisionTower):
    """The mean colour of each quarter of an image, and of the whole."""

    width, patches = 3, 4

    def __init__(self, *, image_size: int) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.runs += 1
        pixels = images.float() / 255 if images.dtype == torch.uint8 else images / 2 + 0.5
        quarters = F.adaptive_avg_pool2d(pixels.permute(0, 3, 1, 2), 2).flatten(2).mT
        return quarters, quarters.mean(dim=1)


class Features(Encoder):
    """One token for each camera, from what the shared vision tower ``tower`` makes of it."""

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        towers: Mapping[str, FeatureShape],
        cameras: Sequence[str],
        tower: str = "tower",
    ) -> None:
        super().__init__()
        self.inputs: tuple[str, ...] = tuple(f"features.{tower}.{c}" for c in cameras)
        self.groups = tuple(TokenGroup(c, 1, ("images",)) for c in cameras)
        shape = towers[tower]
        self.project = nn.Linear((shape.patches + 1) * shape.width, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        return {
            g.name: self.project(inputs[key].flatten(1))[:, None] for g, key in zip(self.groups, self.inputs, strict=True)
        }


class State(Encoder):
    """A linear map of the state and its squares, which overflow for large states."""

    inputs = ("state",)

    def __init__(self, *, contract: Contract, dim: int, image_size: int) -> None:
        super().__init__()
        self.groups = (TokenGroup("state", 1),)
        self.project = nn.Linear(2 * contract.state_size, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        state = inputs["state"]
        return {"state": self.project(torch.cat([state, state.square()], dim=-1))[:, None]}


class Images(Encoder):
    """``tokens`` for each camera, from patches of eight pixels; its batch norm has buffers that training moves."""

    def __init__(
        self, *, contract: Contract, dim: int, image_size: int, cameras: Sequence[str], tokens: int = 1, width: int = 8
    ) -> None:
        super().__init__()
        self.cameras, self.tokens = tuple(cameras), tokens
        self.inputs: tuple[str, ...] = tuple(f"images.{c}" for c in cameras)
        self.groups = tuple(TokenGroup(c, tokens, ("images",)) for c in cameras)
        self.patches = nn.Sequential(nn.Conv2d(3, width, 8, stride=8), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten())
        self.project = nn.ModuleDict({c: nn.Linear(width * (image_size // 8) ** 2, tokens * dim) for c in cameras})

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        return {c: self._tokens(c, inputs[f"images.{c}"]) for c in self.cameras}

    def _tokens(self, camera: str, images: Tensor) -> Tensor:
        pixels = images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
        tokens: Tensor = self.project[camera](self.patches(pixels.permute(0, 3, 1, 2)))
        return tokens.unflatten(-1, (self.tokens, -1))


class Attention(nn.Module):
    """Single-head attention with a residual connection; keys and values are the tokens themselves."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.output = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, read: Tensor, mask: Tensor) -> Tensor:
        scores = self.query(x) @ read.mT / math.sqrt(x.shape[-1])
        out: Tensor = x + F.gelu(self.output(scores.masked_fill(~mask, -math.inf).softmax(dim=-1) @ read))
        return out


class Transformer(StreamingBackbone):
    """Layers of attention; a token leaves behind what it was before each of them."""

    def __init__(
        self, *, contract: Contract, dim: int, image_size: int, history: int, layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.cache_width = layers * dim
        self.timestep_embedding = nn.Parameter(torch.randn(history, dim) * 0.1)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        self.layers = nn.ModuleList(Attention(dim) for _ in range(layers))

    def truncate_history(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept = weights["timestep_embedding"][: len(self.timestep_embedding)]
        return {**weights, "timestep_embedding": kept}

    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        return self._run(tokens, timesteps, mask, None)[0]

    def forward_cached(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, query_index: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        out, left = self._run(tokens, timesteps, mask, past)
        return out[:, query_index], None if past is None else torch.cat(left, dim=-1)

    def _run(self, tokens: Tensor, timesteps: Tensor, mask: Tensor, past: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        x = self.dropout(self.norm(tokens + self.timestep_embedding[timesteps]))
        earlier = [x[:, :0]] * len(self.layers) if past is None else past.chunk(len(self.layers), dim=-1)
        left = []
        for layer, before in zip(self.layers, earlier, strict=True):
            left.append(x)
            x = layer(x, torch.cat([before, x], dim=1), mask)
        return x, left


class Colour(WorldModel):
    """The mean colour of each camera's image."""

    canvas: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        cameras: Sequence[str],
        horizon: int = 1,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.cameras, self.horizon, self.weights = tuple(cameras), horizon, {"foresight": weight}
        self._add_queries(len(cameras), dim)
        self.register_buffer("canvas", torch.ones(image_size, image_size, 3), persistent=False)
        self.colour = nn.Linear(dim, 3)

    def forward(self, readout: Tensor) -> Tensor:
        colours: Tensor = self.colour(readout).sigmoid()
        return colours

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        future = torch.stack([target[f"future.{c}"].float().mean(dim=(2, 3)) / 255 for c in self.cameras], dim=2)
        return {"foresight": masked_mean((self(readout) - future).square(), valid)}

    def decode_images(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        drawn = self(readout)[:, :, None, None] * self.canvas
        return {c: (255 * drawn[:, i]).round().to(torch.uint8) for i, c in enumerate(self.cameras)}


class FutureFeatures(WorldModel):
    """The features of each camera's patches at several horizons."""

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        towers: Mapping[str, FeatureShape],
        cameras: Sequence[str],
        horizon: Sequence[int] = (1, 3),
        tower: str = "tower",
    ) -> None:
        super().__init__()
        self.cameras, self.horizon, self.weights = tuple(cameras), tuple(horizon), {"foresight": 1.0}
        self.target_features = tuple(f"{tower}.{c}" for c in cameras)
        self.shape = towers[tower]
        self._add_queries(len(cameras), dim)
        self.read = nn.Linear(dim, len(self.horizon) * self.shape.patches * self.shape.width)

    def forward(self, readout: Tensor) -> Tensor:
        features: Tensor = self.read(readout)
        return features.unflatten(-1, (len(self.horizon), self.shape.patches, self.shape.width))

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        future = torch.stack([target[f"future.features.{name}"][..., :-1, :] for name in self.target_features], dim=2)
        error = (self(readout).reshape(future.shape) - future).square().mean(dim=(-2, -1)).mean(dim=2)
        return {"foresight": masked_mean(error, valid)}

    def decode_features(self, readout: Tensor, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = self(readout).unflatten(-2, self.shape.grid)
        if len(self.horizon) == 1:
            features = features.squeeze(2)
        return {name: features[:, i] for i, name in enumerate(self.target_features)}

    @property
    def forecast_keys(self) -> tuple[str, ...]:
        return tuple(f"features.{name}" for name in self.target_features)

    def forecast_inputs(self, readout: Tensor, present: Inputs) -> dict[str, Tensor]:
        expected, found = self(readout), {}
        for i, key in enumerate(self.forecast_keys):
            both = torch.cat([present[key][:, None, :-1], expected[:, i]], dim=1)
            found[key] = torch.cat([both, both.mean(dim=-2, keepdim=True)], dim=-2)
        return found


class Sampled(SamplingActionHead):
    """A linear map of what was read, and a learned share of the noise."""

    def __init__(self, *, contract: Contract, dim: int, image_size: int, chunk: int = 2) -> None:
        super().__init__()
        self.chunk, self.weights = chunk, {"motion": 1.0}
        self.noise_shape = (chunk, contract.action_size)
        self._add_queries(chunk, dim)
        self.mean, self.spread = nn.Linear(dim, contract.action_size), nn.Linear(dim, contract.action_size)

    def sample(self, readout: Tensor, noise: Tensor) -> Tensor:
        actions: Tensor = self.mean(readout) + self.spread(readout).exp() * noise
        return actions

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        drawn = self.sample(readout, torch.randn_like(target["actions"]))
        return {"motion": masked_mean((drawn - target["actions"]).square(), valid)}


class Denoised(IterativeActionHead):
    """Noise that moves towards the actions in ``passes`` steps, each of which reads the context again."""

    def __init__(self, *, contract: Contract, dim: int, image_size: int, chunk: int = 2, passes: int = 3) -> None:
        super().__init__()
        self.chunk, self.passes, self.weights = chunk, passes, {"velocity": 1.0}
        self.noise_shape = (chunk, contract.action_size)
        self._add_queries(chunk, dim)
        self.enter, self.leave = nn.Linear(contract.action_size + 1, dim), nn.Linear(dim, contract.action_size)

    def _tokens(self, noisy: Tensor, time: Tensor) -> Tensor:
        tokens: Tensor = self.queries + self.enter(torch.cat([noisy, time], dim=-1))
        return tokens

    def training_tokens(self, target: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        actions = target["actions"]
        noise, time = torch.randn_like(actions), torch.rand_like(actions[..., :1, :1])
        noisy = noise + time * (actions - noise)
        return self._tokens(noisy, time.expand(*noisy.shape[:-1], 1)), {"velocity": actions - noise}

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        return {"velocity": masked_mean((self.leave(readout) - target["velocity"]).square(), valid)}

    def sample(self, read: Read, noise: Tensor) -> Tensor:
        for step in range(self.passes):
            time = noise.new_full((*noise.shape[:-1], 1), step / self.passes)
            noise = noise + self.leave(read(self._tokens(noise, time))) / self.passes
        return noise


class Regression(ActionHead):
    """A linear map; the squared errors of arm and gripper are terms of their own."""

    def __init__(
        self, *, contract: Contract, dim: int, image_size: int, chunk: int = 2, gripper_weight: float = 0.1
    ) -> None:
        super().__init__()
        self.chunk = chunk
        self._add_queries(chunk, dim)
        gripper = [f.gripper is not None for f in contract.action for _ in range(f.size)]
        self.elements = {"arm": [i for i, is_gripper in enumerate(gripper) if not is_gripper]}
        if any(gripper):
            self.elements["gripper"] = [i for i, is_gripper in enumerate(gripper) if is_gripper]
        self.weights: Mapping[str, Any] = {t: gripper_weight if t == "gripper" else 1.0 for t in self.elements}
        self.motion = nn.Linear(dim, contract.action_size)

    def forward(self, readout: Tensor) -> Tensor:
        actions: Tensor = self.motion(readout)
        return actions

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        error = (self(readout) - target["actions"]).square()
        return {term: masked_mean(error[..., elements], valid) for term, elements in self.elements.items()}


class Darken(Augmentation):
    """Floats of 0 to 1 by a random factor of at least ``least``."""

    def __init__(self, *, least: float, **options: Any) -> None:
        super().__init__(**options)
        self.least = least

    def draw(self, count: int, device: torch.device) -> dict[str, Tensor]:
        return {"factor": self.least + (1 - self.least) * torch.rand(count, device=device)}

    def apply(self, images: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        return (images * draws["factor"][:, None, None, None]).to(images.dtype)


@hookimpl
def forehand_register(registry: Registry) -> None:
    registry.add("policy", "composed", "forehand.compose.policy:ComposedPolicy", "a policy of parts")
    registry.add("policy", "coupled", "forehand.compose.coupled:CoupledPolicy", "two models, coupled")
    embodied = "forehand.compose.embodiments:CrossEmbodimentPolicy"
    registry.add("policy", "cross_embodiment", embodied, "a policy of parts for several robots")
    registry.add(
        "policy", "example/offsets", "offset_policy:OffsetPolicy", "two frames in, actions from the last one on out"
    )
    for kind, parts in {
        "encoder": {"text": Text, "words": Words, "state": State, "images": Images, "features": Features},
        "vision_tower": {"patches": Patches},
        "backbone": {"transformer": Transformer},
        "world_model": {"colour": Colour, "future_features": FutureFeatures},
        "augmentation": {"darken": Darken},
        "action_head": {"regression": Regression, "sampled": Sampled, "denoised": Denoised},
    }.items():
        for name, factory in parts.items():
            registry.add(kind, f"example/{name}", factory, f"an example of {kind}")
