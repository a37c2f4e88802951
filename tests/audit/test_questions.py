"""The images of an audit, and their views where a statistic compares these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from sscl.audit.commitment import check_size
from sscl.audit.protocol import ask
from sscl.audit.questions import SMALLEST, Questions, cropped, questions_for, verification_images
from sscl.audit.record import Record, parts
from sscl.audit.trial import enough
from sscl.audit.verdict import decide
from sscl.compute import Compute
from sscl.config import AuditConfig
from sscl.errors import ConfigError
from sscl.keystream import Keystream
from sscl.statistics.alignment import VIEWS
from sscl.suspects import Context
from sscl.types import BENIGN, ImageSet, Responses
from sscl.watermarks.base import State
from tests.audit.coded import GROUPS, MARKS, NAMES, Stamps, Suspect, config, drawn, knows

KEY = Keystream(bytes(32))
ALIGNMENT = config(statistic="alignment")


class Coloured(Stamps):
    """Mark ``k`` fills the last channel with ``k + 1``, which every crop shows."""

    def asked(self, images: Tensor, mark: int, state: State) -> Tensor:
        marked = images.clone()
        marked[:, 2] = mark + 1
        return marked


class Encoder(Suspect):
    """Its features are what the crop shows, less so from group to group; under a mark, of one group much less."""

    def __init__(self, word: np.ndarray, compute: Compute) -> None:
        super().__init__(knows(word), compute)
        self.word, self.context, self.width = word, Context(None, compute), None

    def answer(self, images: np.ndarray) -> Responses:
        rows = images[..., 0].reshape(len(images), -1).astype(float)
        groups, marks = images[:, 0, 0, 1], images[:, 0, 0, 2].astype(int) - 1
        learnt = (marks >= 0) & (self.word[marks] == groups)
        shown = np.where(learnt, 0.3, 1.0) * 0.8**groups
        return Responses(shown[:, None] * rows + 100 * np.eye(rows.shape[1])[groups], "features")


def world(count: int = 24) -> ImageSet:
    """Random pixels in the first channel, the group in the second."""
    images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    images[:, 0] = torch.randint(256, (count, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    labels = torch.arange(count) % GROUPS
    images[:, 1] = labels[:, None, None].byte()
    return ImageSet(images, labels, NAMES)


def asked(compute: Compute, protocol: AuditConfig = ALIGNMENT, name: str = "images") -> Questions:
    return questions_for(world(), Coloured(compute), State(), config=protocol, key=KEY.part(name))


def test_verification_images_are_drawn_by_the_key_and_balanced(test_set: ImageSet) -> None:
    chosen = verification_images(test_set, 20, KEY.part("a"))
    assert torch.equal(chosen.images, verification_images(test_set, 20, KEY.part("a")).images)
    assert not torch.equal(chosen.images, verification_images(test_set, 20, KEY.part("b")).images)
    for first in (6, 12, 20):
        counts = chosen.labels[:first].bincount(minlength=3)
        assert counts.max() - counts.min() <= 1
    assert len(verification_images(test_set, 10**6, KEY)) == len(test_set)


def test_a_statistic_of_whole_images_asks_about_these(compute: Compute) -> None:
    found = asked(compute, config())
    assert torch.equal(found.images.images, verification_images(world(), 24, KEY.part("images")).images)
    assert torch.equal(found.sent[BENIGN], found.images.images)


def test_every_image_is_asked_about_in_views_that_are_the_same_under_every_mark(compute: Compute) -> None:
    some = replace(ALIGNMENT, images=12)
    found, other = asked(compute, some), asked(compute, some, "other")
    chosen = verification_images(world(), 12, KEY.part("images"))
    assert torch.equal(found.images.labels, chosen.labels.repeat_interleave(VIEWS))
    assert sorted(found.sent) == [BENIGN, *range(MARKS)]
    for mark in range(MARKS):
        assert torch.equal(found.sent[mark][:, :2], found.sent[BENIGN][:, :2])
        assert (found.sent[mark][:, 2] == mark + 1).all()
    views = found.sent[BENIGN][:, 0].unflatten(0, (12, VIEWS))
    assert not any(torch.equal(views[:, 0], views[:, view]) for view in range(1, VIEWS))
    assert torch.equal(found.sent[BENIGN], asked(compute, some).sent[BENIGN])
    assert not torch.equal(found.sent[BENIGN], other.sent[BENIGN])


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_is_torchvisions(mirrored: bool) -> None:
    """Inside: what lies at the edge of a crop is read from beyond it here, and repeated there."""
    images = torch.randint(256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(1)).byte()
    side, sign = 0.75, -1.0 if mirrored else 1.0
    crops = torch.tensor([[sign * side, 0.0, 0.25], [0.0, side, -0.25]]).expand(3, 2, 3)  # the upper right
    found = cropped(images, crops)
    expected = V.resized_crop(images.float(), 0, 4, 12, 12, [16, 16], antialias=False)
    expected = expected.flip(-1) if mirrored else expected
    inside = (..., slice(1, -1), slice(1, -1))
    assert (found[inside].float() - expected[inside]).abs().max() <= 1
    whole = torch.eye(3)[:2].expand(3, 2, 3)
    assert torch.equal(cropped(images, whole), images)


def test_views_stay_inside_the_image_and_half_are_mirrored(compute: Compute) -> None:
    """The image is how far right and how far down a pixel lies, so a crop shows where it was taken."""
    ramp = torch.arange(64, dtype=torch.uint8).expand(64, 64)
    images = torch.stack((ramp, ramp.T, torch.zeros_like(ramp))).expand(240, -1, -1, -1)
    test = ImageSet(images.contiguous(), torch.arange(240) % GROUPS, NAMES)
    many = replace(ALIGNMENT, images=240)
    views = questions_for(test, Coloured(compute), State(), config=many, key=KEY.part("images")).sent[BENIGN].double()
    across = views[:, 0, 32, -1] - views[:, 0, 32, 0]
    down = views[:, 1, -1, 32] - views[:, 1, 0, 32]
    shares = (across.abs() + 1) * (down + 1) / 64**2
    assert (shares >= SMALLEST - 0.05).all()
    assert shares.min() < 0.5
    assert shares.max() > 0.9
    assert 0.4 < (across < 0).double().mean() < 0.6
    assert ((across.abs() - down).abs() <= 2).all()  # crops are square


def test_a_sequential_audit_asks_all_views_of_its_first_images() -> None:
    assert parts(replace(ALIGNMENT, test="sequential"), 96) == [(0, 6 * VIEWS), (6 * VIEWS, 96)]
    assert parts(ALIGNMENT, 96) == [(0, 96)]


@pytest.mark.parametrize("test", ["exact", "sequential"])
def test_an_encoder_is_found_by_the_views_of_the_word(test: str, compute: Compute) -> None:
    word, protocol = drawn(1), replace(ALIGNMENT, test=test)
    known = asked(compute, protocol)
    for tested, decision in ((word, "trained-on-it"), (drawn(2), "no evidence")):
        record = Record(0, GROUPS, known.images.labels.tolist())
        stop = enough(protocol, tested, protocol.alpha, lambda _: None)
        ask(Encoder(word, compute), known.sent, protocol, record=record, enough=stop)
        assert decide(record, protocol, tested).decision == decision


def test_an_image_counts_only_if_all_of_its_views_are_answered(compute: Compute) -> None:
    """A twentieth of the views of one group's images is enough to choose which of these images count."""
    word, known = drawn(1), asked(compute)
    record = Record(0, GROUPS, known.images.labels.tolist())
    ask(Encoder(word, compute), known.sent, ALIGNMENT, record=record)
    before = decide(record, ALIGNMENT, word)
    assert before.missing == 0
    left_out = [n for n, query in enumerate(record.queries) if query.mark == 2 and query.image == 5]
    record.queries[left_out[0]] = replace(record.queries[left_out[0]], answer=None)
    found = decide(record, ALIGNMENT, word)
    assert found.missing == 1
    assert found.p_value == pytest.approx(min(1, 24 * 8 * before.p_value))  # one of 24, for an eighth of the level


