"""Backbone from a Hugging Face causal language model (transformers), optionally adapted by LoRA (peft)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from forehand.compose.parts import Pretrained, StreamingBackbone
from forehand.contracts.contract import Contract
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.weights import state_dict_mismatch
from forehand_plugins.backbones.language_models import (
    build_model,
    differing_options,
    inject_lora,
    options_of,
    read_weights,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class HuggingFace(StreamingBackbone, Pretrained):
    """Causal language model of the transformers library (Wolf et al. 2020), run on tokens instead of words.

    Tokens are its ``inputs_embeds``, with a learned timestep embedding added and, where its width is another than dim,
    a linear map in front and behind. Its attention mask is that of the reads table, and the position that it encodes is
    the timestep. Its word embeddings are left out.

    config: the model's configuration, ``{model_type: qwen2, hidden_size: …}``, as in a ``config.json``. weights: a local
    folder or a name on the hub, read once before training; without ``config`` also its configuration, which checkpoints
    store, so that they can be loaded where that folder is not. One of the two must be given. lora: ``{r: 8, alpha: 16,
    dropout: 0.0, targets: [q_proj, v_proj]}`` (Hu et al. 2022; these are the defaults, but for targets: every linear
    layer); the model itself is then frozen. freeze: train no weight of the model. dtype: of the model's own weights,
    ``float32`` or ``bfloat16``.

    Raises :class:`ConfigurationError` for models that cannot be built, or that do not read what the mask says, and where
    the extras ``transformers`` or, for LoRA, ``peft`` are not installed.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        history: int,
        config: Mapping[str, Any] | None = None,
        weights: str | None = None,
        lora: Mapping[str, Any] | None = None,
        freeze: bool = False,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        if dtype not in DTYPES:
            raise ConfigurationError(f"huggingface: dtype must be float32 or bfloat16, not {dtype!r}.")
        self.weights, self.dtype, self.frozen = weights, DTYPES[dtype], freeze and lora is None
        self.model = build_model(config, weights, self.dtype)
        self.resolved_options = {} if config is not None else {"config": options_of(self.model.config)}
        width: int = self.model.config.hidden_size
        self.timestep_embedding = nn.Parameter(torch.randn(history, dim) * 0.02)
        self.project_in = nn.Linear(dim, width) if dim != width else nn.Identity()
        self.project_out = nn.Linear(width, dim) if dim != width else nn.Identity()
        if freeze or lora is not None:
            self.model.requires_grad_(False)
        if lora is not None:
            inject_lora(self.model, lora)
        self.train(self.training)
        self._cache_shapes: list[tuple[int, int, int]] = []
        if self.timestep_embedding.device.type != "meta":
            self._cache_shapes = self._probe(width)
        self.cache_width = sum(heads * (key + value) for heads, key, value in self._cache_shapes)

    def train(self, mode: bool = True) -> HuggingFace:
        """As of any module; a frozen model stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def truncate_history(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keeps the embeddings of the first timesteps."""
        name, history = "timestep_embedding", len(self.timestep_embedding)
        return {**weights, name: weights[name][:history]} if name in weights else dict(weights)

    def load_pretrained(self) -> None:
        """Read ``weights``, if any. Raises :class:`CheckpointError` where they are missing or do not fit."""
        if self.weights is None:
            return
        found, config = read_weights(self.weights)
        own = {name.replace(".base_layer.", "."): name for name in self.model.state_dict() if ".lora_" not in name}
        state = self.model.state_dict()
        if listing := state_dict_mismatch(found, {name: state[at] for name, at in own.items()}):
            raise CheckpointError(f"{self.weights} does not fit the model that backbone.config describes:\n{listing}")
        if listing := differing_options(self.model.config, config):
            raise CheckpointError(f"backbone.config differs from the configuration of {self.weights}:\n{listing}")
        self.model.load_state_dict({own[name]: tensor for name, tensor in found.items()}, strict=False)

    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask → (B, L, D)."""
        return self._run(tokens, timesteps, mask, None)[0]

    def forward_cached(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, query_index: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`StreamingBackbone`; the cache holds keys and values of every layer."""
        out, new = self._run(tokens, timesteps, mask, past)
        return out[:, query_index], new

    def _run(self, tokens: Tensor, timesteps: Tensor, mask: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor | None]:
        embedded = self.project_in(tokens + self.timestep_embedding[timesteps]).to(self.dtype)
        cache = None if past is None else self._unflatten(past)
        out = self._call(embedded, timesteps, mask, cache)
        new = None if past is None else _flatten(cache, past.shape[1])
        return self.project_out(out.to(tokens.dtype)), new

    def _call(self, embedded: Tensor, timesteps: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """The last hidden states, (B, N, W), of embedded tokens; ``cache``, if any, grows by theirs."""
        batch = len(embedded)
        out: Tensor = self.model(
            inputs_embeds=embedded,
            attention_mask=mask.expand(batch, -1, -1)[:, None],
            position_ids=timesteps.expand(batch, -1),
            cache=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return out

    def _unflatten(self, past: Tensor) -> Any:
        """The library's cache of (B, P, M) rows."""
        from transformers import DynamicCache

        cache = DynamicCache()
        sizes = [heads * size for heads, *both in self._cache_shapes for size in both]
        parts = past.to(self.dtype).split(sizes, dim=-1)
        for layer, (heads, _, _) in enumerate(self._cache_shapes):
            key, value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in parts[2 * layer : 2 * layer + 2])
            cache.update(key, value, layer)
        return cache

    @torch.no_grad()
    def _probe(self, width: int) -> list[tuple[int, int, int]]:
        """(heads, width of a key, of a value) in the cache of each layer, from a run of two tokens.

        The mask lets the first read the second, and not the reverse. Raises :class:`ConfigurationError` if that is not
        what the model reads: recurrent layers have no mask, and some models add a causal mask of their own.
        """
        from transformers import DynamicCache

        kind, training = self.model.config.model_type, self.training
        self.eval()
        at = self.timestep_embedding.device
        mask = torch.tensor([[True, True], [False, True]], device=at)
        tokens = torch.linspace(-1, 1, 2 * width, device=at, dtype=self.dtype).sin().view(1, 2, width)
        timesteps = torch.arange(2, device=at).clamp(max=len(self.timestep_embedding) - 1)
        cache = DynamicCache()
        try:
            out = self._call(tokens, timesteps, mask, cache)
            first = self._call(torch.cat([-tokens[:, :1], tokens[:, 1:]], 1), timesteps, mask, None)
            second = self._call(torch.cat([tokens[:, :1], -tokens[:, 1:]], 1), timesteps, mask, None)
            shapes = [(layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in cache.layers]
        except Exception as error:  # models fail in many ways
            raise ConfigurationError(
                f"huggingface: a model of type {kind!r} does not run on embeddings with a mask and a cache of keys and "
                f"values ({error}). Choose a causal language model that does, such as qwen2 or llama."
            ) from error
        if not torch.allclose(first[:, 1], out[:, 1], rtol=1e-4, atol=1e-5) or torch.equal(second[:, 0], out[:, 0]):
            raise ConfigurationError(
                f"huggingface: a model of type {kind!r} does not read what the mask says. Choose one with attention in "
                f"every layer, such as qwen2 or llama."
            )
        self.train(training)
        return shapes


def _flatten(cache: Any, past: int) -> Tensor:
    """(B, N, M) rows of what a cache holds beyond the first ``past`` tokens."""
    both = [t[:, :, past:].transpose(1, 2).flatten(2) for layer in cache.layers for t in (layer.keys, layer.values)]
    return torch.cat(both, dim=-1)
