"""Changes of answers: what each leaves, and what the statistic makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from sscl.encoders.outputs import OUTPUTS
from sscl.statistics.attraction import attractions
from sscl.types import Responses

NAMES = list(OUTPUTS)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 8)) @ np.diag(np.arange(1.0, 9.0))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_learnt_once_and_answers_every_query(name: str, features: np.ndarray) -> None:
    before = features.copy()
    change = OUTPUTS[name](features, np.random.default_rng(1))
    answered = change(features[:5])
    assert answered.shape[0] == 5
    assert np.isfinite(answered).all()
    assert not np.array_equal(answered[:, :1], features[:5, :1])
    assert np.array_equal(features, before)


def test_components_are_scikit_learns(features: np.ndarray) -> None:
    found = OUTPUTS["pca"](features, np.random.default_rng(0))(features)
    expected = PCA(n_components=2).fit_transform(features)
    assert np.allclose(np.abs(found), np.abs(expected))


def test_rounding_leaves_sixteen_levels(features: np.ndarray) -> None:
    change = OUTPUTS["rounding"](features, np.random.default_rng(0))
    assert max(len(np.unique(column)) for column in change(features).T) <= 16
    assert np.allclose(change(features).min(axis=0), features.min(axis=0))
    assert np.allclose(change(10 * features).max(axis=0), features.max(axis=0))


def test_the_statistic_does_not_see_a_rotation(features: np.ndarray) -> None:
    groups = np.arange(60) % 3
    marked = features + np.random.default_rng(2).normal(size=features.shape)
    change = OUTPUTS["rotation"](features, np.random.default_rng(3))
    found = [
        attractions(Responses(one, "features"), [Responses(other, "features")], groups, 3)
        for one, other in ((features, marked), (change(features), change(marked)))
    ]
    assert np.allclose(*found)
