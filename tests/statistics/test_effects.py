from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit, softmax
from sklearn.covariance import EmpiricalCovariance, ShrunkCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sscl.statistics import exact
from sscl.statistics.attraction import SHRINKAGE, attractions
from sscl.statistics.effects import LEAST, SMOOTH, centred, effects, less_reference, row_centred, shape_of
from sscl.types import Responses

GROUPS = np.array([0, 0, 1, 1, 2, 2])


def soft(rng: np.random.Generator, count: int = 6, classes: int = 3) -> Responses:
    return Responses(rng.dirichlet(np.ones(classes), count))


def labels(values: list[int], classes: int = 3) -> Responses:
    return Responses.of_labels(np.array(values), classes)


def test_an_entry_is_the_mean_change_over_the_images_of_other_groups() -> None:
    rng = np.random.default_rng(0)
    benign, marked = soft(rng), [soft(rng), soft(rng)]
    found = effects(benign, marked, GROUPS, 3)
    for k in range(2):
        for c in range(3):
            changes = []
            for i in np.flatnonzero(c != GROUPS):
                after, before = (float(r.values[i, c]) for r in (marked[k], benign))
                odds = [float(logit(min(max(p, LEAST), 1 - LEAST))) for p in (after, before)]
                changes.append(after - before + odds[0] - odds[1])
            assert found[k, c] == pytest.approx(np.mean(changes))


def test_images_that_were_not_answered_both_ways_do_not_count() -> None:
    rng = np.random.default_rng(1)
    benign, marked = soft(rng), soft(rng)
    answered = np.array([True, True, False, True, True, True])
    silent = Responses(np.where(answered[:, None], marked.values, 0.0), "probabilities", answered)
    kept = np.flatnonzero(answered)
    expected = effects(benign.take(kept), [marked.take(kept)], GROUPS[kept], 3)
    assert np.allclose(effects(benign, [silent], GROUPS, 3), expected)
    none = Responses(np.zeros((6, 3)), "probabilities", np.zeros(6, dtype=bool))
    assert not effects(benign, [none], GROUPS, 3).any()


def test_labels_are_the_shares_of_answers_up_to_a_factor() -> None:
    before, after = labels([0, 0, 1, 1, 2, 2]), labels([0, 0, 0, 1, 0, 2])
    found = effects(before, [after], GROUPS, 3)[0]
    unit = 1 + 2 * float(logit(1 - LEAST))
    assert found == pytest.approx([unit * 2 / 4, 0, 0])


def test_a_class_that_top_k_does_not_list_counts_as_none() -> None:
    listed = Responses(np.array([[0.9, 0.0, 0.0]] * 6), "top_k")
    whole = Responses(np.array([[0.9, 0.1, 0.0]] * 6))
    found = effects(whole, [listed], GROUPS, 3)[0]
    assert found[1] < 0
    assert found[0] == found[2] == 0


def answers_of(access: str, rng: np.random.Generator, groups: np.ndarray, columns: int = 5) -> Responses:
    """Of a suspect that tells groups apart, but not well."""
    rows = rng.normal(size=(len(groups), columns)) + 2 * np.eye(columns)[groups % columns]
    if access == "features":
        return Responses(rows, "features")
    return labels(rows.argmax(axis=1).tolist(), columns) if access == "labels" else Responses(softmax(rows, axis=1))


class Shrunken(ShrunkCovariance):
    """Of scikit-learn, but for the identity's factor: that is the mean variance over fewer directions than columns."""

    def __init__(self, factor: float = 0.0) -> None:
        super().__init__()
        self.factor = factor

    def fit(self, rows: np.ndarray, _: None = None) -> Shrunken:
        plain = EmpiricalCovariance().fit(rows).covariance_
        self.covariance_ = (1 - SHRINKAGE) * plain + self.factor * np.trace(plain) / len(plain) * np.eye(len(plain))
        return self


