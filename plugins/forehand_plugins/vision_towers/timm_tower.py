"""Vision tower of any timm model (PyTorch Image Models, Wightman 2019, doi:10.5281/zenodo.4414861)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from forehand.compose.parts import Pretrained, VisionTower
from forehand.errors import CheckpointError, ConfigurationError, nearest
from forehand.learning.weights import state_dict_mismatch
from forehand_plugins.pretrained import import_optional, pretrained_path
from forehand_plugins.vision_towers.timm_weights import fit_to_model, in_order, read_weights

HUB = "hub"


class TimmTower(VisionTower, Pretrained):
    """Features of a timm model: a convolutional network's last feature map, or a vision transformer's patch tokens.

    Images are normalized with the mean and standard deviation that timm states for the model's weights. The whole image's
    feature is a transformer's own pooling (class token, average or attention pooling), a feature map's mean otherwise.

    model: timm's name, with the tag of its weights, as ``resnet18.tv_in1k``. weights: a file (safetensors, or what
    ``torch.save`` wrote, read with ``weights_only``), ``package:<module>/<path>`` for one in an installed package,
    ``hub`` for timm's own from the Hugging Face hub, None for random ones. match: how a file's tensors are assigned, by
    ``name``, or by their ``order``, where another library named them. frozen: no gradients, and eval mode always.
    features: stride in pixels of the feature map to take; deeper layers are left out. None: the last.

    Raises :class:`ConfigurationError` for a model, a stride or a size of images that timm or the model does not have.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        image_size: int,
        model: str,
        weights: str | None = None,
        match: str = "name",
        frozen: bool = False,
        features: int | None = None,
    ) -> None:
        super().__init__()
        if match not in ("name", "order"):
            raise ConfigurationError(f"timm: match must be name or order, not {match!r}.")
        self.model, self.weights, self.match, self.frozen = model, weights, match, frozen
        self._options = _size_options(model, image_size)
        self.network: Any = _create(model, num_classes=0, **self._options)
        _check_patches(self.network, model, image_size)
        self._stage = None if features is None else _keep_until(self.network, model, features)
        about: Any = self.network.pretrained_cfg
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(about[name]), persistent=False)
        self.requires_grad_(not frozen)
        self._measure(image_size)
        self.train()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8, or float where already normalized → patches (N, P, width) and the whole (N, width)."""
        if images.dtype == torch.uint8:
            images = (images.float() / 255 - self.mean) / self.std
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            return self._run(images.permute(0, 3, 1, 2))

    def train(self, mode: bool = True) -> Self:
        """Training mode; a frozen tower stays in eval mode."""
        return super().train(mode and not self.frozen)

    def extra_repr(self) -> str:
        """What decides, beside the weights, what the tower computes."""
        return f"model={self.model}, features={self._stage}, mean={self.mean.tolist()}, std={self.std.tolist()}"

    def load_pretrained(self) -> None:
        """Read ``weights``; nothing for a tower that is trained from scratch.

        Raises :class:`CheckpointError` where they cannot be had or do not fit, naming the tensors, and for a frozen
        tower without any.
        """
        if self.weights is None:
            if self.frozen:
                raise CheckpointError(
                    f"the timm tower {self.model} is frozen, and its configuration names no weights: give "
                    f"weights=<path> or weights=hub, or train it with frozen=false."
                )
            return
        needed, every = self.network.state_dict(), self._complete_names()
        if self.weights == HUB:
            found = self._from_hub()
        else:
            found = read_weights(pretrained_path(self.weights, "timm"))
            if self.match == "order":
                found = in_order(found, every, self.weights)
        found = fit_to_model(found, self.network, besides=every)
        if listing := state_dict_mismatch(found, needed):
            hint = "" if self.match == "order" else " A file of another library may fit with match=order."
            raise CheckpointError(f"{self.weights} does not fit timm's {self.model}:\n{listing}\n{hint}".rstrip())
        self.network.load_state_dict(found)

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) normalized → patches and the whole."""
        if self._stage is not None:
            (grid,) = self.network.forward_intermediates(x, indices=[self._stage], intermediates_only=True)
            patches = grid.flatten(2).transpose(1, 2)
            return patches, patches.mean(dim=1)
        out = self.network.forward_features(x)
        if out.ndim == 4:
            channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            patches = out.flatten(1, 2) if channels_last else out.flatten(2).transpose(1, 2)
            return patches, patches.mean(dim=1)
        patches = out[:, getattr(self.network, "num_prefix_tokens", 0) :]
        whole = self.network.forward_head(out, pre_logits=True)
        return patches, whole if whole.shape == patches[:, 0].shape else patches.mean(dim=1)

    def _measure(self, image_size: int) -> None:
        """Set ``width``, ``patches`` and ``grid`` from one image; parameters that no output depends on are frozen."""
        self.network.eval()
        with torch.set_grad_enabled(not self.frozen):
            try:
                patches, whole = self._run(torch.zeros(1, 3, image_size, image_size))
            except (AssertionError, RuntimeError) as error:
                raise ConfigurationError(
                    f"timm: {self.model} cannot take images of {image_size} × {image_size} pixels ({error}). Set "
                    f"policy.image_size to a size it can."
                ) from error
            total = patches.sum() + whole.sum()
        self.patches, self.width = patches.shape[1:]
        if math.isqrt(self.patches) ** 2 != self.patches:
            raise ConfigurationError(f"timm: {self.model} makes {self.patches} features, which are no square grid.")
        if not self.frozen:
            parameters = list(self.network.parameters())
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.requires_grad_(gradient is not None)

    def _complete_names(self) -> Mapping[str, Tensor]:
        """The state dict of the complete model, classifier and deeper layers included, without memory."""
        with torch.device("meta"):
            complete: Mapping[str, Tensor] = _create(self.model, **self._options).state_dict()
        return complete

    def _from_hub(self) -> dict[str, Tensor]:
        try:
            model = _timm().create_model(self.model, pretrained=True, num_classes=0, **self._options)
        except Exception as error:  # of the network, of the hub, of its cache
            raise CheckpointError(
                f"the weights of timm's {self.model} cannot be had from the hub ({type(error).__name__}: {error}). "
                f"Without a network, download model.safetensors of huggingface.co/timm/{self.model} elsewhere, and give "
                f"its path as weights."
            ) from error
        found: dict[str, Tensor] = model.state_dict()
        return found


