"""Every contrastive method: repeatable, resumable, without labels, and learning something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sscl.checkpoint import Checkpoint
from sscl.compute import Compute, in_full_precision
from sscl.config import Config, TrainConfig
from sscl.errors import ConfigError
from sscl.learning import LEARNERS
from sscl.learning.learn import learn
from sscl.learning.moco_v2 import OUTPUT
from sscl.learning.train import train_encoder
from sscl.models import Classifier, build
from sscl.models.features import all_features
from sscl.train import benign_accuracy
from sscl.types import ImageSet
from tests.conftest import shapes

pytestmark = pytest.mark.slow
METHODS = list(LEARNERS)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return shapes(64, 3)


@pytest.fixture(scope="module")
def training(config: Config) -> TrainConfig:
    return replace(
        config.user, model="resnet8", augment="views", batch_size=32, epochs=2, optimizer="sgd", learning_rate=0.06
    )


def weights(model: Classifier) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


def same(one: Classifier, other: Classifier) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_not_rounded_by_autocast(method: str, data: ImageSet) -> None:
    rng = torch.Generator().manual_seed(0)
    encoder = build("resnet8", 1, 28, classes=3, generator=rng)
    learner = LEARNERS[method](encoder, rng)
    with torch.autocast("cpu", torch.bfloat16):
        loss = learner.loss(encoder, data.images[:32] / 255, data.images[32:64] / 255)
    assert loss.dtype == torch.float32
    if method == "moco_v2":
        queries, keys = (F.normalize(torch.randn(8, OUTPUT, generator=rng), dim=1) for _ in range(2))
        exact = learner._one(queries, keys)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(in_full_precision(learner._one, queries, keys), exact)
            assert not torch.equal(learner._one(queries, keys), exact)


@pytest.mark.parametrize("method", METHODS)
def test_an_encoder_follows_from_the_seed_and_not_from_labels(
    method: str, data: ImageSet, training: TrainConfig, compute: Compute
) -> None:
    config = replace(training, learning=method)
    first = train_encoder(data, config, compute, seed=0, use="x")
    shuffled = ImageSet(data.images, data.labels.roll(1), data.class_names)
    assert same(first.model, train_encoder(shuffled, config, compute, seed=0, use="x").model)
    assert not same(first.model, train_encoder(data, config, compute, seed=1, use="x").model)
    assert len(first.losses) == 2
    assert [epoch for epoch, _ in first.knn] == [1, 2]
    features = all_features(first.model, data.images, compute)
    assert features.shape == (64, 64)
    assert features.std(dim=0).max() > 1e-4  # not collapsed to a point


@pytest.mark.parametrize("method", ["simclr", "moco_v2", "byol"])  # without more state, with a queue, with a copy
def test_a_broken_off_training_ends_the_same(
    method: str,
    data: ImageSet,
    training: TrainConfig,
    compute: Compute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(training, learning=method)
    seen: list[int] = []
    whole = train_encoder(data, config, compute, seed=0, use="x", watch=lambda done, _: seen.append(done))
    assert seen == list(range(1, config.epochs + 1))
    saved = Checkpoint.save

    def once(self: Checkpoint, *given: object) -> None:
        saved(self, *given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", once)
        with pytest.raises(KeyboardInterrupt):
            train_encoder(data, config, compute, seed=0, use="x", checkpoint=Checkpoint(tmp_path))
    resumed = train_encoder(data, config, compute, seed=0, use="x", checkpoint=Checkpoint(tmp_path))
    assert same(whole.model, resumed.model)
    assert (whole.losses, whole.knn) == (resumed.losses, resumed.knn)


@pytest.mark.parametrize("downstream", ["linear", "full"])
def test_a_classifier_on_the_encoder_tells_the_shapes_apart(
    downstream: str, training: TrainConfig, compute: Compute
) -> None:
    config = replace(training, learning="simclr", downstream=downstream, epochs=3)  # type: ignore[arg-type]
    model = learn(shapes(240, 1), config, compute, seed=0, use="x").model
    assert benign_accuracy(model, shapes(90, 2), compute) > 0.7  # chance is a third


def test_too_few_images_for_a_batch(data: ImageSet, training: TrainConfig, compute: Compute) -> None:
    with pytest.raises(ConfigError, match=r"batch_size: 200 is more than the 64 images; use a smaller one"):
        train_encoder(data, replace(training, learning="simclr", batch_size=200), compute, seed=0, use="x")


def test_a_method_without_its_packages_says_how_to_get_them(
    data: ImageSet, training: TrainConfig, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sscl.learning.train.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"learning: simclr needs lightly and kornia; pip install"):
        train_encoder(data, replace(training, learning="simclr"), compute, seed=0, use="x")
