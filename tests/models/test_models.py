from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from sscl import seeds
from sscl.artifacts import save_tensors
from sscl.compute import Compute
from sscl.errors import ConfigError, InputError
from sscl.learning.downstream import with_head
from sscl.models import CLASSIFIERS, base, build
from sscl.models.base import PRETRAINED, Drawn, made
from sscl.models.fastnet import FASTER
from sscl.models.features import all_features, last_linear
from sscl.models.io import load_classifier, save_classifier
from sscl.models.unet import build_unet
from sscl.train import predict


@pytest.mark.parametrize("name", list(CLASSIFIERS))
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_every_classifier(name: str, channels: int, size: int, tmp_path: Path) -> None:
    model = build(name, channels, size, classes=7, generator=seeds.generator(0, name))
    x = torch.rand(2, channels, size, size, generator=seeds.generator(0, "x"))
    model.train()(x).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    logits = model.eval()(x)
    assert logits.shape == (2, 7)
    save_classifier(tmp_path / "m.safetensors", model, note="kept")
    loaded, metadata = load_classifier(tmp_path / "m.safetensors", classes=7)
    assert metadata["note"] == "kept"
    assert torch.equal(loaded(x), logits)


@pytest.mark.parametrize("name", ["resnet8", "vit_tiny", "convnext_nano", "fastnet_narrow"])
def test_initialisation_depends_on_its_generator_alone(name: str) -> None:
    torch.empty(4_000_000).fill_(7.0)  # what a parameter that is never set would have
    first, again, other = (build(name, 3, 32, classes=10, generator=seeds.generator(s, "w")) for s in (0, 0, 1))
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert all(p.abs().max() < 2 for p in first.parameters())


class Scaled(torch.nn.Module):
    """With a parameter that only its class knows how to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.scale = torch.nn.Parameter(torch.full((2,), 0.5))


class DrawnScaled(Scaled, Drawn):
    def draw(self, generator: torch.Generator) -> None:
        torch.nn.init.constant_(self.scale, 0.5)


def test_a_parameter_that_nothing_sets_is_an_error() -> None:
    rng = seeds.generator(0, "w")
    assert made(DrawnScaled, rng).scale.tolist() == [0.5, 0.5]
    with pytest.raises(TypeError, match=r"^Scaled\.scale has no first value: derive Scaled from .*\.Drawn$"):
        made(Scaled, rng)


def test_initialisation_is_pytorchs() -> None:
    """Same distribution as ``nn.Linear``'s own: uniform in 1 / sqrt(fan_in)."""
    weight = build("baseline_cnn", 1, 28, classes=10, generator=seeds.generator(0, "w")).backbone[7].weight
    bound = 512**-0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_layer_whitens_patches(channels: int) -> None:
    """Of images whose pixels depend on each other; the second half of the filters are the negatives of the first."""
    model = build("fastnet_narrow", channels, 16, classes=10, generator=seeds.generator(0, "w"))
    base = torch.rand(200, channels, 17, 17, generator=seeds.generator(0, "x"))
    images = (120 * (base[..., 1:, 1:] + base[..., :-1, :-1])).byte()
    model.normalise_as(images)
    layer = model.backbone[0]
    found = layer((images / 255 - model.mean) / model.std) - layer.bias[:, None, None]
    half = 4 * channels
    rows = found.transpose(0, 1).flatten(1)
    assert torch.allclose(rows[:half], -rows[half:], atol=1e-4)
    assert torch.allclose(rows[:half].cov(), torch.eye(half), atol=0.05)
    assert "backbone.0.weight" not in dict(model.named_parameters())  # so no training changes it


def test_the_fast_nets_convolutions_start_by_passing_their_inputs_on() -> None:
    layer = build("fastnet_narrow", 3, 16, classes=10, generator=seeds.generator(0, "w")).backbone[2][0]
    x = torch.rand(2, 24, 8, 8, generator=seeds.generator(0, "x"))
    assert torch.equal(layer(x)[:, :24], x)


