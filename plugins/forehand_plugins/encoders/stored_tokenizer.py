"""Tokenizers of transformers as bytes, which a checkpoint stores among its weights."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from forehand.errors import CheckpointError

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
LONGEST = 1_000_000
"""Length that stands for no limit; transformers has a number that JSON readers may not take."""


def pack_tokenizer(tokenizer: Any) -> Tensor:
    """A fast tokenizer of transformers as (n,) uint8: its ``tokenizer.json``, special tokens and longest input."""
    options: dict[str, Any] = {name: str(token) for name in SPECIAL if (token := getattr(tokenizer, name, None))}
    options |= {"model_max_length": min(tokenizer.model_max_length, LONGEST)}
    options |= {"model_input_names": ["input_ids", "attention_mask"], "padding_side": "right"}
    content = {"tokenizer": tokenizer.backend_tokenizer.to_str(), "options": options}
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


def unpack_tokenizer(data: Tensor, transformers: Any) -> Any:
    """The tokenizer that :func:`pack_tokenizer` packed. Raises :class:`CheckpointError` for any other bytes."""
    from tokenizers import Tokenizer

    try:
        content = json.loads(data.cpu().numpy().tobytes())
        built = Tokenizer.from_str(content["tokenizer"])
        return transformers.PreTrainedTokenizerFast(tokenizer_object=built, **content["options"])
    except Exception as error:  # the library raises plain exceptions
        raise CheckpointError(
            f"the tokenizer of a text encoder cannot be read from its weights ({error}). Use a checkpoint as it was "
            f"written."
        ) from error