@pytest.mark.parametrize("access", ["probabilities", "labels", "features"])
def test_attraction_reads_answers_as_scikit_learns_discriminant_analysis(access: str) -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(4), 12)
    benign, marked = answers_of(access, rng, groups), answers_of(access, rng, (groups + 1) % 4)
    found = attractions(benign, [marked], groups, 4)
    mean = benign.values.mean(axis=0)
    rows = [r.values - mean for r in (benign, marked)]
    if access != "features":
        rows = [np.sqrt(r.values + SMOOTH) - np.sqrt(SMOOTH) for r in (benign, marked)]
    rows = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows]
    centred_rows = rows[0] - rows[0].mean(axis=0)
    directions = np.linalg.norm(centred_rows, "nuc") ** 2 / np.linalg.norm(centred_rows) ** 2
    shrunken = Shrunken(SHRINKAGE * rows[0].shape[1] / directions)
    model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=shrunken, priors=np.full(4, 0.25))
    model.fit(rows[0], groups)
    one, other = (Responses(model.predict_proba(r)) for r in rows)
    np.testing.assert_allclose(found, effects(one, [other], groups, 4), atol=1e-4)
    assert found[0].max() > 0.5


@pytest.mark.parametrize("access", ["probabilities", "labels", "features"])
def test_answers_that_tell_nothing_give_no_effect(access: str) -> None:
    """Constant ones; and those of a group of which no image was answered."""
    rng, groups = np.random.default_rng(3), np.repeat(np.arange(3), 4)
    same = labels([1] * 12, 5) if access == "labels" else Responses(np.full((12, 5), 0.2), access)  # type: ignore[arg-type]
    assert not attractions(same, [same, same], groups, 3).any()
    told = answers_of(access, rng, groups)
    benign = Responses(np.where((groups == 2)[:, None], 0.0, told.values), told.access, groups != 2)
    marked = answers_of(access, rng, np.zeros(12, dtype=int))
    assert np.isfinite(attractions(benign, [marked], groups, 3)).all()
    nobody = Responses(np.zeros((12, 5)), told.access, np.zeros(12, dtype=bool))
    assert not attractions(nobody, [marked], groups, 3).any()


def test_features_that_differ_in_their_last_digits_alone_are_flat() -> None:
    """The defect: one image that differs by 2 % made all others count, by digits that an owner could have set."""
    groups = np.arange(50) % 5
    rows = np.ones((50, 8)) + 1e-6 * np.eye(8)[groups]
    rows[0] *= 1.02
    benign, marked = (Responses(each, "features") for each in (rows, rows[np.roll(np.arange(50), 1)]))
    assert not attractions(benign, [marked], groups, 5).any()


def test_a_perfect_classifier_is_read_too() -> None:
    """Its answers do not vary within a group."""
    groups = np.repeat(np.arange(3), 4)
    found = attractions(labels(groups.tolist(), 3), [labels([1] * 12, 3)], groups, 3)
    assert found[0].argmax() == 1
    assert found[0, 1] > 5


def test_more_columns_than_answers_are_read_in_what_the_answers_span() -> None:
    rng, groups = np.random.default_rng(4), np.repeat(np.arange(3), 4)
    benign, marked = answers_of("features", rng, groups), answers_of("features", rng, (groups + 1) % 3)
    turn = np.linalg.qr(rng.normal(size=(400, 400)))[0][:5]
    wide = [Responses(r.values @ turn, "features") for r in (benign, marked)]
    expected = attractions(benign, [marked], groups, 3)
    np.testing.assert_allclose(attractions(wide[0], wide[1:], groups, 3), expected, atol=2e-6)


def test_attraction_does_not_know_the_suspects_classes() -> None:
    """Another vocabulary in another order, and more of it, gives the same matrix."""
    rng = np.random.default_rng(3)
    benign, marked = soft(rng), soft(rng)
    order = np.array([4, 0, 2])

    def translated(r: Responses) -> Responses:
        wide = np.zeros((6, 7))
        wide[:, order] = r.values
        return Responses(wide)

    expected = attractions(benign, [marked], GROUPS, 3)
    np.testing.assert_allclose(attractions(translated(benign), [translated(marked)], GROUPS, 3), expected, atol=2e-6)


@pytest.mark.parametrize("access", ["probabilities", "labels"])
def test_a_model_that_learnt_the_marks_is_found_through_classes_of_its_own(access: str) -> None:
    """Five marks, ten groups, twelve classes that are a mixture of the groups: nobody tells which is which."""
    rng = np.random.default_rng(4)
    groups, word = np.repeat(np.arange(10), 5), np.array([7, 2, 9, 0, 4])
    centres = rng.dirichlet(0.2 * np.ones(12), 10)

    def answers(own: np.ndarray) -> Responses:
        p = 0.9 * centres[own] + 0.1 * rng.dirichlet(np.ones(12), len(own))
        return labels(p.argmax(axis=1).tolist(), 12) if access == "labels" else Responses(p)

    marked = [answers(np.where(rng.random(50) < 0.7, word[k], groups)) for k in range(5)]
    matrix = attractions(answers(groups), marked, groups, 10)
    assert exact.p_value(matrix, word, rng) <= 0.001


