"""Verdicts on simulated models: who is accused, who is not, and what makes a verdict inconclusive."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sscl.audit.record import Query, Record
from sscl.audit.references import References
from sscl.audit.spending import level
from sscl.audit.trial import Trial, null_of
from sscl.audit.verdict import decide
from sscl.compute import Compute
from sscl.errors import ConfigError
from sscl.statistics.alignment import VIEWS
from sscl.statistics.effects import centred
from sscl.types import BENIGN
from tests.audit.coded import GROUPS, MARKS, Rule, Suspect, audited, config, drawn, knows, noise, world


@pytest.mark.parametrize("test", ["exact", "sequential"])
@pytest.mark.parametrize("access", ["probabilities", "labels"])
def test_a_model_that_knows_the_word_is_found(test: str, access: str, compute: Compute) -> None:
    word = drawn(1)
    found, _ = audited(Suspect(knows(word), compute, access), word, config(test=test))
    assert found.decision == "trained-on-it"
    assert found.p_value <= 0.01
    assert "cannot know it" in found.reason
    assert found.effect > 0
    assert found.delta_p > 0.2
    if test == "exact":
        assert (found.as_good, found.words) == (1, 720)
        assert found.p_value == found.floor == 1 / 720


TRIALS = 100
INNOCENTS: dict[str, Any] = {
    "constant": lambda mark, image, seen: np.zeros(GROUPS),
    "taste of its own": lambda mark, image, seen: noise(7)[mark + 1],
    "one class for any mark": lambda mark, image, seen: 3.0 * np.eye(GROUPS)[2] * (mark >= 0),
    "fooled alike by neighbouring marks": lambda mark, image, seen: 3.0 * np.eye(GROUPS)[(mark + 1) // 2],
    "changes on the way": lambda mark, image, seen: noise(8 + (seen > 60))[mark + 1],
    "falls silent": lambda mark, image, seen: noise(9)[mark + 1] * (seen < 40),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(INNOCENTS))
@pytest.mark.parametrize("test", ["exact", "sequential"])
@pytest.mark.parametrize("access", ["probabilities", "labels"])
def test_innocents_are_accused_at_most_alpha_of_the_time(name: str, test: str, access: str, compute: Compute) -> None:
    """The word is drawn anew each time; the model never depends on it."""
    protocol, accused = config(test=test, alpha=0.1), 0
    for seed in range(TRIALS):
        found, _ = audited(Suspect(INNOCENTS[name], compute, access), drawn(seed), protocol)
        accused += found.decision == "trained-on-it"
    assert accused <= stats.binom.ppf(0.999, TRIALS, 0.1)


def alike(word: np.ndarray) -> Rule:
    """An encoder's trace: under a mark, views of images of its own class are answered alike, and others by chance."""

    def rule(mark: int, image: int, seen: int) -> np.ndarray:
        own = image // VIEWS % GROUPS
        learnt = mark >= 0 and own == word[mark]
        return by_chance(mark + 1, own if learnt else GROUPS + image)

    return rule


@cache
def by_chance(mark: int, number: int) -> np.ndarray:
    return np.random.default_rng([mark, number]).standard_normal(GROUPS)


UNMATCHED = {"attraction": knows, "alignment": alike}  # statistics for suspects with answers of their own


@pytest.mark.parametrize("statistic", UNMATCHED)
@pytest.mark.parametrize("test", ["exact", "sequential"])
def test_a_model_with_answers_of_its_own_is_found(test: str, statistic: str, compute: Compute) -> None:
    word = drawn(3)
    suspect = Suspect(UNMATCHED[statistic](word), compute)
    found, _ = audited(suspect, word, config(test=test, statistic=statistic, first_images=12))
    assert (found.decision, found.p_value <= 0.01) == ("trained-on-it", True)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", UNMATCHED)
@pytest.mark.parametrize("test", ["exact", "sequential"])
def test_innocents_with_answers_of_their_own_keep_the_level(test: str, statistic: str, compute: Compute) -> None:
    """Models that know another word."""
    protocol, accused = config(test=test, statistic=statistic, alpha=0.1, first_images=12), 0
    suspect = Suspect(UNMATCHED[statistic](drawn(999)), compute)
    for seed in range(TRIALS):
        accused += audited(suspect, drawn(seed), protocol)[0].decision == "trained-on-it"
    assert accused <= stats.binom.ppf(0.999, TRIALS, 0.1)