def test_the_fast_nets_biases_learn_faster_under_sgd() -> None:
    """A step of plain SGD on the bias of a norm is that of a bias of its own, times ``FASTER``."""
    layer = build("fastnet_narrow", 3, 16, classes=10, generator=seeds.generator(0, "w")).backbone[2][2].train()
    x = torch.rand(4, 32, 8, 8, generator=seeds.generator(0, "x"))
    before = layer(x).detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(x).square().sum().backward()
    optimizer.step()
    gradient = (2 * before).sum(dim=(0, 2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.bfloat16()).dtype == torch.bfloat16
    moved = layer(x) - before
    torch.testing.assert_close(moved, (-0.1 * FASTER * gradient)[:, None, None].expand_as(moved))


@pytest.mark.parametrize("size", [28, 30, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_unet_keeps_odd_sizes(size: int, channels: int) -> None:
    model = build_unet(channels, 8, seeds.generator(0, "unet"))
    x = torch.rand(2, channels, size, size, generator=seeds.generator(0, "x"))
    assert model(x).shape == x.shape


def test_unet_marks_each_image_on_its_own() -> None:
    model = build_unet(3, 8, seeds.generator(0, "unet")).eval()
    x = torch.rand(4, 3, 32, 32, generator=seeds.generator(0, "x"))
    torch.testing.assert_close(model(x)[:1], model(x[:1]), atol=1e-5, rtol=1e-5)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_classifier(path, build("baseline_cnn", 1, 28, classes=10, generator=seeds.generator(0, "w")))
    with pytest.raises(InputError, match="a model of 10 classes, but the dataset has 3"):
        load_classifier(path, classes=3)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_classifier(path)


def test_pre_trained_weights_are_imagenets_and_the_head_is_fresh() -> None:
    """Fetched once, checked by checksum, read without unpickling anything but tensors."""
    found = PRETRAINED["efficientnet_lite0"]()
    model = build("efficientnet_lite0", 3, 64, classes=10, generator=seeds.generator(0, "w"))
    fresh = model.backbone._fc.weight.clone()
    model.start_from(found)
    state = model.backbone.state_dict()
    assert all(torch.equal(state[name], value) for name, value in found.weights.items())
    assert {name for name in state if name not in found.weights} == {"_fc.weight", "_fc.bias"}
    assert torch.equal(model.backbone._fc.weight, fresh)
    assert (float(model.mean[0, 0]), float(model.std[0, 0])) == pytest.approx((127 / 255, 128 / 255))
    with pytest.raises(
        ConfigError,
        match=r"start: _conv_stem\.weight is \(32, 3, 3, 3\) in .* for 1 channel.* expects \(32, 1, 3, 3\)",
    ):
        build("efficientnet_lite0", 1, 64, classes=10).start_from(found)
    with pytest.raises(ConfigError, match="unknown pre-trained model 'mlp'"):
        PRETRAINED["mlp"]


@pytest.mark.parametrize("name", list(CLASSIFIERS))
def test_the_last_linear_layer_gives_the_logits(name: str, compute: Compute, tmp_path: Path) -> None:
    """So that it can be exchanged for a classifier of other classes."""
    model = compute.place(build(name, 3, 32, classes=3, generator=seeds.generator(0, name)).eval())
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=seeds.generator(0, "x"))
    features = all_features(model, images, compute).to(compute.device)
    given = last_linear(model)(features).detach().cpu().double().softmax(dim=1)
    torch.testing.assert_close(given, predict(model, images, compute), atol=1e-4, rtol=0)
    head = torch.rand(5, features.shape[1], generator=seeds.generator(0, "head"))
    other = compute.place(with_head(model, head, torch.arange(5.0)))
    expected = (features.cpu() @ head.T + torch.arange(5.0)).double().softmax(dim=1)
    torch.testing.assert_close(predict(other, images, compute), expected, atol=1e-4, rtol=0)
    save_classifier(tmp_path / "m.safetensors", other)
    loaded = compute.place(load_classifier(tmp_path / "m.safetensors")[0])
    assert torch.equal(predict(loaded, images, compute), predict(other, images, compute))


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_is_numpys_over_images_of_every_class(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defect: data that come class by class were normalised by their first class."""
    monkeypatch.setattr(base, "MEASURED", 50)
    images = torch.randint(0, 50, (200, channels, 28, 28), dtype=torch.uint8, generator=seeds.generator(0, "x"))
    images[100:] += 150
    model = build("lenet5", channels, 28, classes=2)
    model.normalise_as(images)
    some = images[::4].numpy() / 255
    assert model.mean.flatten().tolist() == pytest.approx(some.mean(axis=(0, 2, 3)).tolist())
    assert model.std.flatten().tolist() == pytest.approx(some.std(axis=(0, 2, 3), ddof=1).tolist())


def test_a_small_file_that_claims_a_large_model_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    claims = {"model": "baseline_cnn", "channels": 3, "size": 2048, "classes": 10}
    save_tensors(path, {"mean": torch.zeros(1, 3, 1, 1)}, claims)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="weights do not fit a baseline_cnn of these sizes"):
        load_classifier(path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20
    )  # KiB: a network of this size has 16 GiB
