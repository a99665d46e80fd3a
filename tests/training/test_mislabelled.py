"""Wrong labels that were planted in made-up text come first among the suspicions."""

from __future__ import annotations

import pytest

pytest.importorskip("cleanlab")

from models.training.mislabelled import find_mislabelled
from tests.support.make_letters import letters


def test_planted_wrong_labels_are_found() -> None:
    rows = [row | {"right": row["label"]} for row in letters(600, seed=5, wrong_share=0.0)]
    planted = list(range(10, 600, 30))
    for row in planted:
        rows[row]["label"] = "order" if rows[row]["label"] != "order" else "complaint"
    found = find_mislabelled([row["text"] for row in rows], [row["label"] for row in rows])
    first = {item.row for item in found[: len(planted)]}
    assert len(first & set(planted)) >= 0.8 * len(planted)
    assert all(item.label == rows[item.row]["label"] != item.rather for item in found)
    right = [item.rather == rows[item.row]["right"] for item in found if item.row in planted]
    assert sum(right) >= 0.8 * len(right)


def test_labels_with_too_few_rows_are_left_alone() -> None:
    texts = [f"text {n} {'good' if n % 2 else 'bad'}" for n in range(40)] + ["lonely one", "lonely two"]
    labels = ["yes" if n % 2 else "no" for n in range(40)] + ["rare", "rare"]
    assert all(item.row < 40 for item in find_mislabelled(texts, labels))
    assert find_mislabelled(["a b", "c d"], ["x", "y"]) == []