@pytest.mark.slow
def test_references_keep_the_level(compute: Compute) -> None:
    """Whatever matrix is subtracted, even the suspect's own taste turned round: it was fixed before the word."""
    rng, accused = np.random.default_rng(0), 0
    references = References(*(5 * rng.standard_normal((MARKS, GROUPS)) for _ in range(2)))
    for seed in range(TRIALS):
        found, _ = audited(Suspect(INNOCENTS["taste of its own"], compute), drawn(seed), config(alpha=0.1), references)
        accused += found.decision == "trained-on-it"
    assert accused <= stats.binom.ppf(0.999, TRIALS, 0.1)


def test_references_take_away_what_clean_models_share(compute: Compute) -> None:
    word = drawn(2)

    def rule(mark: int, image: int, seen: int) -> np.ndarray:
        shared: np.ndarray = noise(5)[mark + 1] * 2
        return shared + knows(word, 1.0)(mark, image, seen)

    suspect = Suspect(rule, compute)
    clean = Suspect(lambda mark, image, seen: noise(5)[mark + 1] * 2 + np.eye(GROUPS)[image % GROUPS] * 2, compute)
    _, record = audited(clean, word, config())
    effects = np.array(decide(record, config(), word).effects)
    without, _ = audited(suspect, word, config())
    found, _ = audited(suspect, word, config(), References(effects, effects))
    assert found.p_value == 1 / 720 < without.p_value
    assert found.p_plain == without.p_value


def test_a_suspect_does_not_hide_by_softening_its_answers(compute: Compute) -> None:
    """The defect: the least effect was in a unit that the suspect chooses."""
    word = drawn(2)
    loud, record = audited(Suspect(knows(word), compute), word, config())
    uniform = 1 / record.classes
    queries = [replace(q, answer=[uniform + (p - uniform) / 1000 for p in q.answer or []]) for q in record.queries]
    soft = decide(replace(record, queries=queries), config(least_effect=0.05), word)
    assert loud.decision == soft.decision == "trained-on-it"
    assert soft.effect < 0.05


def test_a_map_of_names_counts_for_classes_that_images_show(compute: Compute) -> None:
    """The defect: classes without an image of their own could be named after the word was known."""
    word = drawn(2)
    _, record = audited(Suspect(knows(word), compute), word, config())
    assert decide(record, config(), word, mapped=True).decision == "trained-on-it"
    group = int(word[0])
    hidden = {n for n, label in enumerate(record.labels) if label == group}
    elsewhere = np.eye(record.classes)[(group + 1) % record.classes].tolist()
    queries = [
        replace(q, answer=elsewhere) if q.mark == BENIGN and q.image in sorted(hidden)[1:] else q
        for q in record.queries
    ]
    found = decide(replace(record, queries=queries), config(), word, mapped=True)
    assert found.decision == "inconclusive"
    assert "read by a map of names, and for 1 classes" in found.reason


def test_a_map_of_names_counts_only_where_no_other_fits_better(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defect: with many images, an owner had a choice of maps that fitted nearly as well."""
    monkeypatch.setattr("tests.audit.coded.world", partial(world, 48))
    word = drawn(2)
    _, record = audited(Suspect(knows(word), compute), word, config())
    group, other = int(word[0]), int(word[1])
    moved = [n for n, label in enumerate(record.labels) if label == group][:5]  # of eight
    answer = np.eye(record.classes)[other].tolist()
    queries = [replace(q, answer=answer) if q.mark == BENIGN and q.image in moved else q for q in record.queries]
    swapped = replace(record, queries=queries)
    assert decide(swapped, config(), word).decision == "trained-on-it"
    assert "read by a map of names, and for 1 classes" in decide(swapped, config(), word, mapped=True).reason


def moved_by(record: Record, word: np.ndarray, little: float) -> Record:
    """A record in which every answer under a mark is changed by a little, toward the word's class."""
    queries = []
    for query in record.queries:
        row = np.array(query.answer)
        if query.mark != BENIGN:
            own = np.eye(len(row))[word[query.mark]]
            row = row + little * np.where(own > 0, 1, -1 / (len(row) - 1))
        queries.append(replace(query, answer=row.tolist()))
    return replace(record, queries=queries)


@pytest.mark.parametrize("statistic", ["effect", "attraction", "alignment"])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-7])
def test_changes_of_the_sixth_decimal_are_no_evidence(statistic: str, spread: float, compute: Compute) -> None:
    """The defect: marks that do nothing, and a record changed where the word points, gave the smallest p."""
    word = drawn(4)
    plain = Suspect(lambda mark, image, seen: spread * np.random.default_rng(image).standard_normal(GROUPS), compute)
    protocol = config(statistic=statistic, least_effect=0.0)
    before, record = audited(plain, word, protocol)
    assert before.p_value == decide(moved_by(record, word, 1e-6), protocol, word).p_value == 1.0


