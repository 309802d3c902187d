"""The checks of a composed policy's parts pass the plainest honest ones, and name what is wrong with each bad one."""

import random

import pytest
import torch
from torch import nn

from forehand.compose import (
    ActionHead,
    Backbone,
    Encoder,
    IterativeActionHead,
    SamplingActionHead,
    StreamingBackbone,
    TokenGroup,
    VisionTower,
    WorldModel,
)
from forehand.compose.parts import known_numbers, masked_mean
from forehand.conformance import (
    assert_action_head_conforms,
    assert_backbone_conforms,
    assert_encoder_conforms,
    assert_vision_tower_conforms,
    assert_world_model_conforms,
)


class PlainEncoder(Encoder):
    inputs = ("state",)

    def __init__(self, *, contract, dim, image_size):
        super().__init__()
        self.groups = (TokenGroup("state", 1),)
        self.linear = nn.Linear(contract.state_size, dim)

    def forward(self, inputs):
        return {"state": self.linear(inputs["state"])[:, None]}


class NoInputs(Encoder):
    def __init__(self, *, contract, dim, image_size):
        super().__init__()

    def forward(self, inputs):
        return {}


class NoGroups(NoInputs):
    inputs = ("state",)


class UnknownInput(PlainEncoder):
    inputs = ("images.overhead",)


class NoTokenAxis(PlainEncoder):
    def forward(self, inputs):
        return {"state": self.linear(inputs["state"])}


class OtherGroup(PlainEncoder):
    def forward(self, inputs):
        return {"proprioception": super().forward(inputs)["state"]}


class BatchNormalized(PlainEncoder):
    def forward(self, inputs):
        tokens = super().forward(inputs)["state"]
        return {"state": tokens - tokens.mean(dim=0)}


class Noisy(PlainEncoder):
    def forward(self, inputs):
        tokens = super().forward(inputs)["state"]
        return {"state": tokens + torch.randn_like(tokens)}


class UnusedWeights(PlainEncoder):
    def __init__(self, **given):
        super().__init__(**given)
        self.forgotten = nn.Linear(3, 3)


class DetachedWeights(PlainEncoder):
    def forward(self, inputs):
        return {"state": super().forward(inputs)["state"].detach()}


class HiddenWeights(PlainEncoder):
    def __init__(self, **given):
        super().__init__(**given)
        self.offset = torch.randn(given["dim"])

    def forward(self, inputs):
        return {"state": super().forward(inputs)["state"] + self.offset}


class NotFinite(PlainEncoder):
    def forward(self, inputs):
        return {"state": super().forward(inputs)["state"] / 0}


def test_plain_encoder():
    assert_encoder_conforms(PlainEncoder)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (NoInputs, "inputs must name what the encoder reads"),
        (NoGroups, "groups must hold a TokenGroup for each kind of token"),
        (UnknownInput, r"inputs names 'images\.overhead', which no observation has"),
        (NoTokenAxis, r"group 'state' must be \(3, 1, 48\) floats .* it is \(3, 48\)"),
        (OtherGroup, r"returned tokens for \['proprioception'\], but its groups are \['state'\]"),
        (BatchNormalized, "first row of state depends on the other rows"),
        (Noisy, "in eval mode state must be the same for the same inputs"),
        (UnusedWeights, r"no gradient reaches forgotten\.weight, forgotten\.bias"),
        (DetachedWeights, "does not depend on the parameters"),
        (HiddenWeights, "some weight is neither parameter nor buffer"),
        (NotFinite, "not finite"),
        (dict, "is no Encoder"),
    ],
)
def test_bad_encoder(bad, message):
    with pytest.raises(AssertionError, match=message):
        assert_encoder_conforms(bad)


class PlainTower(VisionTower):
    def __init__(self, *, image_size):
        super().__init__()
        self.width, self.patches = 4, 1
        self.linear = nn.Linear(3, 4)

    def forward(self, images):
        whole = self.linear(images.float().mean(dim=(1, 2)))
        return whole[:, None], whole


class MiscountedPatches(PlainTower):
    def __init__(self, *, image_size):
        super().__init__(image_size=image_size)
        self.patches = 2


def test_vision_tower():
    assert_vision_tower_conforms(PlainTower)
    with pytest.raises(AssertionError, match=r"patches must be \(3, 2, 4\); it is \(3, 1, 4\)"):
        assert_vision_tower_conforms(MiscountedPatches)