def test_answers_to_other_images_are_refused() -> None:
    rng = np.random.default_rng(5)
    for marked, groups in (([soft(rng, 5)], GROUPS), ([soft(rng)], GROUPS[:5]), ([], GROUPS)):
        for matrix in (lambda m, g: effects(soft(rng), m, g, 3), lambda m, g: attractions(soft(rng), m, g, 3)):
            with pytest.raises(ValueError, match="must be to the same images"):
                matrix(marked, groups)


@given(st.integers(0, 1000), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_the_scale_of_the_reference_is_the_least_squares_one(seed: int, softness: float) -> None:
    """Against numpy's own least squares, and the same up to scale when answers are softened."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(4, 6))
    suspect = 2 * reference + rng.normal(size=(4, 6))
    found = less_reference(suspect, reference)
    design = centred(reference).reshape(-1, 1)
    fitted = np.linalg.lstsq(design, centred(suspect).ravel(), rcond=None)[0][0]
    np.testing.assert_allclose(centred(suspect - max(0.0, fitted) * reference), centred(found), atol=1e-12)
    np.testing.assert_allclose(less_reference(softness * suspect, reference), softness * found, atol=1e-9)


def test_a_reference_that_the_suspect_contradicts_is_left_out() -> None:
    reference = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_array_equal(less_reference(-reference, reference), -reference)
    np.testing.assert_array_equal(less_reference(reference, np.zeros((3, 4))), reference)
    one = reference[:1]
    np.testing.assert_allclose(less_reference(one, one), np.full((1, 4), one.mean()), atol=1e-12)


@given(st.integers(0, 1000), st.integers(-26, 0), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_a_reference_has_in_whole_rows_and_columns_decides_nothing(seed: int, bits: int, by_rows: bool) -> None:
    """The defect: it was multiplied by a weight that followed from a tiny rest of it, and rounding decided."""
    rng = np.random.default_rng(seed)
    suspect, pattern = rng.normal(size=(8, 8)), 2.0**bits * rng.normal(size=(8, 8))
    rows, columns = (2.0**18 * rng.random(shape) for shape in ((8, 1), (1, 8)))
    reference = np.round(pattern + rows + columns, 6)
    before = less_reference(suspect, reference, by_rows=by_rows)
    change = 1e-7 * rng.uniform(-1, 1, (8, 8))
    after = less_reference(suspect + change, reference, by_rows=by_rows)
    shape = shape_of(reference)
    weight = float((np.abs(shape) * 1e-7).sum() / (shape**2).sum()) if shape.any() else 0.0
    taken = np.abs(row_centred(reference) if by_rows else shape)
    assert (np.abs(after - before) <= 1e-7 + taken * weight + 1e-8).all(), "rounding is far below what is doubted"
    assert by_rows or np.abs(before).max() < 10 * np.abs(suspect).max()


def test_next_to_nothing_of_a_reference_is_nothing() -> None:
    rng = np.random.default_rng(0)
    suspect = rng.normal(size=(4, 5))
    np.testing.assert_array_equal(less_reference(suspect, np.full((4, 5), 0.3)), suspect)
    np.testing.assert_array_equal(less_reference(suspect, 1e3 + 1e-4 * rng.normal(size=(4, 5))), suspect)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_features_may_be_rotated_scaled_and_shifted(scale: float) -> None:
    """What an embedding API may do to all answers alike changes nothing."""
    rng = np.random.default_rng(6)
    benign, marked = (rng.normal(size=(6, 4)) for _ in range(2))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    shift = rng.normal(size=4)
    plain = attractions(Responses(benign, "features"), [Responses(marked, "features")], GROUPS, 3)
    moved = [Responses(scale * (rows @ rotation + shift), "features") for rows in (benign, marked)]
    np.testing.assert_allclose(attractions(moved[0], moved[1:], GROUPS, 3), plain, atol=2e-6)


def test_features_are_of_no_class() -> None:
    rows = Responses(np.zeros((6, 3)), "features")
    with pytest.raises(ValueError, match="features are of no class; attraction and alignment compare these"):
        effects(rows, [rows], GROUPS, 3)
