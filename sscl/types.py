"""The values that rooms hand to each other: frozen, and checked at construction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

BENIGN = -1  # the mark's number in queries without one


@dataclass(frozen=True)
class ImageSet:
    """Decoded, labelled images of one split.

    Attributes:
        images: uint8, (N, C, H, W), C in {1, 3}.
        labels: int64, (N,), each in ``range(len(class_names))``.
        class_names: one name per class.

    Examples:
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> data = ImageSet(images, torch.tensor([0, 1]), ("cat", "dog"))
        >>> len(data), data.channels, data.size, data.classes
        (2, 3, 32, 2)
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise ValueError(
                f"images must be uint8 (N, 1 or 3, H, W), got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self.images),):
            raise ValueError(
                f"labels must be int64 ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.class_names)):
            raise ValueError(f"labels must lie in [0, {len(self.class_names)})")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    @property
    def size(self) -> int:
        """Height of the (square) images in pixels."""
        return int(self.images.shape[2])

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def subset(self, indices: Tensor) -> ImageSet:
        return ImageSet(self.images[indices], self.labels[indices], self.class_names)

    def to(self, device: torch.device) -> ImageSet:
        return ImageSet(self.images.to(device), self.labels.to(device), self.class_names)


@dataclass(frozen=True)
class MarkedSet:
    """A watermarked set: ``data`` is what is released; ``indices`` (int64, (M,), sorted) is the owner's secret."""

    data: ImageSet
    indices: Tensor

    def __post_init__(self) -> None:
        if self.indices.dtype != torch.int64 or self.indices.ndim != 1:
            raise ValueError("indices must be int64 (M,)")
        if len(torch.unique(self.indices)) != len(self.indices):
            raise ValueError("indices must be distinct")


Access = Literal["probabilities", "top_k", "labels", "features"]
ROUNDING = 0.005  # an API that rounds to two decimals is off by at most this much in each probability


@dataclass(frozen=True)
class Responses:
    """What a suspicious model answered to N images.

    Attributes:
        values: float64 (N, K). Probabilities of the suspect's classes: with ``top_k``, classes that were not listed
            have 0; with ``labels``, rows are one-hot. With ``features``, an encoder's output. Rows that were not
            answered are 0.
        access: how much the model tells.
        answered: bool (N,), which images it answered; ``None`` for all.

    Raises:
        ValueError: an answered row cannot be what ``access`` says, e.g. NaN, or a sum that rounding does not explain.

    Examples:
        >>> Responses(np.array([[0.2, 0.8]])).predictions
        array([1])
        >>> Responses(np.array([[0.2, 0.9]]))
        Traceback (most recent call last):
        ValueError: probabilities must sum to one in every row, up to rounding to two decimals
    """

    values: np.ndarray
    access: Access = "probabilities"
    answered: np.ndarray | None = None

    def __post_init__(self) -> None:
        p = self.values
        if p.ndim != 2 or p.dtype != np.float64:
            raise ValueError(f"answers must be float64 (N, K), got {p.dtype} {p.shape}")
        if self.answered is not None and (self.answered.dtype != bool or self.answered.shape != (len(p),)):
            raise ValueError(f"answered must be bool ({len(p)},)")
        rows = p if self.answered is None else p[self.answered]
        if self.access == "features":
            if not np.isfinite(rows).all():
                raise ValueError("features must be finite")
            return
        if not np.isfinite(rows).all() or (rows < 0).any():
            raise ValueError("probabilities must be finite and non-negative")
        sums, slack = rows.sum(axis=1), ROUNDING * p.shape[1] + 1e-3
        if (sums > 1 + slack).any() or (self.access != "top_k" and (sums < 1 - slack).any()):
            raise ValueError("probabilities must sum to one in every row, up to rounding to two decimals")
        if self.access == "labels" and not ((rows == 0) | (rows == 1)).all():
            raise ValueError("labels must be one-hot rows")

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of_labels(cls, labels: np.ndarray, classes: int) -> Responses:
        """Top-1 labels, int (N,), as responses; -1 where there was no answer."""
        if (labels >= classes).any():
            raise ValueError(f"label {labels.max()} is no class; expected 0 to {classes - 1}, or -1 for no answer")
        answered = labels >= 0
        rows = np.zeros((len(labels), classes))
        rows[np.flatnonzero(answered), labels[answered]] = 1.0
        return cls(rows, "labels", answered)

    @property
    def valid(self) -> np.ndarray:
        """bool (N,): which images were answered."""
        return np.ones(len(self), dtype=bool) if self.answered is None else self.answered

    @property
    def predictions(self) -> np.ndarray:
        """int64 (N,): the most probable class of each image."""
        classes: np.ndarray = np.argmax(self.values, axis=1)
        return classes

    def take(self, rows: np.ndarray) -> Responses:
        """The responses at ``rows``, indices or a mask."""
        return Responses(self.values[rows], self.access, self.valid[rows])

    def only(self, kept: np.ndarray) -> Responses:
        """The responses with those outside of a mask as if they had not been answered."""
        valid = self.valid & kept
        return Responses(np.where(valid[:, None], self.values, 0.0), self.access, valid)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one verification test on one suspicious model.

    Attributes:
        test: the test's registered name.
        delta_p: mean of ``p(y_t | x_w) - p(y_t | x)``, in [-1, 1]; differences of hits if only labels are known.
        wsr: watermark success rate, share of marked non-target images answered ``y_t``, in [0, 1].
        statistic: the test statistic.
        p_value: under the test's null hypothesis.
        rejected: whether the null hypothesis is rejected at ``alpha``.
        alpha: significance level.
        images: number of verification images.
    """

    test: str
    delta_p: float
    wsr: float
    statistic: float
    p_value: float
    rejected: bool
    alpha: float
    images: int

    def __post_init__(self) -> None:
        if not 0 <= self.p_value <= 1:
            raise ValueError(f"p_value must lie in [0, 1], got {self.p_value}")
        if self.images < 1:
            raise ValueError("a verdict needs at least one image")


def nhwc(images: Tensor) -> np.ndarray:
    """uint8 (N, C, H, W) as oracles are asked: (N, H, W, C)."""
    array: np.ndarray = images.permute(0, 2, 3, 1).contiguous().numpy()
    return array