class PlainBackbone(Backbone):
    """The mean of what may be read, on top of what one is."""

    def __init__(self, *, contract, dim, image_size, history):
        super().__init__()
        self.time = nn.Parameter(torch.randn(history, dim))
        self.linear = nn.Linear(dim, dim)

    def forward(self, tokens, timesteps, mask):
        tokens = tokens + self.time[timesteps]
        weights = mask / mask.sum(dim=-1, keepdim=True)
        return tokens + self.linear(weights @ tokens)


class ReadsEverything(PlainBackbone):
    def forward(self, tokens, timesteps, mask):
        return super().forward(tokens, timesteps, torch.ones_like(mask))


class ReadsNothing(PlainBackbone):
    def forward(self, tokens, timesteps, mask):
        return super().forward(tokens, timesteps, torch.eye(tokens.shape[1], dtype=torch.bool))


class OneMaskForAll(PlainBackbone):
    def forward(self, tokens, timesteps, mask):
        return super().forward(tokens, timesteps, mask[0] if mask.ndim == 3 else mask)


class Timeless(PlainBackbone):
    def forward(self, tokens, timesteps, mask):
        return super().forward(tokens, torch.zeros_like(timesteps), mask)


class NoisyBackbone(PlainBackbone):
    def forward(self, tokens, timesteps, mask):
        out = super().forward(tokens, timesteps, mask)
        return out + torch.randn_like(out)


class Pooled(PlainBackbone):
    def forward(self, tokens, timesteps, mask):
        return super().forward(tokens, timesteps, mask).mean(dim=1)


def test_plain_backbone():
    assert_backbone_conforms(PlainBackbone)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (ReadsEverything, "a hidden token changed its reader's output"),
        (ReadsNothing, "a token that may be read makes no difference"),
        (OneMaskForAll, r"a mask for each row, \(B, L, L\)"),
        (NoisyBackbone, "in eval mode the output must be the same for the same inputs: the part draws random numbers"),
        (Timeless, "timesteps make no difference"),
        (Pooled, r"the output must be \(3, 8, 48\), like the tokens; it is \(3, 48\)"),
    ],
)
def test_bad_backbone(bad, message):
    with pytest.raises(AssertionError, match=message):
        assert_backbone_conforms(bad)


class PlainStreaming(PlainBackbone, StreamingBackbone):
    """Its cache holds the tokens themselves."""

    def __init__(self, **given):
        super().__init__(**given)
        self.cache_width = given["dim"]

    def forward_cached(self, tokens, timesteps, mask, query_index, past):
        tokens = tokens + self.time[timesteps]
        read = tokens if past is None else torch.cat([past, tokens], dim=1)
        weights = mask / mask.sum(dim=-1, keepdim=True)
        out = tokens + self.linear(weights @ read)
        return out[:, query_index], None if past is None else tokens


class Forgets(PlainStreaming):
    def forward_cached(self, tokens, timesteps, mask, query_index, past):
        out, left = super().forward_cached(tokens, timesteps, mask, query_index, past)
        return out, None if left is None else torch.zeros_like(left)


class NoCache(PlainStreaming):
    def forward_cached(self, *given):
        return super().forward_cached(*given)[0], None


class AlwaysCaches(PlainStreaming):
    def forward_cached(self, tokens, timesteps, mask, query_index, past):
        return super().forward_cached(tokens, timesteps, mask, query_index, past)[0], tokens


class IgnoresQueryIndex(PlainStreaming):
    def forward_cached(self, tokens, timesteps, mask, query_index, past):
        return super().forward_cached(tokens, timesteps, mask, torch.arange(tokens.shape[1]), past)


class SeesPadding(PlainStreaming):
    def forward_cached(self, tokens, timesteps, mask, query_index, past):
        mask = mask if past is None else mask | (torch.arange(mask.shape[-1]) < past.shape[1])
        return super().forward_cached(tokens, timesteps, mask, query_index, past)