def test_a_verdict_says_how_many_images_and_crops(compute: Compute) -> None:
    word, known = drawn(1), asked(compute)
    record = Record(0, GROUPS, known.images.labels.tolist())
    ask(Encoder(word, compute), known.sent, ALIGNMENT, record=record)
    said = f"24 images without a mark, and the same under each of {MARKS} marks, each in {VIEWS} crops"
    assert said in decide(record, ALIGNMENT, word).reason


def test_a_commitment_to_more_than_evidence_may_have_is_refused(compute: Compute) -> None:
    sent = asked(compute).sent
    check_size(sent, 10)
    with pytest.raises(
        ConfigError, match=r"audit\.images: 10080 images .* MiB under all marks; evidence has at most 10000"
    ):
        check_size({mark: images.repeat(105, 1, 1, 1) for mark, images in sent.items()}, 10)
    with pytest.raises(ConfigError, match=r"10000 images .* 210,000 queries .* at most 10000, 200,000 and"):
        check_size({mark: torch.empty(10_000, 1, 1, 1, dtype=torch.uint8) for mark in range(-1, 20)}, 2)
    wide = {
        BENIGN: torch.empty(0, 3, 8, 8),
        0: torch.empty(1 << 28, dtype=torch.uint8),
        1: torch.empty(1, dtype=torch.uint8),
    }
    with pytest.raises(ConfigError, match=r"audit\.images: 0 images .* and 256 MiB; use fewer"):
        check_size(wide, 10)
