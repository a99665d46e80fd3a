from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from models.drift import FALSE_ALARMS, Counts, Reference, add_counts, apart, compare, count_documents, drift_reference
from models.drift import parse_reference as parse
from models.policy import Policy
from models.scores import Scores
from schemas.codes import DriftFigure
from schemas.errors import BundleError

LABELS = tuple(f"label number {number}" for number in range(226))
POLICY = Policy(LABELS, 0.5, 6.0)
_SHARES = 1 / np.arange(1, len(LABELS) + 1)


def _scores(n: int, seed: int, moved: float = 0.0) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Answers to n texts and the lengths of these; `moved` shifts their familiarity."""
    rng = np.random.default_rng(seed)
    label_ids = rng.choice(len(LABELS), size=n, p=_SHARES / _SHARES.sum()).astype(np.int32)
    n_tokens = (rng.poisson(12, n) + 3).astype(np.int32)
    confidence = rng.beta(5, 1, n).astype(np.float32)
    scores = Scores(
        top_label_ids=label_ids[:, None],
        top_confidences=confidence[:, None],
        confidence=confidence,
        familiarity=rng.normal(8 + moved, 1, n).astype(np.float32),
        n_tokens=n_tokens,
        truncated=np.zeros(n, dtype=np.bool_),
        n_windows=np.ones(n, dtype=np.int32),
        first_tier=np.zeros(n, dtype=np.bool_),
    )
    return scores, n_tokens * 4 + rng.integers(0, 20, n)


def _reference(scores: Scores, characters: npt.NDArray[np.int64], **arguments: Any) -> Reference:
    written = json.dumps(drift_reference(scores, POLICY, characters, **arguments))
    reference = parse(json.loads(written), "certificate.json")
    assert reference is not None
    return reference


def _observed(reference: Reference, scores: Scores, characters: npt.NDArray[np.int64]) -> Counts:
    label_ids, counts = np.unique(scores.label_ids, return_counts=True)
    return count_documents(
        reference,
        {LABELS[label_id]: count for label_id, count in zip(label_ids.tolist(), counts.tolist(), strict=True)},
        confidence=scores.confidence,
        familiarity=scores.familiarity,
        n_tokens=scores.n_tokens,
        n_characters=characters,
    )


def _drifted(reference: Reference, scores: Scores, characters: npt.NDArray[np.int64]) -> set[DriftFigure]:
    return {one.figure for one in compare(reference, _observed(reference, scores, characters)) if one.drifted}


@pytest.mark.slow
def test_of_200_runs_like_the_reference_no_more_are_flagged_than_stated() -> None:
    flagged = 0
    for number in range(200):
        scores, characters = _scores(300 + (30, 60, 300)[number % 3], seed=number)
        reference = _reference(scores.take(slice(300)), characters[:300])
        flagged += bool(_drifted(reference, scores.take(slice(300, None)), characters[300:]))
    assert flagged <= 200 * FALSE_ALARMS + 3  # more has a probability below 1%, if the rate is as stated


def test_a_run_of_any_size_is_flagged_for_what_moved_and_for_nothing_else() -> None:
    reference = _reference(*_scores(1000, seed=1))
    for n_documents, moved in ((40, 2.0), (3000, 0.6)):
        scores, characters = _scores(n_documents, 2, moved)
        assert _drifted(reference, scores, characters) == {DriftFigure.FAMILIARITY}
        scores, characters = _scores(n_documents, 2, -moved)
        assert _drifted(reference, scores, characters) == {DriftFigure.FAMILIARITY, DriftFigure.STRANGERS}


def test_a_difference_of_no_consequence_is_not_flagged_however_many_documents_show_it() -> None:
    reference = _reference(*_scores(2000, seed=1))
    observed = _observed(reference, *_scores(2000, seed=1))
    millions = {name: {cell: count * 10**6 for cell, count in cells.items()} for name, cells in observed.items()}
    millions["familiarity"]["0"] //= 2  # 1 document in 80
    millions["familiarity"]["39"] += millions["familiarity"]["0"]
    figures = compare(reference, millions)
    assert {one.rows for one in figures} == {2 * 10**9}
    assert not any(one.drifted for one in figures)
    assert max(one.limit for one in figures) < 0.3


def test_distances_are_those_of_scipy() -> None:
    known, seen = _scores(500, seed=1), _scores(700, seed=2, moved=0.5)
    reference = _reference(*known)
    value = {one.figure: one.value for one in compare(reference, _observed(reference, *seen))}
    shares = [np.bincount(one.label_ids, minlength=len(LABELS)) / len(one.label_ids) for one, _ in (known, seen)]
    assert value[DriftFigure.LABEL_JS] == pytest.approx(jensenshannon(*shares, base=2) ** 2, abs=1e-6)
    exact = ks_2samp(known[0].familiarity, seen[0].familiarity).statistic
    assert exact - 1 / 40 <= value[DriftFigure.FAMILIARITY] <= exact + 1e-6  # at 39 edges only
    assert value[DriftFigure.STRANGERS] == pytest.approx(
        (seen[0].familiarity < 6).mean() - (known[0].familiarity < 6).mean(), abs=1e-6
    )


def test_parts_add_up_to_the_whole_and_the_same_counts_give_the_same_limits() -> None:
    scores, characters = _scores(300, seed=3)
    reference = _reference(*_scores(400, seed=4))
    whole = _observed(reference, scores, characters)
    parts = [_observed(reference, scores.take(rows), characters[rows]) for rows in (slice(7), slice(7, None))]
    assert add_counts(parts) == whole
    assert compare(reference, add_counts(parts)) == compare(reference, whole)


def test_a_value_and_a_limit_have_as_many_digits_as_tell_them_apart() -> None:
    assert apart(0.21700, 0.2166) == ("0.2170", "0.2166")
    assert apart(1.5, 0.5) == ("1.500", "0.500")
    assert apart(0.5, 0.5) == ("0.500", "0.500")


def test_rows_that_come_in_clusters_raise_the_limits() -> None:
    scores, characters = _scores(100, seed=5)
    clusters = np.repeat(np.arange(100), 10)
    repeated, lengths = scores.take(clusters), characters[clusters]
    reference, independent = _reference(repeated, lengths, clusters=clusters), _reference(repeated, lengths)
    assert reference.values["familiarity"].design_effect == pytest.approx(10, rel=0.05)
    assert independent.values["familiarity"].design_effect == 1
    other, other_lengths = _scores(100, seed=6)
    run = other.take(clusters), other_lengths[clusters]
    assert _drifted(independent, *run)
    assert not _drifted(reference, *run)


def test_a_reference_is_small_and_a_run_by_another_criterion_is_not_compared_by_scores() -> None:
    scores, characters = _scores(4000, seed=7)
    reference = _reference(scores, characters)
    assert len(json.dumps(drift_reference(scores, POLICY, characters), indent=1)) < 20_000
    figures = {one.figure for one in compare(reference, _observed(reference, scores, characters), "off")}
    assert figures == {DriftFigure.LABEL_PSI, DriftFigure.LABEL_JS, DriftFigure.LENGTH, DriftFigure.VOCABULARY}
    assert compare(reference, {}) == ()


def test_a_policy_without_a_guard_has_no_strangers() -> None:
    scores, characters = _scores(50, seed=8)
    values = drift_reference(scores, Policy(LABELS, 0.5, -np.inf), characters)
    assert "strangers" not in values["values"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 399}, "expected 399 rows"),
        ({"rows": 0}, "rows"),
        ({"labels": {"label number 0": -1}}, "labels"),
        ({"values": {"length": {"edges": [3.0, 1.0], "counts": [1, 1, 398], "design_effect": 1.0}}}, "ascending"),
        ({"values": {"length": {"edges": [1.0], "counts": [400], "design_effect": 1.0}}}, "edges"),
        ({"values": {"colour": {"edges": [1.0], "counts": [1, 399], "design_effect": 1.0}}}, "colour"),
        ({"more": 1}, "more"),
    ],
)
def test_a_reference_that_contradicts_itself_is_refused(change: dict[str, Any], says: str) -> None:
    scores, characters = _scores(400, seed=9)
    with pytest.raises(BundleError, match=says):
        parse(drift_reference(scores, POLICY, characters) | change, "certificate.json")