class ForgetsTheTime(PlainStreaming):
    def forward_cached(self, tokens, timesteps, mask, query_index, past):
        return super().forward_cached(tokens, timesteps if past is None else 0 * timesteps, mask, query_index, past)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Forgets, "must compute what forward.. computes of all of them"),
        (NoCache, r"must return the new cache, \(1, 2, 48\); it is None"),
        (AlwaysCaches, "without a past must return no cache"),
        (IgnoresQueryIndex, r"the output at query_index, \(3, 1, 48\); it is \(3, 2, 48\)"),
        (SeesPadding, "must compute what forward.. computes of all of them"),
        (ForgetsTheTime, "must compute what forward.. computes of all of them"),
    ],
)
def test_bad_streaming_backbone(bad, message):
    assert_backbone_conforms(PlainStreaming)
    with pytest.raises(AssertionError, match=message):
        assert_backbone_conforms(bad)


class PlainDecoder(PlainStreaming):
    """Queries have a token of their own added."""

    takes_queries = True

    def __init__(self, **given):
        super().__init__(**given)
        self.kind = nn.Parameter(torch.randn(2, given["dim"]))

    def forward(self, tokens, timesteps, mask, queries):
        return super().forward(tokens + self.kind[queries.long()], timesteps, mask)

    def forward_cached(self, tokens, timesteps, mask, query_index, past, queries):
        return super().forward_cached(tokens + self.kind[queries.long()], timesteps, mask, query_index, past)


class IgnoresQueries(PlainDecoder):
    def forward_cached(self, tokens, timesteps, mask, query_index, past, queries):
        kinds = queries if past is None else torch.zeros_like(queries)
        return super().forward_cached(tokens, timesteps, mask, query_index, past, kinds)


def test_backbone_that_takes_queries():
    assert_backbone_conforms(PlainDecoder)
    with pytest.raises(AssertionError, match=r"must compute what forward.. computes of all of them"):
        assert_backbone_conforms(IgnoresQueries)


class PlainWorldModel(WorldModel):
    """One number for each camera: how bright it will be."""

    def __init__(self, *, contract, dim, image_size):
        super().__init__()
        self.cameras, self.horizon, self.weights = tuple(c.name for c in contract.cameras), 2, {"foresight": 1.0}
        self._add_queries(len(self.cameras), dim)
        self.linear = nn.Linear(dim, 1)

    def forward(self, readout):
        return self.linear(readout)[..., 0]

    def errors(self, readout, target):
        wanted = torch.stack([target[f"future.{c}"].float().mean(dim=(-3, -2, -1)) / 255 for c in self.cameras], dim=-1)
        return (self(readout) - wanted).square().mean(dim=-1)

    def loss(self, readout, target, valid):
        return {"foresight": masked_mean(self.errors(readout, target), valid)}

    def decode_images(self, readout, images):
        return {c: torch.zeros_like(images[c]) for c in self.cameras}


class CountsEverything(PlainWorldModel):
    def loss(self, readout, target, valid):
        return {"foresight": self.errors(readout, target).mean()}


class DividesByNothing(PlainWorldModel):
    def loss(self, readout, target, valid):
        return {"foresight": (self.errors(readout, target) * valid).sum() / valid.sum()}


class IgnoresTheTarget(PlainWorldModel):
    def loss(self, readout, target, valid):
        return {"foresight": masked_mean(self(readout).square().mean(dim=-1), valid)}


class UnnamedTerm(PlainWorldModel):
    def loss(self, readout, target, valid):
        return {"brightness": super().loss(readout, target, valid)["foresight"]}


class LossOfEachRow(PlainWorldModel):
    def loss(self, readout, target, valid):
        return {"foresight": self.errors(readout, target) * valid}


class FloatPictures(PlainWorldModel):
    def decode_images(self, readout, images):
        return {c: images[c].float() for c in self.cameras}


class OneCamera(PlainWorldModel):
    def decode_images(self, readout, images):
        return {"static": images["static"]}


class Flattens(PlainWorldModel):
    def forward(self, readout):
        return super().forward(readout.reshape(-1, *readout.shape[-2:]))

    def errors(self, readout, target):
        wanted = torch.stack([target[f"future.{c}"].float().mean(dim=(-3, -2, -1)) / 255 for c in self.cameras], dim=-1)
        return (self(readout).reshape(wanted.shape) - wanted).square().mean(dim=-1)


class ForeignCamera(PlainWorldModel):
    def __init__(self, **given):
        super().__init__(**given)
        self.cameras = ("overhead",)


class NoisyForecast(PlainWorldModel):
    def forward(self, readout):
        out = super().forward(readout)
        return out + torch.randn_like(out)


class OtherQueries(PlainWorldModel):
    def __init__(self, **given):
        super().__init__(**given)
        self._create_queries("dreams", 2, given["dim"])


