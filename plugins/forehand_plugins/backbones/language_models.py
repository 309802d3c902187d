"""Causal language models of the transformers library as modules without word embeddings, and LoRA by peft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from forehand.errors import CheckpointError, ConfigurationError, nearest

LORA: dict[str, Any] = {"r": 8, "alpha": 16, "dropout": 0.0, "targets": "all-linear"}
"""Options of LoRA, and their defaults."""

_OF_FILES = ("architectures", "dtype", "id2label", "label2id", "transformers_version")
_OF_WORDS = ("tie_word_embeddings", "use_cache", "vocab_size")


def transformers() -> Any:
    """The module; raises :class:`ConfigurationError` where it is not installed."""
    try:
        import transformers as found
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "backbone 'huggingface' needs the library transformers, which is not installed: "
            "pip install 'forehand[transformers]'."
        ) from error
    return found


def build_model(config: Mapping[str, Any] | None, weights: str | None, dtype: torch.dtype) -> Any:
    """A language model with random weights and no words, by ``config`` or that of the folder or hub name ``weights``.

    Raises :class:`ConfigurationError` where it cannot be built.
    """
    found = _read_config(config, weights)
    found.vocab_size, found.pad_token_id, found.bos_token_id, found.eos_token_id = 1, None, None, None
    try:
        model = transformers().AutoModel.from_config(
            found, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False
        )
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigurationError(
            f"huggingface: a model of type {found.model_type!r} cannot be built: {_first_line(error)}"
        ) from error
    model.set_input_embeddings(nn.Identity())
    return model


def _read_config(config: Mapping[str, Any] | None, weights: str | None) -> Any:
    auto = transformers().AutoConfig
    if config is None and weights is None:
        raise ConfigurationError(
            "huggingface: which model? Give weights (a folder or a name on the hub) or config, such as "
            "{model_type: qwen2, hidden_size: 256, intermediate_size: 1024, num_hidden_layers: 4, "
            "num_attention_heads: 4, num_key_value_heads: 2}."
        )
    if config is None:
        try:
            found = auto.from_pretrained(weights, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"huggingface: no model's configuration could be read from {weights!r} ({_first_line(error)}). Name a "
                f"folder with a config.json, or a model on the hub where it can be reached; or give backbone.config."
            ) from error
    else:
        options = dict(config)
        kind = options.pop("model_type", None)
        try:
            found = auto.for_model(kind, **options)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"huggingface: config describes no model of the transformers library: {_first_line(error)}. "
                f"{'It lacks model_type.' if kind is None else ''}"
            ) from error
    return found.get_text_config(decoder=True)


def read_weights(weights: str) -> tuple[dict[str, Tensor], Any]:
    """A language model's weights by name, without word embeddings, and its configuration, from a folder or the hub."""
    try:
        model = transformers().AutoModel.from_pretrained(weights, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"huggingface: no weights could be read from {weights!r} ({_first_line(error)}). Name a folder with "
            f"config.json and model.safetensors, or a model on the hub where it can be reached."
        ) from error
    if model.config.get_text_config(decoder=True) is not model.config:
        model = model.get_decoder()
    model.set_input_embeddings(nn.Identity())
    return model.state_dict(), model.config


def options_of(config: Any) -> dict[str, Any]:
    """The options of a model's configuration from which the same model is built, without those of files and labels."""
    return {k: v for k, v in config.to_dict().items() if not k.startswith("_") and k not in _OF_FILES}


def differing_options(ours: Any, theirs: Any) -> str:
    """The options in which two configurations of a model differ, a line each, but for those of words and of files."""
    first, second = options_of(ours), options_of(theirs)
    keys = [k for k in second if not k.endswith("_token_id") and k not in _OF_WORDS]
    return "\n".join(f"  - {k}: {first.get(k)!r}, but {second[k]!r}" for k in keys if first.get(k) != second[k])


def inject_lora(model: nn.Module, options: Mapping[str, Any]) -> None:
    """Low-rank adapters (Hu et al. 2022) for linear layers of ``model``, in float32; they alone are trained.

    options: ``r``, the rank; ``alpha``, by whose ratio to r the adapters' output is scaled; ``dropout``; ``targets``, the
    ends of the layers' names, or ``all-linear``.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "backbone 'huggingface' with lora needs the library peft, which is not installed: "
            "pip install 'forehand[peft]'."
        ) from error
    if unknown := [key for key in options if key not in LORA]:
        raise ConfigurationError(f"huggingface: lora has no option {unknown[0]!r}. {nearest(unknown[0], LORA)}")
    given = LORA | dict(options)
    targets = given["targets"]
    linear = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)})
    try:
        config = peft.LoraConfig(
            r=given["r"],
            lora_alpha=given["alpha"],
            lora_dropout=given["dropout"],
            target_modules=targets if isinstance(targets, str) else list(targets),
            bias="none",
        )
        peft.inject_adapter_in_model(config, model)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"huggingface: lora {dict(options)} cannot be applied: {_first_line(error)}. Its targets are among {linear}."
        ) from error
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if ".lora_" in name:
            parameter.data = parameter.data.float()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
