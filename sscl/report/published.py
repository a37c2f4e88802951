"""The paper's own figures, to be compared with; they never enter a result."""

from __future__ import annotations

# Dataset source -> row of the paper's tables I and II (SSCL-BW).
PUBLISHED: dict[str, dict[str, float]] = {
    "mnist": {"ba_clean": 0.9923, "ba": 0.9869, "wsr": 0.982, "delta_p": 0.8665},
    "cifar10": {"ba_clean": 0.9253, "ba": 0.8678, "wsr": 0.9786, "lpips": 0.023, "delta_p": 0.964},
    "sub_imagenet": {"ba_clean": 0.673, "ba": 0.6247, "wsr": 0.8275, "delta_p": 0.988},
}
