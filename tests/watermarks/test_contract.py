"""What every registered watermark promises."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sscl import seeds
from sscl.compute import Compute
from sscl.config import EmbedConfig
from sscl.errors import ConfigError
from sscl.models import build
from sscl.params import load
from sscl.types import ImageSet
from sscl.watermarks import WATERMARKS, State, Watermark, create
from sscl.watermarks.base import FitContext, SingleTarget, budget
from sscl.watermarks.ownership_code import OwnershipCode, with_word
from tests.conftest import ROOT, TINY, shapes

TARGET = 1
WORD = torch.tensor([1, 2, 0, 1, 2, 0, 1])
METHODS = list(WATERMARKS)


@pytest.fixture(scope="module", params=METHODS)
def fitted(request: pytest.FixtureRequest, compute: Compute) -> tuple[Watermark[Any], State]:
    config = load(ROOT / "params.yaml", "demo", [*TINY, f"generator.method={request.param}"])
    watermark = create(request.param, config.generator.options, TARGET, classes=3, compute=compute)
    surrogate = compute.place(build("baseline_cnn", 1, 28, classes=3, generator=seeds.generator(0, "surrogate")))
    context = FitContext(compute, seeds.secret(0, None), 0, "generator", config.surrogate)
    state = watermark.fit(shapes(90, seed=3), surrogate, context)
    return watermark, with_word(state, WORD) if isinstance(watermark, OwnershipCode) else state


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), rate=st.floats(0.02, 0.33), count=st.integers(6, 90))
def test_embed_keeps_the_contract(fitted: tuple[Watermark[Any], State], seed: int, rate: float, count: int) -> None:
    watermark, state = fitted
    data = shapes(count, seed)
    config = EmbedConfig(rate, "dataset")
    supply = min(len(group) / share for group, share in watermark.shares(data.labels, state))
    if not 1 <= round(rate * count) <= supply - 1:
        return
    marked = watermark.embed(data, config, state, seeds.secret(seed, None))
    assert len(marked.indices) == round(rate * count)
    allowed = torch.cat([group for group, _ in watermark.shares(data.labels, state)])
    assert set(marked.indices.tolist()) <= set(allowed.tolist())
    untouched = torch.ones(count, dtype=torch.bool)
    untouched[marked.indices] = False
    assert torch.equal(marked.data.images[untouched], data.images[untouched])
    change = (marked.data.images.int() - data.images.int()).abs()
    assert change.max() <= budget(watermark.eps)
    if watermark.clean_label:
        assert torch.equal(marked.data.labels, data.labels)


def test_embed_is_repeatable(fitted: tuple[Watermark[Any], State]) -> None:
    watermark, state = fitted
    config = EmbedConfig(0.2, "dataset")
    first, again = (watermark.embed(shapes(60, 4), config, state, seeds.secret(7, None)) for _ in range(2))
    assert torch.equal(first.indices, again.indices)
    assert torch.equal(first.data.images, again.data.images)


def test_trigger_keeps_shape_and_type(fitted: tuple[Watermark[Any], State]) -> None:
    watermark, state = fitted
    images = shapes(9, 5).images
    for batch in (images, images[:1], images[:0]):
        result = watermark.trigger(batch, state)
        assert result.shape == batch.shape
        assert result.dtype == torch.uint8


def test_a_rate_that_the_class_cannot_supply(fitted: tuple[Watermark[Any], State]) -> None:
    watermark, state = fitted
    labels, key = shapes(90, 6).labels, seeds.secret(0, None)
    if isinstance(watermark, SingleTarget) and len(watermark.shares(labels, state)[0][0]) < 81:
        with pytest.raises(ConfigError, match=r"embed\.rate: 0\.9 of the dataset is 81 images, which"):
            watermark.select(labels, EmbedConfig(0.9, "dataset"), state, key)
        assert len(watermark.select(labels, EmbedConfig(1.0, "target_class"), state, key)) == 30
    with pytest.raises(ConfigError, match=r"embed\.rate: .* is not one image; raise it"):
        watermark.select(labels, EmbedConfig(0.001, "dataset"), state, key)


@pytest.mark.parametrize("method", METHODS)
def test_the_refusal_of_a_rate_does_not_tell_the_drawn_class(method: str, compute: Compute) -> None:
    options = load(ROOT / "params.yaml", "demo", [*TINY, f"generator.method={method}"]).generator.options
    labels = torch.tensor([0] * 5 + [1] * 8 + [2] * 20)
    messages = set()
    for target in range(3):
        state = State({"word": torch.tensor([target, (target + 1) % 3, (target + 2) % 3] * 2 + [target])})
        with pytest.raises(ConfigError) as refused:
            create(method, options, target, classes=3, compute=compute).select(
                labels, EmbedConfig(1.1, "dataset"), state, seeds.secret(0, None)
            )
        messages.add(str(refused.value))
    assert len(messages) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_target_that_does_not_exist(method: str, compute: Compute) -> None:
    options = load(ROOT / "params.yaml", "demo", [f"generator.method={method}"]).generator.options
    with pytest.raises(ConfigError, match="target_class: 3 does not exist, the dataset has classes 0 to 2"):
        create(method, options, 3, classes=3, compute=compute)


@dataclasses.dataclass(frozen=True)
class NoOptions:
    pass


class Liar(SingleTarget[NoOptions]):
    """Breaks one promise at a time."""

    Options = NoOptions
    lie = ""

    @property
    def eps(self) -> float:
        return 8 / 255

    def candidates(self, labels: Tensor) -> Tensor:
        return torch.nonzero(labels == self.target_class).flatten()

    def fit(self, train: ImageSet, surrogate: object, context: FitContext) -> State:
        return State()

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.lie == "type":
            return images.float(), labels
        if self.lie == "labels":
            return images, labels * 0
        return images + (9 if self.lie == "eps" else 8), labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        return images


@pytest.mark.parametrize(
    ("lie", "message"), [("type", "returned torch.float32"), ("eps", "changed a pixel by 9/255"), ("labels", "labels")]
)
def test_a_method_that_breaks_its_promise_is_caught(lie: str, message: str, compute: Compute) -> None:
    watermark = Liar(NoOptions(), TARGET, compute)
    images, labels = torch.full((2, 1, 8, 8), 100, dtype=torch.uint8), torch.tensor([1, 1])
    watermark.apply(images, labels, State(), seeds.generator(0, "x"))
    watermark.lie = lie
    with pytest.raises(ValueError, match=message):
        watermark.apply(images, labels, State(), seeds.generator(0, "x"))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_concrete_is_overridden(method: str) -> None:
    """A class between the contract and a method fills in abstract members; nobody changes what another filled in."""
    lines = [cls for cls in WATERMARKS[method].__mro__ if cls.__module__.startswith("sscl.watermarks")]
    for number, cls in enumerate(lines):
        for name, member in vars(cls).items():
            if name.startswith("__") or not (callable(member) or isinstance(member, property)) or name == "Options":
                continue
            above = [vars(other)[name] for other in lines[number + 1 :] if name in vars(other)]
            assert all(getattr(other, "__isabstractmethod__", False) for other in above), f"{cls.__name__}.{name}"
