"""Device, precision and memory layout: switches that are on where they help and off where they hurt."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sscl.config import ComputeConfig
from sscl.errors import ConfigError

M = TypeVar("M", bound=nn.Module)
USUAL_THREADS = torch.get_num_threads()  # of the process, before any configuration


@dataclass(frozen=True)
class Compute:
    """A ``ComputeConfig`` resolved on this machine."""

    device: torch.device
    bf16: bool
    channels_last: bool
    compile: bool

    @classmethod
    def set_up(cls, config: ComputeConfig) -> Compute:
        """The same as ``resolve``, and the whole process set up for it: threads, cuDNN, and how memory is reused.

        Raises:
            ConfigError: the named device does not exist here.
        """
        found = cls.resolve(config)
        if (threads := config.threads or USUAL_THREADS) != torch.get_num_threads():
            torch.set_num_threads(threads)
        _keep_freed_memory()
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False  # answers are evidence; training has bf16
        return found

    @classmethod
    def resolve(cls, config: ComputeConfig) -> Compute:
        """Pick the device and the switches; whoever computes with them calls ``set_up`` instead.

        Raises:
            ConfigError: the named device does not exist here.
        """
        name = config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError):
            raise ConfigError(f"compute.device: {config.device!r} is not usable here; use auto or cpu") from None
        bf16 = native_bf16(device) if config.bf16 == "auto" else config.bf16
        return cls(device, bf16, config.channels_last, config.compile)

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 autocast where it is on."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def place(self, model: M) -> M:
        """Move a model to the device and layout."""
        model = model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.channels_last else model

    def faster(self, model: M) -> M:
        """The model to run: compiled where that is on (it shares its parameters with ``model``)."""
        return torch.compile(model) if self.compile else model  # type: ignore[return-value]

    def floats(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) to float32 in [0, 1] in the wanted layout."""
        return self.laid_out(images.to(self.device, torch.float32, non_blocking=True).div_(255))

    def laid_out(self, x: Tensor) -> Tensor:
        """A batch (N, C, H, W) in the wanted layout."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x


def pixels(x: Tensor) -> Tensor:
    """The reverse of ``Compute.floats``: floats in [0, 1] to uint8, on the CPU."""
    return (x * 255).round().to(torch.uint8).cpu()


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16; one without such instructions emulates it, far slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    if device.type != "cpu":
        return False
    can: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of PyTorch do not tell
    return any(can.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def in_full_precision(work: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``work(*inputs)`` as autocast would not round it, of a loss that compares numbers that differ little."""
    with torch.autocast(inputs[0].device.type, enabled=False):
        return work(*(each.float() for each in inputs))


def uncompiled(model: M) -> M:
    """The model behind what ``Compute.faster`` returns: hooks and gradients of single images need it."""
    return getattr(model, "_orig_mod", model)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def _keep_freed_memory() -> None:
    """Have glibc reuse a freed tensor's memory instead of returning it to the kernel.

    By default every large tensor is a mapping of its own, whose pages the kernel clears again at every training step: a
    third of the time of a small network on a CPU. Other C libraries are left as they are.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 << 20)