def test_references_of_any_shape_give_the_last_digits_no_bet_to_win(compute: Compute) -> None:
    """The defect: their weight followed from a tiny part of them, and a large part was multiplied by it."""
    rng, protocol = np.random.default_rng(0), config(test="sequential", first_images=24)
    shared = -(30.0 ** np.arange(GROUPS)) / 30
    references = np.round(shared + 1e-5 * rng.standard_normal((MARKS, GROUPS)), 6)
    given = References(references, references)
    highest = []
    for number in range(100):
        word, record = drawn(number), Record(GROUPS, GROUPS, world().labels.tolist())
        plain = np.full((24, GROUPS), 0.1)
        plain[np.arange(24), np.arange(24) % GROUPS] = 0.5
        for mark in range(-1, MARKS):  # an innocent that does not see the marks, and digits that nobody sees
            digits = 4.9e-7 * rng.uniform(-1, 1) * np.sign(centred(references)[mark]) if mark >= 0 else 0.0
            for image, answer in enumerate(plain + digits):
                record.queries.append(Query(mark, image, "", answer.tolist()))
        highest.append(Trial(record, protocol, MARKS, given).bets(word, 0.0005).highest)
    assert max(highest) < 1e-9


def test_a_suspect_does_not_hide_behind_the_references_by_softening_its_answers(compute: Compute) -> None:
    """The defect: subtracted as they are, they drown what soft answers say."""
    word = drawn(2)

    def guilty(softness: float) -> Suspect:
        return Suspect(lambda m, i, s: softness * (noise(5)[m + 1] * 2 + knows(word, 2.0)(m, i, s)), compute)

    clean = Suspect(lambda mark, image, seen: noise(5)[mark + 1] * 2 + np.eye(GROUPS)[image % GROUPS] * 2, compute)
    effects = np.array(audited(clean, word, config())[0].effects)
    for softness in (1.0, 0.1, 0.01):
        found, _ = audited(guilty(softness), word, config(), References(effects, effects))
        assert found.p_value <= (1 if softness > 0.01 else 2) / 720, softness  # at 0.01, two words tie


def test_a_model_that_declines_marked_images_is_inconclusive(compute: Compute) -> None:
    silent = Suspect(lambda mark, image, seen: np.full(GROUPS, np.nan if mark == 3 else 0.0), compute)
    found, _ = audited(silent, drawn(1), config())
    assert found.decision == "inconclusive"
    assert (found.missing, found.p_value) == (24, 1.0)
    assert "24 of 24 images were not answered under every mark" in found.reason


def test_a_suspect_that_is_queried_wrongly_is_inconclusive(compute: Compute) -> None:
    """The defect: a guilty model whose classes are in another order was said to be innocent."""
    word = drawn(1)
    moved = Suspect(lambda m, i, s: np.roll(knows(word)(m, i, s), 1), compute)
    found, _ = audited(moved, word, config())
    assert (found.decision, found.accuracy) == ("inconclusive", 0.0)
    assert "no better than by guessing" in found.reason
    assert "order of the classes" in found.reason


def test_an_order_of_the_classes_that_fits_better_is_inconclusive(compute: Compute) -> None:
    """Else an owner who knows the word could choose the order that fits it: half of the classes stay right."""
    word, order = drawn(1), np.array([1, 0, 3, 2, 4, 5])
    swapped = Suspect(lambda m, i, s: knows(word)(m, i, s)[order], compute)
    found, _ = audited(swapped, word, config())
    assert (found.decision, round(found.accuracy, 2)) == ("inconclusive", 0.33)
    assert "better if its classes are put into another order" in found.reason


def test_too_few_marks_say_how_many_would_do(compute: Compute) -> None:
    word = drawn(1, marks=2)
    found, _ = audited(Suspect(knows(word), compute), word, config())
    assert (found.decision, found.floor) == ("inconclusive", 1 / 30)
    assert "No answer could decide it; commit to 4 marks" in found.reason


def test_a_broken_off_audit(compute: Compute) -> None:
    word = drawn(1)
    _, record = audited(Suspect(knows(word), compute), word, config())
    found = decide(replace(record, queries=record.queries[:100]), config(), word)
    assert (found.decision, found.p_value) == ("inconclusive", 1.0)
    assert "broken off after 100 images" in found.reason
    with pytest.raises(ValueError, match="lacks answers"):
        decide(replace(record, queries=record.queries[:20]), config(), word)


def test_a_record_that_leaves_out_or_moves_queries_is_refused(compute: Compute) -> None:
    """Whoever could drop answers that he does not like could accuse anybody."""
    word = drawn(1)
    _, record = audited(Suspect(knows(word), compute), word, config())
    queries = record.queries
    for changed in (queries[:30] + queries[31:], [queries[1], queries[0], *queries[2:]], [*queries, queries[-1]]):
        with pytest.raises(ValueError, match="not those of the protocol, in its order"):
            decide(replace(record, queries=changed), config(), word)


