"""Networks of the user's own: known by the configuration alone, with weights from a file or from the run's seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sscl import params, seeds
from sscl.compute import Compute
from sscl.config import Config
from sscl.errors import ConfigError, InputError
from sscl.learning.downstream import with_head
from sscl.models import CLASSIFIERS, build
from sscl.models.features import all_features
from sscl.models.io import load_classifier, save_classifier
from sscl.models.own import know
from sscl.train import fresh, predict
from tests.conftest import shapes
from tests.own_networks import SOURCE, WIDTH


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a network of the user's own, in the current folder."""
    module = f"own_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield f"{module}:small"
    for name in [name for name in CLASSIFIERS._members if name.startswith(f"{module}:")]:
        del CLASSIFIERS._members[name]


def test_it_starts_from_weights_of_its_own(network: str, config: Config, compute: Compute, tmp_path: Path) -> None:
    know(network)
    theirs = build(network, 1, 16, classes=7, generator=seeds.generator(5, "theirs"))
    save_file(theirs.backbone.state_dict(), tmp_path / "theirs.safetensors")
    settings = [f"surrogate.model={network}", "surrogate.start=theirs.safetensors"]
    ours = params.load(overrides=settings).surrogate
    data = shapes(20, 1)
    model = fresh(data, ours, 0, "surrogate").eval()
    assert torch.equal(all_features(model, data.images, compute), all_features(theirs.eval(), data.images, compute))
    assert (float(model.mean), float(model.std)) == (0, 1), "it takes pixels in [0, 1]"
    assert model.classes == 3, "with a last layer for our classes"


def test_a_file_of_sscl_brings_its_normalisation_and_its_head(network: str, compute: Compute, tmp_path: Path) -> None:
    know(network)
    data = shapes(20, 1)
    theirs = build(network, 1, data.size, classes=3, generator=seeds.generator(5, "theirs")).eval()
    theirs.normalise_as(data.images)
    save_classifier(tmp_path / "theirs.safetensors", theirs)
    ours = params.load(overrides=[f"user.model={network}", "user.start=theirs.safetensors"]).user
    model = fresh(data, ours, 0, "user")
    assert torch.equal(predict(model, data.images, compute), predict(theirs, data.images, compute))
    loaded, _ = load_classifier(tmp_path / "theirs.safetensors", 3)
    assert torch.equal(predict(loaded, data.images, compute), predict(theirs, data.images, compute))
    head = torch.zeros(5, WIDTH), torch.arange(5.0)
    assert predict(with_head(loaded, *head), data.images, compute).shape == (20, 5)


def test_first_weights_follow_from_the_seed_and_leave_the_global_state(network: str) -> None:
    know(network)
    before = torch.get_rng_state()
    one, same, other = (build(network, 1, 16, classes=3, generator=seeds.generator(s, "w")) for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.backbone.scale, same.backbone.scale)
    assert not torch.equal(one.backbone.scale, other.backbone.scale)


def test_a_model_file_has_nothing_imported(network: str, tmp_path: Path) -> None:
    """Only the configuration makes a network known."""
    know(network)
    save_classifier(tmp_path / "m.safetensors", build(network, 1, 16, classes=3))
    del CLASSIFIERS._members[network]
    with pytest.raises(InputError, match="not a classifier of sscl"):
        load_classifier(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("headless", "its last linear layer must have 3 outputs, one a class, and a bias"),
        ("text", "returned str, expected a torch.nn.Module"),
    ],
)
def test_what_is_no_classifier_is_refused(network: str, function: str, said: str) -> None:
    name = network.replace(":small", f":{function}")
    know(name)
    with pytest.raises(ConfigError, match=said):
        build(name, 1, 16, classes=3)


def test_weights_that_do_not_fit_are_named(network: str, config: Config, tmp_path: Path) -> None:
    know(network)
    state = build(network, 1, 16, classes=3).backbone.state_dict()
    for wrong, said in (
        ({**state, "other": torch.ones(2)}, r"start: other is \(2,\) in the weights, and .* expects no such weight"),
        (
            {n: w for n, w in state.items() if n != "scale"},
            r"start: scale is missing in the weights, and .* expects \(1,\)",
        ),
        (
            {**state, "body.0.bias": torch.ones(5)},
            r"start: body.0.bias is \(5,\) in the weights, and .* expects \(6,\)",
        ),
    ):
        save_file(wrong, tmp_path / "w.safetensors")
        ours = params.load(overrides=[f"user.model={network}", "user.start=w.safetensors"]).user
        with pytest.raises(ConfigError, match=said):
            fresh(shapes(8, 1), ours, 0, "user")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("user.model=nowhere:net", "user.model: nowhere:net: No module named 'nowhere'"),
        ("surrogate.model=json:net", "surrogate.model: json:net: module 'json' has no attribute 'net'"),
        (
            "user.start=weights.pth",
            "user.start: 'weights.pth' is not possible, expected scratch, imagenet, or a .safet",
        ),
    ],
)
def test_a_setting_that_names_nothing_is_refused(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        params.load(overrides=[override])
