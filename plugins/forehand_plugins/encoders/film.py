"""Feature-wise linear modulation (FiLM) of a vision tower's features by the instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from forehand import Contract, registry
from forehand.compose.parts import INSTRUCTION, VALID, Encoder
from forehand.errors import ConfigurationError


class FiLM(nn.Module):
    """A scale and a shift for each feature, linear in a sentence's feature (Perez et al. 2018, section 2.1).

    Zero at the start, so that features begin unchanged.
    """

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.modulate = nn.Linear(text_width, 2 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, patches: Tensor, whole: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (N, P, W), the whole (N, W) and the text (N, F) → patches and the whole, modulated."""
        scale, shift = self.modulate(text).chunk(2, dim=-1)
        return patches * (1 + scale[:, None]) + shift[:, None], whole * (1 + scale) + shift


class SentenceFeature(nn.Module):
    """The mean token of a text encoder, computed once for each distinct sentence of a batch."""

    def __init__(self, config: Mapping[str, Any], *, contract: Contract, dim: int, image_size: int) -> None:
        super().__init__()
        if "name" not in config:
            raise ConfigurationError("film: the text encoder has no name; use for example film: {name: ngram_text}.")
        options = {key: value for key, value in config.items() if key != "name"}
        self.text: Encoder = registry().create(
            "encoder", config["name"], contract=contract, dim=dim, image_size=image_size, **options
        )
        if self.text.inputs != (INSTRUCTION,):
            raise ConfigurationError(
                f"film: encoder {config['name']!r} reads {', '.join(self.text.inputs)}; name one that reads the "
                f"instruction alone, such as film: {{name: ngram_text}}."
            )

    def forward(self, instructions: Any) -> Tensor:
        """N sentences, or (N, F) features computed beforehand → (N, D)."""
        if isinstance(instructions, Tensor) or not all(isinstance(sentence, str) for sentence in instructions):
            return self._mean(instructions)
        distinct = {sentence: i for i, sentence in enumerate(dict.fromkeys(instructions))}
        features = self._mean(list(distinct))
        return features[torch.tensor([distinct[s] for s in instructions], device=features.device)]

    def _mean(self, instructions: Any) -> Tensor:
        out = self.text({INSTRUCTION: instructions})
        means = []
        for group in self.text.groups:
            tokens = out[group.name]
            there = out.get(VALID + group.name)
            weight = tokens.new_ones(tokens.shape[:2]) if there is None else there.to(tokens.dtype)
            means.append((tokens * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True).clamp(min=1))
        return torch.stack(means).mean(dim=0)
