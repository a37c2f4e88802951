"""Whatever can be asked for by name stands in some page of the documentation."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sscl.attacks import DETECTORS, INVERSIONS, REMOVALS
from sscl.attacks.forgeries import FORGERIES
from sscl.data.augment import AUGMENTATIONS
from sscl.data.sources import SOURCES
from sscl.data.views import VIEWS
from sscl.encoders import outputs, removals
from sscl.learning import LEARNERS
from sscl.models import CLASSIFIERS
from sscl.peers import PEERS
from sscl.registry import Registry
from sscl.statistics.effects import STATISTICS
from sscl.statistics.encoders import ENCODER_TESTS
from sscl.statistics.paired import TESTS
from sscl.strangers import STRANGERS
from sscl.watermarks import WATERMARKS
from sscl.watermarks.marks import FAMILIES
from tests.conftest import ROOT

REGISTRIES: list[Registry[Any]] = [
    *(REMOVALS, DETECTORS, INVERSIONS, FORGERIES, removals.REMOVALS, outputs.OUTPUTS, WATERMARKS, FAMILIES),
    *(STRANGERS, STATISTICS, TESTS, ENCODER_TESTS, PEERS, CLASSIFIERS, SOURCES, AUGMENTATIONS, VIEWS, LEARNERS),
]


@pytest.fixture(scope="module")
def words() -> set[str]:
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "params.yaml"]
    return {word for page in pages for word in re.findall(r"\w+", page.read_text())}


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_name_is_in_the_docs(registry: Registry[Any], words: set[str]) -> None:
    narrow = {name for name in registry if name.removesuffix("_narrow") in words}
    assert set(registry) - words - narrow == set()