def test_plain_world_model():
    assert_world_model_conforms(PlainWorldModel)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (CountsEverything, "'foresight' depends on what is not valid"),
        (DividesByNothing, "'foresight' is nan"),
        (IgnoresTheTarget, "does not depend on the target"),
        (UnnamedTerm, r"name terms the loss lacks: \['brightness'\]"),
        (LossOfEachRow, r"'foresight' must be a scalar; it is \(3, 4\)"),
        (FloatPictures, r"picture of 'static' must be \(N, H, W, 3\) uint8"),
        (OneCamera, r"they are of \['static'\]"),
        (NoisyForecast, "in eval mode the forecast must be the same for the same inputs: the part draws random numbers"),
        (Flattens, "must keep any leading axes"),
        (ForeignCamera, "not all in the contract"),
        (OtherQueries, "must be called 'foresight', not 'dreams'"),
    ],
)
def test_bad_world_model(bad, message):
    with pytest.raises(AssertionError, match=message):
        assert_world_model_conforms(bad)


class PlainHead(ActionHead):
    def __init__(self, *, contract, dim, image_size):
        super().__init__()
        self.chunk, self.weights = 3, {"action": 1.0}
        self._add_queries(3, dim)
        self.linear = nn.Linear(dim, contract.action_size)

    def forward(self, readout):
        return self.linear(readout)

    def loss(self, readout, target, valid):
        return {"action": masked_mean((self(readout) - target["actions"]).square(), valid)}


class WrongWidth(PlainHead):
    def forward(self, readout):
        return super().forward(readout)[..., :-1]

    def loss(self, readout, target, valid):
        return {"action": masked_mean((self.linear(readout) - target["actions"]).square(), valid)}


class CountsPadding(PlainHead):
    def loss(self, readout, target, valid):
        return super().loss(readout, target, valid.any(dim=-1, keepdim=True).expand_as(valid))


class StopsGradient(PlainHead):
    def loss(self, readout, target, valid):
        return super().loss(readout.detach(), target, valid)


class NoisyHead(PlainHead):
    def forward(self, readout):
        out = super().forward(readout)
        return out + torch.randn_like(out)


class LossByPython(PlainHead):
    def loss(self, readout, target, valid):
        return {name: term * random.random() for name, term in super().loss(readout, target, valid).items()}


class NoiseForNothing(PlainHead):
    noise_shape = (2,)


class Partial(PlainHead):
    partial = True

    def loss(self, readout, target, valid):
        counts = known_numbers(target, valid)
        return {"action": masked_mean((self(readout) - target["actions"]).square(), counts)}


class PartialByName(PlainHead):
    partial = True


class SamplesHead(PlainHead, SamplingActionHead):
    noise_shape = (3, 7)

    def sample(self, readout, noise):
        return self.linear(readout) + noise


class DeafToNoise(SamplesHead):
    def sample(self, readout, noise):
        return self.linear(readout)


class Deterministic(DeafToNoise):
    noise_shape = ()


class WithoutNoise(PlainHead, IterativeActionHead):
    def training_tokens(self, target):
        return self.queries.expand(*target["actions"].shape[:2], -1, -1), {}

    def sample(self, read, noise):
        return self.linear(read(self.queries.expand(len(noise), -1, -1)))


@pytest.mark.parametrize("head", [PlainHead, Partial, SamplesHead, Deterministic])
def test_plain_action_head(head):
    assert_action_head_conforms(head)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (WrongWidth, r"the actions must be \(3, 3, 7\) by the contract; they are \(3, 3, 6\)"),
        (CountsPadding, "'action' depends on what is not valid"),
        (NoisyHead, "in eval mode the actions must be the same for the same inputs: the part draws random numbers"),
        (LossByPython, "differs for the same inputs and the same torch.manual_seed"),
        (StopsGradient, "no gradient of the loss reaches the readout"),
        (NoiseForNothing, r"noise_shape is \(2,\)"),
        (PartialByName, "the head is partial, and its loss depends on numbers of actions that 'actions_known' says"),
        (DeafToNoise, "another noise must give other actions"),
        (WithoutNoise, r"noise_shape is \(\): an IterativeActionHead has one"),
    ],
)
def test_bad_action_head(bad, message):
    with pytest.raises(AssertionError, match=message):
        assert_action_head_conforms(bad)
