"""One step down a gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def descend(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    rate: float | None = None,
    before: Callable[[], object] | None = None,
) -> None:
    """Take one step.

    Args:
        optimizer: of the parameters that change; gradients that they had before do not count.
        loss: scalar to make smaller.
        rate: the learning rate from now on; ``None`` for the one that there is.
        before: called between the gradients and the step, to look at gradients or change them.
    """
    if rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if before is not None:
        before()
    optimizer.step()
