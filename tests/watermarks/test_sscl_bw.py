from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sscl import seeds
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.errors import InputError
from sscl.models import Classifier
from sscl.perceptual import LPIPS
from sscl.train import train_classifier
from sscl.types import ImageSet
from sscl.watermarks import State
from sscl.watermarks.base import FitContext, budget
from sscl.watermarks.io import load_watermark, save_watermark
from sscl.watermarks.quantise import quantise
from sscl.watermarks.sscl_bw import SSCLBW, Options, _Objective

KEY = seeds.secret(0, None)
TRAINING = TrainConfig("baseline_cnn", 1, 32, "adam", 2e-3, 0.0, "onecycle", "none")
OPTIONS = Options(eps=0.4, a=0.3, b=1.0, c=2.0, width=4, epochs=4, batch_size=32, learning_rate=5e-3, images=40)


@pytest.fixture(scope="module")
def surrogate(train_set: ImageSet, compute: Compute) -> Classifier:
    config = TrainConfig("baseline_cnn", 6, 32, "adam", 2e-3, 0.0, "onecycle", "none")
    return train_classifier(train_set, config, compute, seed=0, use="surrogate").model


@given(
    original=arrays("uint8", (1, 1, 3, 3)),
    change=arrays("float32", (1, 1, 3, 3), elements=st.floats(-1, 1, width=32)),
    eps=st.floats(1 / 255, 1),
)
def test_quantise_stays_within_eps_and_rounds(original, change, eps) -> None:  # type: ignore[no-untyped-def]
    x = torch.from_numpy(original)
    wanted = x.float() / 255 + torch.from_numpy(change).clamp(-eps, eps)
    marked = quantise(x, wanted, eps)
    assert marked.dtype == torch.uint8
    difference = (marked.int() - x.int()).abs()
    assert difference.max() <= budget(eps) <= eps * 255 + 1e-4
    assert ((marked.float() / 255 - wanted.clamp(0, 1)).abs() <= 1.0 / 255).all()


def test_quantised_images_survive_saving() -> None:
    """uint8 to float and back is the identity."""
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(quantise(x, x.float() / 255, 1.0), x)


def test_loss_is_the_papers(surrogate: Classifier, compute: Compute) -> None:
    rng = torch.Generator().manual_seed(0)
    x, marked = torch.rand(2, 8, 1, 28, 28, generator=rng).to(compute.device)
    lpips = LPIPS().to(compute.device)
    y_min = torch.tensor([0, 2, 2, 0], device=compute.device)
    total, l_t, l_nt, l_p = _Objective(OPTIONS, 1, surrogate, lpips)(x, marked, y_min)
    probabilities = surrogate(marked).softmax(dim=1)
    expected_t = -probabilities[range(4), y_min].log().mean()
    expected_nt = -probabilities[4:, 1].log().mean()
    torch.testing.assert_close(l_t, expected_t)
    torch.testing.assert_close(l_nt, expected_nt)
    torch.testing.assert_close(l_p, lpips(x, marked).mean())
    torch.testing.assert_close(total, 0.3 * expected_t + expected_nt + 2.0 * l_p)


def test_training_lowers_its_loss_and_leaves_the_surrogate(
    surrogate: Classifier, train_set: ImageSet, compute: Compute
) -> None:
    before = {k: v.clone() for k, v in surrogate.state_dict().items()}
    state = SSCLBW(OPTIONS, 1, compute).fit(train_set, surrogate, FitContext(compute, KEY, 0, "generator", TRAINING))
    losses = [row["non_target"] for row in state.history]
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(v, before[k]) for k, v in surrogate.state_dict().items())


def test_it_fools_the_surrogate_toward_the_target(
    surrogate: Classifier, train_set: ImageSet, test_set: ImageSet, compute: Compute
) -> None:
    watermark = SSCLBW(OPTIONS, 1, compute)
    state = watermark.fit(train_set, surrogate, FitContext(compute, KEY, 0, "generator", TRAINING))
    others = test_set.images[test_set.labels != 1]

    def loss(images: torch.Tensor) -> float:
        wanted = torch.ones(len(images), dtype=torch.int64, device=compute.device)
        return F.cross_entropy(surrogate(compute.floats(images)), wanted).item()

    assert loss(watermark.trigger(others, state)) < 0.5 * loss(others)


@pytest.mark.slow
def test_resumed_training_ends_with_the_same_weights(
    surrogate: Classifier, train_set: ImageSet, compute: Compute, tmp_path: Path
) -> None:
    watermark = SSCLBW(OPTIONS, 1, compute)
    whole = watermark.fit(train_set, surrogate, FitContext(compute, KEY, 0, "g", TRAINING))

    class Interrupted(Checkpoint):
        def save(self, *args: object) -> None:
            super().save(*args)  # type: ignore[arg-type]
            if len(args[3]) == 2 * 4:  # type: ignore[arg-type]
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watermark.fit(train_set, surrogate, FitContext(compute, KEY, 0, "g", TRAINING, Interrupted(tmp_path / "c")))
    goes_on = FitContext(compute, KEY, 0, "g", TRAINING, Checkpoint(tmp_path / "c"))
    resumed = watermark.fit(train_set, surrogate, goes_on)
    assert resumed.history == whole.history
    assert all(torch.equal(resumed.tensors[k], whole.tensors[k]) for k in whole.tensors)


def test_secret_round_trip_and_wrong_files(compute: Compute, tmp_path: Path) -> None:

    from sscl.models.unet import build_unet

    path = tmp_path / "generator.safetensors"
    state = State(dict(build_unet(1, 4, seeds.generator(0, "g")).state_dict()))
    save_watermark(path, SSCLBW(OPTIONS, 1, compute), state)
    watermark, loaded = load_watermark(path, 3, compute)
    assert watermark.options == OPTIONS
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    assert torch.equal(watermark.trigger(images, loaded), SSCLBW(OPTIONS, 1, compute).trigger(images, state))
    with pytest.raises(InputError, match="do not fit its config"):
        watermark.trigger(images.expand(-1, 3, -1, -1), loaded)
    state.tensors["out.bias"] = torch.tensor([float("nan")])
    save_watermark(path, SSCLBW(OPTIONS, 1, compute), state)
    with pytest.raises(InputError, match=r"out\.bias has NaN"):
        load_watermark(path, 3, compute)


def test_no_images_to_train_on(surrogate: Classifier, train_set: ImageSet, compute: Compute) -> None:
    only_target = train_set.subset(torch.nonzero(train_set.labels == 1).flatten())
    with pytest.raises(InputError, match="target_class: class 1 or every other class has no images"):
        SSCLBW(OPTIONS, 1, compute).fit(only_target, surrogate, FitContext(compute, KEY, 0, "g", TRAINING))
