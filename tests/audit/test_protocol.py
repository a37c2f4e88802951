"""What an audit asks, and that nothing of it depends on the word."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sscl.audit.protocol import ask
from sscl.audit.record import Query, Record, image_sha256, parts
from sscl.compute import Compute
from sscl.keystream import Keystream
from sscl.types import BENIGN
from sscl.watermarks.base import State
from tests.audit.coded import GROUPS, MARKS, Stamps, Suspect, audited, config, drawn, knows, noise, world

KEY = Keystream(bytes(32))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_images_digest_is_that_of_a_file_which_other_programs_write(channels: int) -> None:
    image = np.arange(4 * 6 * channels, dtype=np.uint8).reshape(4, 6, channels)
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if channels == 1 else image).save(file, "PPM")
    assert image_sha256(image) == hashlib.sha256(file.getvalue()).hexdigest()
    assert image_sha256(image.reshape(6, 4, channels)) != image_sha256(image), "the same bytes are another image"


@pytest.mark.parametrize("test", ["exact", "sequential"])
def test_two_words_have_the_same_queries(test: str, compute: Compute) -> None:
    """In order and in every byte; a sequential audit of a model that knows neither ends alike, too."""
    rule = lambda mark, image, seen: noise(3)[mark + 1]  # noqa: E731
    records = [audited(Suspect(rule, compute), drawn(seed), config(test=test))[1] for seed in (1, 2)]
    assert not np.array_equal(drawn(1), drawn(2))
    assert records[0].queries == records[1].queries


def test_labels_of_many_classes_take_little_memory() -> None:
    """The defect: a table of all classes, twenty gigabytes for 20,000 of them."""
    answer = np.linspace(0, 1, 20_000).tolist()
    record = Record(20_000, 2, [0], queries=[Query(BENIGN, 0, "", answer)])
    tracemalloc.start()
    (query,) = record.labels_only().queries
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert query.answer is not None
    assert (len(query.answer), sum(query.answer), query.answer[-1]) == (20_000, 1.0, 1.0)


def test_images_without_a_mark_first_and_then_mark_by_mark(compute: Compute) -> None:
    _, record = audited(Suspect(knows(drawn(1)), compute), drawn(1), config())
    assert [(q.mark, q.image) for q in record.queries] == [
        (mark, image) for mark in range(BENIGN, MARKS) for image in range(24)
    ]


def test_a_sequential_audit_asks_the_first_images_and_stops_when_they_will_do(compute: Compute) -> None:
    word = drawn(1)
    found, record = audited(Suspect(knows(word), compute), word, config(test="sequential"))
    whole, _ = audited(Suspect(knows(word), compute), word, config())
    assert (found.decision, whole.decision) == ("trained-on-it", "trained-on-it")
    assert found.queries <= whole.queries / 3
    assert {query.image for query in record.queries} == set(range(6))
    _, undecided = audited(Suspect(lambda m, i, s: np.zeros(GROUPS), compute), word, config(test="sequential"))
    assert len(undecided.queries) == len({(q.mark, q.image) for q in undecided.queries}) == 24 * (1 + MARKS)


def test_parts_cover_all_images_once() -> None:
    assert parts(config(), 24) == [(0, 24)]
    assert parts(config(test="sequential"), 24) == [(0, 6), (6, 24)]
    assert parts(config(test="sequential"), 5) == [(0, 5)]


def test_the_record_gives_answers_back(compute: Compute) -> None:
    suspect = Suspect(knows(drawn(1)), compute)
    _, record = audited(suspect, drawn(1), config())
    sent = Stamps(compute).asked(world().images, 2, State()).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(record.answers()[2].values, suspect.query(sent).values)


def test_what_was_answered_before_a_suspect_fails_is_kept(compute: Compute) -> None:
    class Stops(Suspect):
        def answer(self, images: np.ndarray) -> object:  # type: ignore[override]
            if self.seen >= 48:
                raise ConnectionError
            return super().answer(images)

    record = Record(GROUPS, GROUPS, world().labels.tolist())
    with pytest.raises(ConnectionError):
        ask(Stops(knows(drawn(1)), compute), Stamps(compute).queries(world().images, State()), config(), record=record)
    assert len(record.queries) == 48
    assert replace(record, queries=[]).answers() == {}
