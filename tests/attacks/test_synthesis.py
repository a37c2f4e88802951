"""The generative model against closed forms, and what is trained on its drawings."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from sscl import seeds
from sscl.attacks import REMOVALS, Attacker
from sscl.attacks.synthesis import conditional
from sscl.compute import Compute
from sscl.models import Classifier
from sscl.train import benign_accuracy, fresh
from sscl.types import ImageSet
from tests.attacks.test_contract import TRAINING
from tests.conftest import FILE


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 33)])
def test_the_loss_is_the_negative_evidence_lower_bound(channels: int, size: int) -> None:
    """Held against ``torch.distributions``, at the same draw of the latents."""
    network = conditional(channels, size, 4, seeds.generator(0, "w"))
    x = torch.rand(5, channels, size, size, generator=seeds.generator(0, "x"))
    labels = torch.tensor([0, 1, 2, 3, 0])
    found = network.loss(x, labels, seeds.generator(0, "noise"))
    known = torch.nn.functional.one_hot(labels, 4).float()
    mean, spread = network.latents(torch.cat((network.seen(x), known), dim=1)).chunk(2, dim=1)
    posterior = Normal(mean, (spread / 2).exp())
    latent = mean + posterior.scale * torch.randn(mean.shape, generator=seeds.generator(0, "noise"))
    bits = Bernoulli(logits=network.draw(latent, labels), validate_args=False)
    likelihood = bits.log_prob(x).sum()  # type: ignore[no-untyped-call]
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(found, (divergence - likelihood) / 5)


@pytest.mark.slow
def test_drawings_teach_the_classes(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that never met an image of the release knows its classes: here a third of the image is brighter."""
    taught: list[ImageSet] = []
    trained = Attacker.trained

    def watched(attacker: Attacker, data: ImageSet, use: str) -> Classifier:
        taught.append(data)
        return trained(attacker, data, use)

    monkeypatch.setattr(Attacker, "trained", watched)

    def thirds(count: int, seed: int) -> ImageSet:
        images = torch.randint(0, 100, (count, 1, 28, 28), generator=seeds.generator(seed, "x"), dtype=torch.uint8)
        labels = torch.arange(count) % 3
        for image, label in zip(images, labels.tolist(), strict=True):
            image[:, 9 * label : 9 * label + 9] += 100
        return ImageSet(images, labels, ("top", "middle", "bottom"))

    attacker = Attacker(thirds(30, 1), thirds(300, 2), TRAINING, compute, 0, FILE)
    found = REMOVALS["synthesis"](fresh(attacker.released, TRAINING, 0, "any"), attacker, 10)
    assert benign_accuracy(found, thirds(300, 3), compute) > 0.9
    drawings = {image.numpy().tobytes() for image in taught[0].images}
    assert len(drawings) == 300
    assert not drawings & {image.numpy().tobytes() for image in attacker.released.images}
