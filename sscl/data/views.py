"""Random views of images for contrastive learning, by kornia; a seed decides them, and not the global state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sscl import seeds
from sscl.registry import Registry

VIEWS: Registry[Callable[[int, int], nn.Module]] = Registry("view")


@VIEWS.register("views")
def usual(channels: int, size: int) -> nn.Module:
    """SimCLR's for CIFAR-10 (Chen et al. 2020, appendix B.9), with MoCo's crops: of at least a fifth of the area."""
    return _views(channels, size, grey=0.2, blur=0.0)


@VIEWS.register("strong_views")
def strong(channels: int, size: int) -> nn.Module:
    """More grey images and blur, against marks in colours and fine patterns."""
    return _views(channels, size, grey=0.5, blur=0.5)


def _views(channels: int, size: int, grey: float, blur: float) -> nn.Module:
    import kornia.augmentation as K

    steps: list[nn.Module] = [
        K.RandomResizedCrop((size, size), scale=(0.2, 1.0), cropping_mode="resample", align_corners=False),
        K.RandomHorizontalFlip(),
    ]
    if channels == 3:
        steps += [K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), K.RandomGrayscale(p=grey)]
    else:
        steps += [K.RandomBrightness((0.6, 1.4), p=0.8), K.RandomContrast((0.6, 1.4), p=0.8)]
    if blur:
        steps.append(K.RandomGaussianBlur((3, 3), (0.1, 1.5), p=blur))
    return nn.Sequential(*steps)


def two_views(transform: nn.Module, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two views of every image, floats (N, C, H, W) in [0, 1]; they follow from ``seed`` on every device."""
    with seeds.global_state(seed), torch.no_grad():
        return transform(images), transform(images)


def view(transform: nn.Module, images: Tensor, seed: int) -> Tensor:
    """One view of every image, of which gradients flow back to the images."""
    with seeds.global_state(seed):
        found: Tensor = transform(images)
        return found
