"""Wrong labels that were planted in made-up text come first among the suspicions."""

from __future__ import annotations

import pandas as pd
import pytest

pytest.importorskip("cleanlab")

from models.training.hygiene import find_mislabelled
from tests.support.make_letters import letters


def test_planted_wrong_labels_are_found() -> None:
    rows = pd.DataFrame(letters(600, seed=5, wrong_share=0.0))
    right = rows.set_index("id")["label"]
    planted = rows["id"][10:600:30].tolist()
    rows.loc[10:600:30, "label"] = ["order" if label != "order" else "complaint" for label in right[planted]]
    found = pd.DataFrame(find_mislabelled(rows))
    assert found["id"][: len(planted)].isin(planted).sum() >= 0.8 * len(planted)
    given = rows.set_index("id")["label"]
    assert found["label"].tolist() == given[found["id"]].tolist()
    assert (found["label"] != found["rather"]).all()
    caught = found[found["id"].isin(planted)]
    assert (caught["rather"].to_numpy() == right[caught["id"]].to_numpy()).mean() >= 0.8


def test_labels_with_too_few_rows_are_left_alone() -> None:
    texts = [f"text {n} {'good' if n % 2 else 'bad'}" for n in range(40)] + ["lonely one", "lonely two"]
    labels = ["yes" if n % 2 else "no" for n in range(40)] + ["rare", "rare"]
    rows = pd.DataFrame({"id": range(42), "text": texts, "label": labels})
    assert all(item["id"] < 40 for item in find_mislabelled(rows))
    assert find_mislabelled(rows[39:41]) == []
