"""The keyed watermark: carriers, hiding, training, and what is marked how."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from sscl import seeds
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.errors import ConfigError, InputError
from sscl.models import Classifier, build
from sscl.params import load
from sscl.perceptual import LPIPS, lpips_at
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext
from sscl.watermarks.carriers import CARRIERS
from sscl.watermarks.hiding import hide
from sscl.watermarks.sscl_keyed import Options, SSCLKeyed
from tests.conftest import ROOT, TINY, shapes

TRAINING = TrainConfig("baseline_cnn", 1, 32, "adam", 2e-3, 0.0, "onecycle", "none")


@pytest.fixture(scope="module")
def options() -> Options:
    return cast(Options, load(ROOT / "params.yaml", "demo", [*TINY, "generator.method=sscl_keyed"]).generator.options)


@pytest.fixture(scope="module")
def surrogate() -> Classifier:
    model = build("baseline_cnn", 1, 28, 3, seeds.generator(0, "surrogate"))
    return model.eval()


@pytest.mark.parametrize("name", list(CARRIERS))
@pytest.mark.parametrize("channels", [1, 3])
def test_carriers(name: str, channels: int) -> None:
    """Patterns fill [-1, 1], are a function of key and image, and other keys' are unlike them."""
    images = torch.randint(0, 256, (5, channels, 30, 30), generator=seeds.generator(0, "x"), dtype=torch.uint8)
    carrier = CARRIERS[name]
    keys = carrier.draw(40, channels, seeds.generator(1, "key"))
    one = {k: v[:1] for k, v in keys.items()}
    pattern = carrier.pattern(images, one)
    assert pattern.shape == images.shape
    assert 0.5 < pattern.square().mean().sqrt() <= 1
    assert pattern.abs().max() <= 1
    assert torch.equal(pattern, carrier.pattern(images, one))
    own = carrier.pattern(images, {k: v[:5] for k, v in keys.items()})
    assert torch.equal(own[:1], pattern[:1])
    patterns = torch.cat([carrier.pattern(images[:1], {k: v[i : i + 1] for k, v in keys.items()}) for i in range(40)])
    unit = torch.nn.functional.normalize(patterns.flatten(1), dim=1)
    cosine = (unit @ unit.T)[~torch.eye(40, dtype=torch.bool)]
    assert cosine.abs().mean() < 0.2


@pytest.mark.parametrize("name", ["wave", "texture"])
def test_waves_differ_between_images(name: str) -> None:
    images = torch.randint(0, 256, (60, 1, 32, 32), generator=seeds.generator(2, "x"), dtype=torch.uint8)
    key = CARRIERS[name].draw(1, 1, seeds.generator(3, "key"))
    unit = torch.nn.functional.normalize(CARRIERS[name].pattern(images, key).flatten(1), dim=1)
    assert (unit @ unit.T)[~torch.eye(60, dtype=torch.bool)].mean().abs() < 0.1


def test_hiding_lowers_the_likelihood_within_its_budget(surrogate: Classifier) -> None:
    data = shapes(30, 5)
    x = data.images.float() / 255
    before = surrogate(x).softmax(dim=1)[range(30), data.labels]
    change = hide(x, data.labels, [surrogate], 0.1, 5)
    after = surrogate((x + change).clamp(0, 1)).softmax(dim=1)[range(30), data.labels]
    assert change.abs().max() <= 0.1 + 1e-6
    assert (after < before).float().mean() > 0.9


def fitted(watermark: SSCLKeyed, surrogate: Classifier, compute: Compute, seed: int = 0):  # type: ignore[no-untyped-def]
    return watermark.fit(shapes(90, 3), surrogate, FitContext(compute, seed, "generator", TRAINING))


def test_training_is_repeatable_and_the_key_comes_last(
    options: Options, surrogate: Classifier, compute: Compute
) -> None:
    trained = replace(options, steps=3, lifetime=2, jpeg_quality=75)
    watermark = SSCLKeyed(trained, 1, compute)
    first, again = (fitted(watermark, surrogate, compute) for _ in range(2))
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    assert first.history == again.history
    assert set(first.history[0]) == {"loss", "cotrained", "clean", "contrast", "perceptual", "diversity"}
    alone = fitted(SSCLKeyed(replace(options, steps=0), 1, compute), surrogate, compute)
    key = [name for name in first.tensors if name.startswith("key.")]
    assert all(torch.equal(first.tensors[name], alone.tensors[name]) for name in key)
    assert any(not torch.equal(first.tensors[n], alone.tensors[n]) for n in first.tensors if n.startswith("generator."))


