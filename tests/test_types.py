from __future__ import annotations

import numpy as np
import pytest
import torch

from sscl.types import ImageSet, MarkedSet, Responses, Verdict

IMAGES = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.float(), LABELS),
        (IMAGES[:, 0], LABELS),
        (torch.zeros(2, 2, 4, 4, dtype=torch.uint8), LABELS),
        (IMAGES, LABELS[:1]),
        (IMAGES, LABELS.int()),
        (IMAGES, torch.tensor([0, 2])),
        (IMAGES, torch.tensor([-1, 1])),
    ],
)
def test_image_set_refuses_wrong_shapes(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must"):
        ImageSet(images, labels, ("a", "b"))


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="label 3 is no class; expected 0 to 2, or -1"):
        Responses.of_labels(np.array([0, 3]), 3)


def test_marked_set_refuses_repeated_indices() -> None:
    with pytest.raises(ValueError, match="distinct"):
        MarkedSet(ImageSet(IMAGES, LABELS, ("a", "b")), torch.tensor([1, 1]))


@pytest.mark.parametrize(
    "rows", [[[0.5, 0.4]], [[float("nan"), 1.0]], [[-0.1, 1.1]], [[2.0, 0.0]]], ids=["sum", "nan", "negative", "above"]
)
def test_responses_refuse_what_are_not_probabilities(rows: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        Responses(np.array(rows))


def test_responses_predict_the_most_probable_class() -> None:
    assert Responses(np.array([[0.2, 0.8], [0.7, 0.3]])).predictions.tolist() == [1, 0]


def test_verdict_checks_its_p_value() -> None:
    with pytest.raises(ValueError, match="p_value"):
        Verdict("paired_t", 0.1, 0.1, 1.0, 1.5, False, 0.05, 10)
