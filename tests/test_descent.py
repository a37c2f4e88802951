from __future__ import annotations

import torch

from sscl.descent import descend


def test_a_step_is_the_optimisers_and_old_gradients_do_not_count() -> None:
    weight = torch.tensor([3.0], requires_grad=True)
    weight.grad = torch.tensor([100.0])
    seen: list[float] = []
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def look() -> None:
        assert weight.grad is not None
        seen.append(weight.grad.item())

    descend(optimizer, weight.square().sum(), rate=0.25, before=look)
    assert weight.item() == 3 - 0.25 * 6
    assert seen == [6.0], "before the step, after the gradients"
    descend(optimizer, weight.square().sum())
    assert weight.item() == 1.5 - 0.25 * 3, "the rate stays"
