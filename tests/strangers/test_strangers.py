"""Every stranger gives a suspect that can be asked, the same one again, and leaves the release as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sscl import seeds
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.data.augment import CropFlip
from sscl.models import Classifier, build
from sscl.models.features import last_linear
from sscl.strangers import STRANGERS, Workplace
from sscl.strangers.merged import Merged
from sscl.strangers.practices import DECAY, CutMix, _Averaging, settled
from sscl.strangers.serving import SHIFTS, Shifted, Together
from sscl.strangers.tuned import RANK, HeadOnly, LowRank, adapted
from sscl.train import fresh, predict
from sscl.types import ImageSet
from tests.conftest import shapes

TRAINING = TrainConfig("mlp", 2, 32, "adam", 2e-3, 0.0, "onecycle", "none", "scratch")
Place = Callable[[str], Workplace]


@pytest.fixture
def place(compute: Compute, tmp_path: Path) -> Place:
    def make(name: str) -> Workplace:
        folder = tmp_path / name
        folder.mkdir()
        released = shapes(96, 1)
        others = ImageSet(255 - released.images, released.labels, released.class_names)
        return Workplace(released, others, TRAINING, compute, 0, folder)

    return make


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch's exporter
@pytest.mark.parametrize("name", list(STRANGERS))
def test_a_stranger_gives_a_suspect(name: str, place: Place) -> None:
    first, stranger = place("first"), STRANGERS[name]
    before = first.released.images.clone()
    pixels = shapes(20, 2).images.permute(0, 2, 3, 1).contiguous().numpy()
    answers = stranger.suspect(first).query(pixels)
    taught = stranger.taught(first.released.classes)
    assert answers.values.shape == (20, int(taught.max()) + 1)
    assert torch.equal(first.released.images, before)
    np.testing.assert_array_equal(answers.values, stranger.suspect(place("again")).query(pixels).values)
    assert stranger.about.endswith(".")


def test_merged_takes_its_share_of_the_release(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ImageSet] = []
    monkeypatch.setattr(Workplace, "trained", lambda self, data: seen.append(data))
    workplace = place("merged")
    Merged(0.25).model(workplace)
    from_release = (seen[0].images == workplace.released.images).flatten(1).all(dim=1)
    from_elsewhere = (seen[0].images == workplace.others.images).flatten(1).all(dim=1)
    assert from_release.sum() == 24
    assert (from_release ^ from_elsewhere).all()


def test_coarser_and_fewer_classes() -> None:
    assert STRANGERS["class_merging"].taught(5).tolist() == [0, 0, 1, 1, 2]
    assert STRANGERS["class_subset"].taught(5).tolist() == [0, 1, 2, -1, -1]


class Means(Classifier):
    """Answers with the mean of each half of the image."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.name, self.channels, self.size, self.classes = "means", 1, 8, 2
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x)
        return torch.stack((x[..., :4].mean(dim=(1, 2, 3)), x[..., 4:].mean(dim=(1, 2, 3))), dim=1)


def test_cutmix_mixes_labels_as_it_mixes_pixels() -> None:
    """Of images of one value each, the share of foreign pixels is the weight of the foreign label."""
    x, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    x[1] = 1
    for seed in range(20):
        model = Means()
        loss = CutMix().loss(model, x, labels, torch.Generator().manual_seed(seed))
        (mixed,) = model.asked
        foreign = (mixed[0] != x[0]).float().mean()
        logs = model(mixed).log_softmax(dim=1)
        order = [1, 0] if foreign > 0 else [0, 1]
        expected = -((1 - foreign) * logs[[0, 1], labels] + foreign * logs[[0, 1], labels[order]]).mean()
        assert loss == pytest.approx(float(expected), abs=1e-6)


def test_averaged_weights_are_an_exponential_average() -> None:
    model, practice = build("mlp", 1, 8, classes=2), _Averaging()
    values = [1.0, 2.0, 4.0]
    for value in values:
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, value)
        practice.adjust(model, torch.Generator())
    expected = 1.0
    for value in values[1:]:
        expected = DECAY * expected + (1 - DECAY) * value
    assert practice.averaged is not None
    assert all(weights.flatten()[0].item() == pytest.approx(expected) for weights in practice.averaged.parameters())


