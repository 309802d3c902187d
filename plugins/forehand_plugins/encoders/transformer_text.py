"""Text encoders from transformers: sentence embeddings, T5 and CLIP."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.parts import INSTRUCTION, VALID, Encoder, Inputs, Pretrained
from forehand.compose.tokens import EPISODE, FRAME, TokenGroup
from forehand.contracts.contract import Contract
from forehand.errors import CheckpointError, ConfigurationError, nearest
from forehand.learning.weights import state_dict_mismatch
from forehand_plugins.backbones.language_models import options_of
from forehand_plugins.encoders.stored_tokenizer import pack_tokenizer, unpack_tokenizer
from forehand_plugins.pretrained import PACKAGE, import_optional, pretrained_path

CACHED = 4096
"""Distinct sentences whose features are kept."""

NO_CODE = {"trust_remote_code": False}
"""Code beside a model's weights is not executed."""

POOLED, SEQUENCE = "pooled", "sequence"


def mean_pooling(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean over a sentence's tokens, without padding: (N, L, W) and (N, L) bool → (N, W)."""
    weight = mask[..., None].to(tokens.dtype)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


class TransformerText(Encoder, Pretrained):
    """Text tokens from a pre-trained transformer; a subclass says which architecture, and how a sentence is pooled.

    model: a folder with ``config.json``, the tokenizer's files and the weights, ``package:<module>/<path>`` for one in an
    installed package, or a name on the Hugging Face hub. pretrained: False for random weights. frozen: no gradients, eval
    mode always, and every distinct sentence is computed once. tokens: ``pooled`` (one) or ``sequence``: the sentence's
    first ``count`` (by default 16), those behind its end not valid. A linear map brings them to D. scope: ``frame``, or
    ``episode`` for tokens that stand once, in front of all timesteps. config, tokenizer_size: what checkpoints store of
    the model, so that they can be loaded where it is not: its configuration, and how many bytes its tokenizer has, which
    is among the weights.

    Raises :class:`ConfigurationError` where the model's files cannot be read.
    """

    inputs = (INSTRUCTION,)
    packed_tokenizer: Tensor
    part: str
    kinds: tuple[str, ...] = (POOLED, SEQUENCE)

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        model: str,
        pretrained: bool = True,
        frozen: bool = True,
        tokens: str = POOLED,
        count: int | None = None,
        scope: str = FRAME,
        config: Mapping[str, Any] | None = None,
        tokenizer_size: int = 0,
    ) -> None:
        super().__init__()
        if tokens not in self.kinds:
            raise ConfigurationError(f"{self.part}: unknown tokens {tokens!r}. {nearest(tokens, self.kinds)}")
        if count is not None and (tokens != SEQUENCE or count < 1):
            raise ConfigurationError(
                f"{self.part}: count={count}; it is the number of text tokens with tokens=sequence, at least 1."
            )
        if scope not in (FRAME, EPISODE):
            raise ConfigurationError(f"{self.part}: scope must be {FRAME} or {EPISODE}, not {scope!r}.")
        self.model, self.pretrained, self.frozen, self.tokens = model, pretrained, frozen, tokens
        self.groups = (TokenGroup("text", (count or 16) if tokens == SEQUENCE else 1, scope=scope),)
        transformers = self._transformers()
        try:
            if config is None:
                location = self._location()
                packed = pack_tokenizer(transformers.AutoTokenizer.from_pretrained(location, **NO_CODE))
                network = self._build(transformers.AutoConfig.from_pretrained(location, **NO_CODE))
            else:
                packed = torch.zeros(tokenizer_size, dtype=torch.uint8)
                network = self._build(transformers.AutoConfig.for_model(**config))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"{self.part}: no model can be read from {model} ({type(error).__name__}: {error}). Name a folder with "
                f"config.json, the tokenizer's files and the weights, or, with a network, a name on the Hugging Face hub."
            ) from error
        self.network: Any = network
        self.register_buffer("packed_tokenizer", packed)
        self.resolved_options = {"config": options_of(self.network.config), "tokenizer_size": len(packed)}
        self._tokenizer: Any = None
        about: Any = self.network.config
        self.width: int = about.hidden_size
        self.network.requires_grad_(not frozen)
        self.project = nn.Linear(self.width, dim)
        self._known: dict[str, tuple[Tensor, Tensor]] = {}
        self.register_load_state_dict_post_hook(_forget)
        self.train()

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """N sentences → ``text`` (N, count, D); of a sequence also ``valid.text`` (N, count) bool."""
        sentences = list(inputs[INSTRUCTION])
        if not all(isinstance(sentence, str) for sentence in sentences):
            raise ConfigurationError(f"{self.part} reads sentences; this data gives features of instructions instead.")
        features, valid = self._remembered(sentences) if self.frozen else self._read(sentences)
        tokens = {"text": self.project(features.to(self.project.weight.dtype))}
        return tokens if self.tokens == POOLED else tokens | {f"{VALID}text": valid}

    def train(self, mode: bool = True) -> Self:
        """Training mode; a frozen transformer stays in eval mode."""
        super().train(mode)
        self.network.train(mode and not self.frozen)
        return self

    def load_pretrained(self) -> None:
        """Read the weights of ``model``. Raises :class:`CheckpointError` where there are none, or they do not fit."""
        if not self.pretrained:
            return
        try:
            network, about = self._architecture().from_pretrained(
                self._location(), config=self.network.config, dtype=torch.float32, output_loading_info=True, **NO_CODE
            )
        except Exception as error:  # of files, of the network, of the hub
            raise CheckpointError(
                f"{self.part}: no weights can be read from {self.model} ({type(error).__name__}: {error}). For random "
                f"ones set pretrained=false."
            ) from error
        needed = self.network.state_dict()
        drawn = set(about["missing_keys"])
        found = {name: t for name, t in network.state_dict().items() if name in needed and name not in drawn}
        if listing := state_dict_mismatch(found, needed):
            raise CheckpointError(f"{self.model} does not fit {self.part}:\n{listing}")
        self.network.load_state_dict(found)
        self._known.clear()

    @torch.inference_mode(False)  # a feature computed for a session may be used in training later
    @torch.no_grad()
    def _remembered(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """As :meth:`_read`, each distinct sentence computed once and alone, so that it depends on no other."""
        device = self.project.weight.device
        if len(self._known) > CACHED:
            self._known.clear()
        for sentence in dict.fromkeys(sentences):
            if sentence not in self._known:
                with torch.autocast(device.type, enabled=False):
                    features, valid = self._read([sentence])
                self._known[sentence] = features[0], valid[0]
        known = [self._known[sentence] for sentence in sentences]
        return torch.stack([f.to(device) for f, _ in known]), torch.stack([v.to(device) for _, v in known])

    def _read(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(N, count, width) features, and which of them are of the sentence, (N, count) bool."""
        limit = min(self.tokenizer.model_max_length, getattr(self.network.config, "max_position_embeddings", 512))
        words = self.tokenizer(list(sentences), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        ids, mask = (words[key].to(self.project.weight.device) for key in ("input_ids", "attention_mask"))
        out = self.network(input_ids=ids, attention_mask=mask)
        if self.tokens == POOLED:
            pooled = self._pool(out, mask.bool())[:, None]
            return pooled, torch.ones_like(pooled[..., 0], dtype=torch.bool)
        count = self.groups[0].count
        missing = max(0, count - ids.shape[1])
        valid = F.pad(mask[:, :count], (0, missing)).bool()
        return F.pad(out.last_hidden_state[:, :count], (0, 0, 0, missing)) * valid[..., None], valid

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that is among the weights."""
        if self._tokenizer is None:
            self._tokenizer = unpack_tokenizer(self.packed_tokenizer, self._transformers())
        return self._tokenizer

    def _location(self) -> str:
        """The folder of the model, or its name on the hub."""
        return str(pretrained_path(self.model, self.part)) if self.model.startswith(PACKAGE) else self.model

    @abstractmethod
    def _architecture(self) -> Any:
        """The class of transformers that loads the encoder."""

    def _build(self, config: Any) -> nn.Module:
        """The encoder with random weights."""
        network: nn.Module = self._architecture()(config)
        return network

    def _pool(self, out: Any, mask: Tensor) -> Tensor:
        """(N, width) from the transformer's output and the (N, L) mask of its tokens."""
        return mean_pooling(out.last_hidden_state, mask)

    def _transformers(self) -> Any:
        return import_optional("transformers", "transformers", f"the encoder {self.part}")


class SentenceTransformer(TransformerText):
    """One token from a sentence embedding: mean over the tokens, unit length (Reimers & Gurevych 2019).

    For example ``sentence-transformers/all-MiniLM-L6-v2`` (Wang et al. 2020), or any encoder without a decoder.
    """

    part = "sentence_transformer"
    kinds = (POOLED,)

    def _architecture(self) -> Any:
        return self._transformers().AutoModel

    def _build(self, config: Any) -> nn.Module:
        network: Any = self._architecture().from_config(config, **NO_CODE)
        if getattr(network, "pooler", None) is not None:
            network.pooler = None  # of the first token, which the mean takes the place of
        built: nn.Module = network
        return built

    def _pool(self, out: Any, mask: Tensor) -> Tensor:
        return F.normalize(super()._pool(out, mask), dim=-1)


class T5Text(TransformerText):
    """Tokens of T5's encoder (Raffel et al. 2020): the sentence's, or their mean. For example ``google-t5/t5-base``."""

    part = "t5"

    def _architecture(self) -> Any:
        return self._transformers().T5EncoderModel


class CLIPTextTokens(TransformerText):
    """Tokens of CLIP's text tower (Radford et al. 2021): the sentence's, or the one at its end, without projection.

    For example ``openai/clip-vit-base-patch32``.
    """

    part = "clip_text"

    def _architecture(self) -> Any:
        return self._transformers().CLIPTextModel

    def _build(self, config: Any) -> nn.Module:
        return super()._build(getattr(config, "text_config", config))

    def _pool(self, out: Any, mask: Tensor) -> Tensor:
        pooled: Tensor = out.pooler_output
        return pooled


def _forget(encoder: Any, incompatible: Any) -> None:
    encoder._known.clear()
    encoder._tokenizer = None