def _timm() -> Any:
    return import_optional("timm", "timm", "the vision tower timm")


def _size_options(model: str, image_size: int) -> dict[str, Any]:
    """``img_size`` for architectures whose weights depend on it; raises for a name that timm does not have."""
    timm = _timm()
    name = model.partition(".")[0]
    if not timm.is_model(name):
        raise ConfigurationError(f"timm has no model {name!r}. {nearest(name, timm.list_models())}")
    try:
        about = timm.get_pretrained_cfg(model)
    except RuntimeError:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
        raise ConfigurationError(f"timm has no weights {model!r}. Tags of {name}: {', '.join(tags) or 'none'}.") from None
    return {"img_size": image_size} if about is not None and about.fixed_input_size else {}


def _create(model: str, **options: Any) -> nn.Module:
    try:
        network: nn.Module = _timm().create_model(model, pretrained=False, **options)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"timm cannot build {model} with {options}: {error}") from error
    return network


def _check_patches(network: nn.Module, model: str, image_size: int) -> None:
    """Refuse images that are no whole number of patches: a transformer would not see the pixels beyond the last."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    for side in patch if isinstance(patch, tuple) else ():
        if image_size % side:
            below = image_size - image_size % side
            raise ConfigurationError(
                f"timm: images of {image_size} pixels are no whole number of patches of {model}, which are of {side}. "
                f"Set policy.image_size to {below or side} or {below + side}."
            )


def _keep_until(network: Any, model: str, stride: int) -> int:
    """Leave out all layers behind the feature map of ``stride``; returns its index."""
    if not hasattr(network, "prune_intermediate_layers"):
        raise ConfigurationError(f"timm: {model} offers its last features only; leave features out.")
    strides = [about["reduction"] for about in network.feature_info]
    if stride not in strides:
        known = ", ".join(str(s) for s in sorted(set(strides)))
        raise ConfigurationError(f"timm: {model} has no features of stride {stride}. Strides that it has: {known}.")
    index = len(strides) - 1 - strides[::-1].index(stride)
    network.prune_intermediate_layers([index], prune_norm=False, prune_head=True)
    return index