def test_marks_of_other_classes_carry_other_keys(options: Options, surrogate: Classifier, compute: Compute) -> None:
    watermark = SSCLKeyed(replace(options, steps=0, hide=0.0, query_eps=options.eps), 1, compute)
    state = fitted(watermark, surrogate, compute)
    data = shapes(30, 7)
    marked, labels = watermark.mark(data.images, data.labels, state, seeds.generator(0, "mark"))
    triggered = watermark.trigger(data.images, state)
    same = (marked == triggered).flatten(1).all(dim=1)
    assert torch.equal(same, data.labels == 1)
    assert torch.equal(labels, data.labels)


def test_hidden_release_images_differ_from_triggers(options: Options, surrogate: Classifier, compute: Compute) -> None:
    watermark = SSCLKeyed(replace(options, steps=0), 1, compute)
    state = fitted(watermark, surrogate, compute)
    data = shapes(30, 7).subset(torch.arange(1, 30, 3))
    marked, _ = watermark.mark(data.images, data.labels, state, seeds.generator(0, "mark"))
    assert not torch.equal(marked, watermark.trigger(data.images, state))


def test_impossible_options_and_data(options: Options, surrogate: Classifier, compute: Compute) -> None:
    with pytest.raises(ConfigError, match="carrier: 'stripes' is not possible"):
        replace(options, carrier="stripes")
    with pytest.raises(ConfigError, match="contrast"):
        replace(options, contrast=1.0)
    only = shapes(30, 3).subset(torch.arange(1, 30, 3))
    with pytest.raises(InputError, match="target_class: class 1 or every other class has no images"):
        SSCLKeyed(options, 1, compute).fit(
            ImageSet(only.images, only.labels, only.class_names), surrogate, FitContext(compute, 0, "g", TRAINING)
        )


def test_clean_models_resume_where_they_were(
    options: Options, surrogate: Classifier, train_set: ImageSet, compute: Compute, tmp_path: Path
) -> None:
    """A killed training goes on with the finished epochs and ends with the same secret."""
    training = replace(TRAINING, epochs=2)
    watermark = SSCLKeyed(replace(options, clean_models=2, steps=0), 1, compute)
    whole = watermark.fit(train_set, surrogate, FitContext(compute, 0, "g", training))
    epochs = []

    class Counting(Checkpoint):
        def part(self, name: str) -> Checkpoint:
            return Counting(self.folder / name)

        def save(self, *args: object) -> None:
            super().save(*args)  # type: ignore[arg-type]
            epochs.append(len(args[3]))  # type: ignore[arg-type]
            if epochs == [1]:
                raise KeyboardInterrupt

    context = FitContext(compute, 0, "g", training, Counting(tmp_path / "c"))
    with pytest.raises(KeyboardInterrupt):
        watermark.fit(train_set, surrogate, context)
    resumed = watermark.fit(train_set, surrogate, context)
    assert epochs == [1, 2]
    assert all(torch.equal(resumed.tensors[k], whole.tensors[k]) for k in whole.tensors)


def test_a_visible_key_is_made_fainter_in_the_release_alone(
    options: Options, surrogate: Classifier, compute: Compute
) -> None:
    loud = SSCLKeyed(replace(options, steps=0, hide=0.0, query_eps=0.9), 1, compute)
    state = fitted(loud, surrogate, compute)
    data = shapes(30, 7)
    lpips = LPIPS()

    def marked(watermark: SSCLKeyed) -> torch.Tensor:
        return watermark.mark(data.images, data.labels, state, seeds.generator(0, "mark"))[0]

    seen = float(lpips_at(lpips, data.images, marked(loud)).mean())
    faint = SSCLKeyed(replace(loud.options, visible=seen / 4), 1, compute)
    assert float(lpips_at(lpips, data.images, marked(faint)).mean()) < 0.4 * seen
    triggers = [watermark.trigger(data.images, state) for watermark in (loud, faint)]
    assert torch.equal(*triggers)
    change = (triggers[0].int() - data.images.int()).abs().max()
    assert options.eps * 255 < change <= 0.9 * 255


def test_audits_ask_with_several_strengths_in_turn(options: Options, surrogate: Classifier, compute: Compute) -> None:
    watermark = SSCLKeyed(replace(options, steps=0, ladder=4, query_eps=0.4), 1, compute)
    state = fitted(watermark, surrogate, compute)
    images = shapes(8, 7).images
    asked, full = watermark.asked(images, state), watermark.trigger(images, state)
    change = (asked.int() - images.int()).abs().flatten(1).amax(dim=1).tolist()
    assert all(value <= 255 * 0.4 * (1 + number % 4) / 4 for number, value in enumerate(change))
    assert change[0] < change[1] < change[2] < change[3]
    assert torch.equal(asked[3::4], full[3::4])
    alone = SSCLKeyed(replace(watermark.options, ladder=1), 1, compute)
    assert torch.equal(alone.asked(images, state), alone.trigger(images, state))
