"""The Python of docs/encoders.md: a network that is not the project's, its weights, and what customers get."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet18

from sscl import params
from sscl.compute import Compute
from sscl.models import CLASSIFIERS
from sscl.models.features import all_features
from sscl.models.io import load_classifier, save_classifier
from sscl.train import fresh
from tests.conftest import ROOT, shapes


class Weights:
    """Stands for ImageNet's, which are not fetched here."""

    DEFAULT: Any

    @staticmethod
    def get_state_dict() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return resnet18().state_dict()


Weights.DEFAULT = Weights()


@pytest.mark.slow
def test_the_blocks_do_what_the_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compute: Compute) -> None:
    page = (ROOT / "docs/encoders.md").read_text()
    network, store, licensed = re.findall(r"^```python\n(.*?)^```", page, flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("torchvision.models.ResNet18_Weights", Weights)
    (tmp_path / "encoders.py").write_text(network)
    made: dict[str, Any] = {}
    try:
        with torch.random.fork_rng():
            exec(store, made)
        (changes,) = re.findall(r"^surrogate: \{<<: \*simclr, (.*?)\}", page, flags=re.M)
        overrides = [f"surrogate.{change.replace(': ', '=')}" for change in changes.split(", ")]
        training = params.load(profile="contrastive-demo", overrides=overrides).surrogate
        assert (training.model, training.start, training.epochs) == ("encoders:network", "weights.safetensors", 0)
        data = shapes(12, 3)
        encoder = fresh(data, training, 0, "surrogate").eval()
        theirs = made["mine"].eval()
        theirs[1].fc = torch.nn.Identity()
        expected = theirs(data.images.float() / 255).detach()
        torch.testing.assert_close(all_features(encoder, data.images, compute), expected, atol=1e-4, rtol=1e-4)
        place = tmp_path / "runs/encoder/licensed/encoder/model.safetensors"
        place.parent.mkdir(parents=True)
        save_classifier(place, encoder)
        assert load_classifier(place)[0].classes == 3
        exec(licensed, made)
        with torch.random.fork_rng():
            theirs = made["network"](3, data.size, 5)
        left = theirs.load_state_dict(made["licensed"], strict=False)
        assert (left.missing_keys, left.unexpected_keys) == (["1.fc.weight", "1.fc.bias"], [])
    finally:
        CLASSIFIERS._members.pop("encoders:network", None)
        sys.modules.pop("encoders", None)
