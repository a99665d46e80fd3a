from __future__ import annotations

from collections import Counter

import pytest

from escalation.audits.sampling import choose
from schemas.drain_config import AuditsConfig

IDS = [f"d{number}" for number in range(400)]
LABELS = ["rare" if number % 100 == 7 else "common" for number in range(400)]
CONFIG = AuditsConfig(per_run=20, per_label=3)


def test_a_draw_depends_on_the_run_and_the_documents_and_on_nothing_else() -> None:
    drawn = choose("run-1", IDS, LABELS, CONFIG)
    assert choose("run-1", IDS[::-1], LABELS[::-1], CONFIG) == drawn
    assert set(choose("run-2", IDS, LABELS, CONFIG)) != set(drawn)


def test_a_rare_label_gets_its_audits_and_the_rest_is_a_random_sample_of_all() -> None:
    drawn = choose("run-1", IDS, LABELS, CONFIG)
    labels = dict(zip(IDS, LABELS, strict=True))
    assert sum(at_random for _, at_random in drawn.values()) == 20
    of_label = Counter(labels[key] for key in drawn)
    assert of_label["rare"] >= 3
    assert len(drawn) <= 20 + 3
    turns = [turn for turn, _ in drawn.values()]
    assert turns == sorted(turns)
    first_20 = [key for key, (_, at_random) in drawn.items() if at_random]
    assert first_20 == list(choose("run-1", IDS, LABELS, AuditsConfig(per_run=20, per_label=0)))


def test_every_answer_of_a_label_is_as_likely_to_be_drawn() -> None:
    drawn: Counter[str] = Counter()
    for run in range(600):
        drawn.update(list(choose(f"run-{run}", IDS, LABELS, CONFIG)))
    rare = [drawn[key] for key, label in zip(IDS, LABELS, strict=True) if label == "rare"]
    assert len(rare) == 4
    for count in rare:
        assert count / 600 == pytest.approx(sum(rare) / 2400, abs=0.08)


@pytest.mark.parametrize(("per_run", "per_label", "expected"), [(0, 0, 0), (1000, 0, 400), (0, 1000, 400), (0, 2, 4)])
def test_sizes_are_limited_by_what_there_is(per_run: int, per_label: int, expected: int) -> None:
    assert len(choose("run-1", IDS, LABELS, AuditsConfig(per_run, per_label))) == expected
