"""The keyed generator: a carrier that the key decides, and a U-Net that fits it to the image."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from sscl.compute import Compute
from sscl.errors import InputError
from sscl.models.unet import build_unet
from sscl.watermarks.carriers import CARRIERS, Key
from sscl.watermarks.quantise import SHAPE_STEP, padded

GAIN = 0.98  # of eps that the carrier takes; at its very end the clip would have no gradient
SHARE = 0.5  # of eps that G may take from the carrier, so that it can never cancel it


class KeyedGenerator:
    """``x_w = clip(x + eps clip(0.98 c_k(x) + tanh(G(x, c_k)) / 2))``.

    Args:
        channels: image channels.
        width: channels of the U-Net's first level.
        carrier: registered name.
        eps: largest change of a pixel, in (0, 1].
        compute: device and precision.
        rng: draws the initial weights, whose last layer is zero: training starts from the carrier alone. ``None`` if
            weights are about to be loaded.
    """

    def __init__(
        self, channels: int, width: int, carrier: str, eps: float, compute: Compute, rng: torch.Generator | None = None
    ) -> None:
        self.channels, self.eps, self.compute = channels, eps, compute
        self.carrier = CARRIERS[carrier]
        unet = build_unet(2 * channels, width, rng, outputs=channels)
        nn.init.zeros_(unet.out.weight)
        nn.init.zeros_(cast(Tensor, unet.out.bias))
        # Channels-last doubles the U-Net's speed on CPUs too, so it is not left to the switch.
        self.unet = unet.to(compute.device).to(memory_format=torch.channels_last)

    @property
    def trained(self) -> bool:
        """Whether G does anything yet; its last layer starts at zero."""
        return bool(self.unet.out.weight.any())

    def load(self, tensors: dict[str, Tensor]) -> KeyedGenerator:
        """Take trained weights.

        Raises:
            InputError: they are another network's.
        """
        try:
            self.unet.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(
                f"the generator's weights do not fit its config: {str(error).splitlines()[-1].strip()}"
            ) from None
        self.unet.eval()
        return self

    def marked(self, images: Tensor, key: Key, eps: float | None = None) -> Tensor:
        """Marked float images in [0, 1] of uint8 (N, C, H, W), differentiable in G; ``key`` has 1 or N rows."""
        x = self.compute.floats(images)
        pattern = self.carrier.pattern(images.to(self.compute.device), key)
        drive = GAIN * pattern
        if torch.is_grad_enabled() or self.trained:
            drive = drive + SHARE * torch.tanh(self.unet(torch.cat((x, (pattern + 1) / 2), dim=1)).float())
        return (x + (eps or self.eps) * drive.clamp(-1, 1)).clamp(0, 1)

    @torch.no_grad()
    def mark(self, images: Tensor, key: Key, eps: float | None = None) -> Tensor:
        """Marked float images on the CPU, not rounded yet; ``eps`` instead of the generator's own."""
        done = []
        for start in range(0, len(images), 256):
            part = slice(start, start + 256)
            extra = -len(images[part]) % SHAPE_STEP
            rows = {name: value if len(value) == 1 else padded(value[part], extra) for name, value in key.items()}
            done.append(self.marked(padded(images[part], extra), rows, eps)[: len(images[part])].cpu())
        return torch.cat(done) if done else images.float()