def test_averaged_weights_have_batch_statistics_of_their_own(place: Place) -> None:
    workplace = replace(place("settled"), training=replace(TRAINING, augment="crop_flip"))
    model = build("resnet8", 1, 28, classes=3, generator=torch.Generator().manual_seed(0))
    model = workplace.compute.place(model)
    found = settled(model, workplace)
    assert not found.training
    first = next(module for module in found.modules() if isinstance(module, torch.nn.BatchNorm2d))
    inputs: list[Tensor] = []
    first.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    data, rng = workplace.released, seeds.generator(0, "batch statistics")
    choices, order = CropFlip().draw(len(data), rng), torch.randperm(len(data), generator=rng)
    for batch in torch.split(order, TRAINING.batch_size):
        found(workplace.compute.floats(CropFlip().apply(data.images[batch], choices[batch])))
    torch.testing.assert_close(first.running_mean, torch.cat(inputs).mean(dim=(0, 2, 3)))


def test_answers_are_averaged(compute: Compute) -> None:
    models = (build("mlp", 1, 8, classes=3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    one, two = (compute.place(model).eval() for model in models)
    images = shapes(5, 3, size=28).images[..., :8, :8]
    mean = (predict(one, images, compute) + predict(two, images, compute)) / 2
    torch.testing.assert_close(predict(Together([one, two]).eval(), images, compute), mean)
    shifted = [predict(one, images.roll(shift, dims=(2, 3)), compute) for shift in SHIFTS]
    torch.testing.assert_close(predict(Shifted(one).eval(), images, compute), torch.stack(shifted).mean(dim=0))


def test_low_rank_changes_every_layer_by_a_matrix_of_low_rank(place: Place) -> None:
    workplace = place("low rank")
    before = workplace.compute.place(fresh(workplace.released, TRAINING, 0, "stranger")).state_dict()
    after = LowRank().model(workplace)
    assert after.state_dict().keys() == before.keys()
    assert all(parameter.requires_grad for parameter in after.parameters())
    *layers, head = [name for name, module in after.named_modules() if isinstance(module, torch.nn.Linear)]
    assert layers
    for name in layers:
        change = (after.state_dict()[f"{name}.weight"] - before[f"{name}.weight"]).double()
        assert change.norm() > 0
        singular = torch.linalg.svdvals(change)
        assert singular[RANK:].max() < 1e-5 * singular[0]
        torch.testing.assert_close(after.state_dict()[f"{name}.bias"], before[f"{name}.bias"], rtol=0, atol=0)
    assert not torch.equal(after.state_dict()[f"{head}.weight"], before[f"{head}.weight"])


def test_low_rank_of_convolutions_is_added_for_good(compute: Compute) -> None:
    """Answers start as they were, and stay the same when a change that was learnt is merged into the weights."""
    model = build("resnet8", 3, 16, classes=3, generator=torch.Generator().manual_seed(0)).eval()
    images = shapes(4, 1, size=16, channels=3).images / 255
    before = model(images)
    layers = adapted(model, torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(images), before)
    assert len(layers) == sum(isinstance(layer, torch.nn.Conv2d) for layer in layers) > 0
    for layer in layers:
        torch.nn.init.constant_(layer.get_submodule("parametrizations.weight.0").get_parameter("up"), 0.1)
    changed = model(images)
    assert not torch.allclose(changed, before, atol=1e-3)
    for layer in layers:
        torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    torch.testing.assert_close(model(images), changed)


def test_low_rank_leaves_convolutions_in_groups_and_norms_alone() -> None:
    model = build("resnet8", 3, 16, classes=3, generator=torch.Generator().manual_seed(0))
    some = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    some.groups = 2
    layers = adapted(model, torch.Generator().manual_seed(1))
    assert some not in layers
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    head = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if module is last_linear(model)
        for part in ("weight", "bias")
    }
    assert head < learnt
    assert all(name.endswith((".up", ".down")) for name in learnt - head)


def test_head_only_keeps_the_weights(place: Place) -> None:
    workplace = place("head")
    before = workplace.compute.place(fresh(workplace.released, TRAINING, 0, "stranger")).state_dict()
    after = HeadOnly().model(workplace).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} == {list(after)[-1].rsplit(".", 1)[0]}


def test_parts_are_trained_of_pretrained_networks_alone() -> None:
    pretrained = replace(TRAINING, start="imagenet")
    for name in STRANGERS:
        assert STRANGERS[name].fits(pretrained)
        assert STRANGERS[name].fits(TRAINING) == (name not in ("head_only", "low_rank"))
