"""What every classifier shares: registration, normalisation inside the model, and seeded initialisation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from sscl import seeds
from sscl.data.spread import spread
from sscl.errors import ConfigError
from sscl.functions import names_function
from sscl.models.features import head_of
from sscl.registry import Registry

MEASURED, FITTED = 10_000, 5000  # images that a normalisation, and a layer's first weights, are taken from
BATCH = 500
M = TypeVar("M", bound=nn.Module)
Backbone = Callable[[int, int, int], nn.Module]
CLASSIFIERS: Registry[Backbone] = Registry("model", "sscl.models")


@dataclass(frozen=True)
class Pretrained:
    """Weights that somebody else trained.

    Attributes:
        weights: of the backbone, with or without its last linear layer.
        mean, std: how images in [0, 1] are normalised for it: a number, or one a channel, (1, C, 1, 1).
    """

    weights: dict[str, Tensor]
    mean: float | Tensor
    std: float | Tensor


PRETRAINED: Registry[Callable[[], Pretrained]] = Registry("pre-trained model", "sscl.models")


class Fitted(nn.Module, ABC):
    """A layer that takes its first weights from training images."""

    @abstractmethod
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Normalised images, float64 (N, C, H, W) each."""


class Drawn(nn.Module, ABC):
    """A module with parameters of its own, beside those of its layers, or with other first values than usual."""

    @abstractmethod
    def draw(self, generator: torch.Generator) -> None:
        """Give them their first values, from ``generator`` alone."""


class Classifier(nn.Module):
    """A backbone that takes images in [0, 1] and normalises them itself, so that every caller sends the same thing.

    Args:
        name: registered architecture.
        channels: 1 or 3.
        size: height and width in pixels.
        classes: number of classes.

    Shape: float (N, channels, size, size) in [0, 1] -> logits (N, classes).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.name, self.channels, self.size, self.classes = name, channels, size, classes
        self.backbone = CLASSIFIERS[name](channels, size, classes)
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.backbone((x - self.mean) / self.std)
        return logits

    def normalise_as(self, images: Tensor) -> None:
        """Take mean and standard deviation per channel from uint8 (N, C, H, W), and fit layers that need images.

        The images may be on another device than the model; that device computes, ``BATCH`` images at a time.
        """
        mean, std = _moments(images[spread(len(images), MEASURED).to(images.device)])
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))
        parts = torch.split(spread(len(images), FITTED).to(images.device), BATCH)
        for layer in self.backbone.modules():
            if isinstance(layer, Fitted):
                layer.fit((images[part].double().div(255) - mean) / std.clamp_min(1e-3) for part in parts)

    def start_from(self, pretrained: Pretrained) -> None:
        """Take pre-trained weights and their normalisation; a last linear layer for other classes stays as it is.

        Raises:
            ConfigError: a weight is missing, unknown or of another shape, e.g. because images are greyscale.
        """
        own, given = self.backbone.state_dict(), dict(pretrained.weights)
        for name in head_of(self.backbone):
            if name not in given or given[name].shape != own[name].shape:
                given[name] = own[name]
        wanted, found = (
            {name: tuple(weight.shape) for name, weight in some.items() if not name.endswith("num_batches_tracked")}
            for some in (own, given)
        )
        if wrong := [name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)]:
            name = min(wrong)
            raise ConfigError(
                f"start: {name} is {found.get(name, 'missing')} in the weights, and {self.name} for {self.channels} "
                f"channel(s) and {self.size} px expects {wanted.get(name, 'no such weight')}"
            )
        self.backbone.load_state_dict(given, strict=False)
        self.mean.copy_(torch.as_tensor(pretrained.mean))
        self.std.copy_(torch.as_tensor(pretrained.std))


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel in [0, 1], float64 (1, C, 1, 1), of uint8 images."""
    values = torch.arange(256, dtype=torch.float64, device=images.device).div(255)
    counts = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(images.shape[1])])
    total = counts.sum(dim=1, keepdim=True)
    mean = (counts * values).sum(dim=1, keepdim=True) / total
    variance = (counts * (values - mean).square()).sum(dim=1, keepdim=True) / (total - 1)
    return mean[None, :, :, None], variance.sqrt()[None, :, :, None]


def build(name: str, channels: int, size: int, *, classes: int, generator: torch.Generator | None = None) -> Classifier:
    """A classifier whose initial weights come from ``generator`` alone (``None``: weights are about to be loaded)."""
    rng = generator or torch.Generator().manual_seed(0)
    if names_function(name):
        # Somebody else's code draws from the global state, and computes weights and buffers at once.
        with seeds.global_state(int(torch.randint(2**62, (1,), generator=rng))), torch.device("cpu"):
            return Classifier(name, channels, size, classes)
    model = made(lambda: Classifier(name, channels, size, classes), rng)
    model.mean.zero_()
    model.std.fill_(1)
    return model


def made(network: Callable[[], M], generator: torch.Generator) -> M:
    """A network, on the CPU, whose initial weights come from ``generator`` alone; its buffers are not set."""
    with torch.device("meta"):
        model = network()
    model = model.to_empty(device="cpu")
    initialise(model, generator)
    return model


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's default initialisation, drawn from ``generator`` and not from the global state.

    Convolutions and linear layers: Kaiming-uniform with a = sqrt(5), biases uniform in 1/sqrt(fan_in); norms: ones,
    zeros; attention: Xavier-uniform, zeros, but for its output, a linear layer.

    Raises:
        TypeError: a module has parameters or buffers of its own, and is neither one of these nor in a ``Drawn``.
    """
    drawn = {part for module in model.modules() if isinstance(module, Drawn) for part in module.modules()}
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                fan_in, _ = nn.init._calculate_fan_in_and_fan_out(module.weight)
                bound = 1 / math.sqrt(fan_in)
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.reset_parameters()
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.MultiheadAttention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
            nn.init.zeros_(module.in_proj_bias)
        elif module not in drawn and not isinstance(module, Classifier):
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            if own:
                name = type(module).__name__
                raise TypeError(f"{name}.{own[0][0]} has no first value: derive {name} from sscl.models.base.Drawn")
        if isinstance(module, Drawn):
            module.draw(generator)