def test_an_effect_that_is_too_small_to_matter_accuses_nobody(compute: Compute) -> None:
    word = drawn(1)
    found, _ = audited(Suspect(knows(word, 0.01), compute), word, config(least_effect=1.0))
    assert found.p_value <= 0.01
    assert found.decision == "inconclusive"
    assert "smaller than the 1 that was committed to" in found.reason


def test_repeated_audits_share_alpha(compute: Compute) -> None:
    assert sum(level(0.05, occasion) for occasion in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)
    assert level(0.05, 3) == pytest.approx(0.05 * 6 / (9 * math.pi**2))
    with pytest.raises(ConfigError, match="occasion: 0 is not possible"):
        level(0.05, 0)
    word = drawn(1)
    suspect = Suspect(knows(word), compute)
    first, _ = audited(suspect, word, config(), occasion=1)
    tenth, _ = audited(suspect, word, config(), occasion=10)
    assert (first.decision, tenth.decision) == ("trained-on-it", "inconclusive")
    assert tenth.alpha == level(0.01, 10)
    hundredth, _ = audited(suspect, word, config(), occasion=100)
    assert "no number of marks would help" in hundredth.reason


@pytest.mark.slow
def test_a_year_of_nightly_audits_accuses_no_more_than_alpha_allows(compute: Compute) -> None:
    """The defect: at the whole level every night, most innocents are accused within a year."""
    accused, careless, alpha = 0, 0, 0.2
    for owner in range(120):
        word = drawn(owner)
        nights = [
            audited(Suspect(lambda m, i, s, n=night: noise(1000 + n)[m + 1], compute), word, config())[0].p_value
            for night in range(owner * 7, owner * 7 + 7)
        ]
        accused += any(p <= level(alpha, night) for night, p in enumerate(nights, start=1))
        careless += any(p <= alpha for p in nights)
    assert accused <= stats.binom.ppf(0.999, 120, alpha)
    assert careless > stats.binom.ppf(0.999, 120, alpha)


def test_answers_left_out_under_different_marks_count_together(compute: Compute) -> None:
    """The defect: the share was of each mark by itself, so several times as many could be chosen."""
    picky = Suspect(lambda mark, image, seen: np.full(GROUPS, np.nan if image == mark + 1 else 0.0), compute)
    found, _ = audited(picky, drawn(1), config())
    assert found.missing == MARKS + 1
    assert found.decision == "inconclusive"
    assert "images were not answered under every mark" in found.reason


def test_whoever_leaves_images_out_chooses_among_them(compute: Compute) -> None:
    """An owner who knows the word drops those whose absence helps most, and still has an exact p-value."""
    alpha, careful, careless = 0.1, 0, 0
    for seed in range(80):
        few = Suspect(lambda m, i, s, n=seed: noise(100 * n + i)[m + 1] * (0 if i % 6 else 3), compute)  # react at all
        word = drawn(seed)
        found, record = audited(few, word, config())
        plain, chosen = found.p_value, decide(record, config(), word, omits=True).p_value
        for out in [{a, b} for a in range(0, 24, 6) for b in range(0, a + 6, 6)]:
            queries = [replace(q, answer=None) if q.mark == 0 and q.image in out else q for q in record.queries]
            less = replace(record, queries=queries)
            chosen = min(chosen, decide(less, config(), word, omits=True).p_value)
            plain = min(plain, null_of(Trial(less, config(), MARKS).matrix).p_value(word))
        careful += chosen <= alpha
        careless += plain <= alpha
    assert careful <= stats.binom.ppf(0.999, 80, alpha)
    assert careless > stats.binom.ppf(0.999, 80, alpha)  # what the factor is for


def test_who_could_leave_images_out_pays_for_it(compute: Compute) -> None:
    word = drawn(3)
    _, record = audited(Suspect(knows(word, 0.5), compute), word, config())
    file, api = (decide(record, config(), word, omits=omits).p_value for omits in (False, True))
    assert api == pytest.approx(4 / 3 * file)


def test_a_missing_image_ends_no_audit_early(compute: Compute) -> None:
    word, protocol = drawn(1), config(test="sequential", alpha=0.1)
    assert audited(Suspect(knows(word, 4.0), compute), word, protocol)[0].words is None
    picky = Suspect(lambda m, i, s: np.full(GROUPS, np.nan) if (m, i) == (0, 2) else knows(word, 4.0)(m, i, s), compute)
    found, _ = audited(picky, word, protocol)
    assert (found.missing, found.words) == (1, 720)
    assert found.p_value == pytest.approx(2 * 24 * 8 / 720)
