from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sscl import seeds
from sscl.compute import Compute
from sscl.errors import InputError, SuspectError
from sscl.models import build
from sscl.models.io import save_classifier
from sscl.suspects import Context, open_oracle

NAMES = ("a", "b", "c", "d")


def test_local_model_answers_nhwc_images(tmp_path: Path, compute: Compute) -> None:
    model = build("resnet8", 3, 32, classes=4, generator=seeds.generator(0, "w")).eval()
    path = tmp_path / "m.safetensors"
    save_classifier(path, model)
    images = torch.randint(0, 256, (5, 32, 32, 3), generator=seeds.generator(0, "x"), dtype=torch.uint8)
    answers = open_oracle(str(path), Context(NAMES, compute)).query(images.numpy())
    expected = model(images.permute(0, 3, 1, 2).float() / 255).softmax(dim=1)
    torch.testing.assert_close(torch.from_numpy(answers.values).float(), expected, atol=1e-6, rtol=1e-5)
    for other in (images.numpy()[:, :28, :28], images.numpy()[:, :, :, :1]):
        with pytest.raises(SuspectError, match=r"takes images of 3x32x32, and the dataset's are .*; audit it as"):
            open_oracle(str(path), Context(NAMES, compute)).query(other)
    with pytest.raises(InputError, match="a model of 4 classes, but the dataset has 10"):
        open_oracle(str(path), Context(tuple("0123456789"), compute))
