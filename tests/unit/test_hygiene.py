"""Planted faults are found, all of them and nothing else; what cannot be trained is refused with every reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from models.training.config import Hygiene
from models.training.data import COLUMNS, LabelledData, same_text
from models.training.hygiene import InspectedData, choosing_and_certifying_rows, inspect_data
from schemas.errors import ConfigError

NO_SEARCH = {"find_mislabelled": False}
NO_VOTES = pd.DataFrame([], columns=["id", "label", "weight"])
WORDS = [f"{a}{b}" for a in ("red", "green", "blue", "tall", "wide") for b in ("fish", "tree", "boat", "lamp", "coat")]


def clean(n_rows: int, prefix: str) -> list[dict[str, Any]]:
    """Rows of three labels without any fault."""
    return [
        {
            "id": f"{prefix}{n}",
            "text": f"{prefix} {WORDS[n % 25]} {WORDS[(n // 25) % 25]}",
            "label": "abc"[n % 3],
            "group": None,
        }
        for n in range(n_rows)
    ]


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    full = [row | {"source": "made up", "right_labels": (), "same_text": same_text(row["text"])} for row in rows]
    return pd.DataFrame(full, columns=list(COLUMNS), dtype=object)


def words(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def look(
    train: list[dict[str, Any]], validation: list[dict[str, Any]], votes: pd.DataFrame = NO_VOTES, **rules: Any
) -> InspectedData:
    data = LabelledData(frame(train), frame(validation), False, votes)
    return inspect_data(data, "other", Hygiene(**(NO_SEARCH | rules)), max_tokens=8, count_tokens=words)


def test_clean_rows_give_an_empty_report() -> None:
    seen = look(clean(120, "t"), clean(60, "v"))
    assert seen.refused == []
    assert seen.labels == ["a", "b", "c"]
    assert len(seen.train) == 120
    described = ("rows", "labels", "lengths", "long_texts", "sources")
    findings = {key: value for key, value in seen.report.items() if key not in described}
    assert not any(value for key, value in findings.items() if key not in ("empty_texts", "leaks", "votes"))
    assert seen.report["votes"] == {"given": 0, "used": 0, "unknown": 0}
    assert seen.report["empty_texts"] == {"train": [], "validation": []}
    assert seen.report["long_texts"] == {"max_tokens": 8, "train": [], "validation": []}
    assert seen.report["labels"]["b"] == {"train": 40, "validation": 20}


def test_every_planted_fault_is_found_and_no_other() -> None:
    train, validation = clean(120, "t"), clean(60, "v")
    train[1]["text"] = ""
    train[8]["text"] = train[5]["text"].upper()  # a duplicate
    train[11]["text"] = train[5]["text"].replace(" ", "  ")  # another one
    train[20]["text"], train[23]["text"] = "order 12, please", "Order 77 please!"  # nearly the same
    train[31]["text"] = train[30]["text"]  # the same text under two labels
    train[40]["text"] = validation[7]["text"].upper()  # a leak
    train[50]["text"] = " ".join(["word"] * 9)  # too long
    train += [{"id": f"s{n}", "text": f"small {WORDS[n]}", "label": "small", "group": None} for n in range(3)]
    train.append({"id": "o1", "text": "who are you", "label": "other", "group": None})
    validation.append({"id": "o2", "text": "what is the time", "label": "other", "group": None})
    seen = look(train, validation)
    report = seen.report
    assert seen.refused == []
    assert report["empty_texts"] == {"train": ["t1"], "validation": []}
    assert report["duplicates"] == [["t5", "t8", "t11"], ["t30", "t31"]]
    assert report["near_duplicates"] == [["t5", "t8", "t11"], ["t20", "t23"], ["t30", "t31"]]
    assert report["conflicting_labels"] == [{"ids": ["t30", "t31"], "labels": ["a", "b"]}]
    assert report["leaks"] == {"train_ids": ["t40"], "dropped": True}
    assert report["long_texts"]["train"] == ["t50"]
    assert report["small_labels"] == {"small": 3}
    assert report["labels_without_validation"] == ["small"]
    assert report["labels_without_training"] == []
    assert report["rows"]["out_of_scope_train"] == report["rows"]["out_of_scope_validation"] == 1
    assert seen.train_strangers["id"].tolist() == ["o1"]
    assert seen.labels == ["a", "b", "c", "small"]
    assert {"t1", "t40", "o1"}.isdisjoint(seen.train["id"])
    assert len(seen.train) == 121


def test_the_report_names_rows_and_holds_no_text() -> None:
    train = clean(120, "t")
    train[3]["text"] = train[6]["text"] = "strictly confidential " * 9
    report = repr(look(train, clean(60, "v")).report)
    assert "t3" in report
    assert "confidential" not in report


def test_rows_that_repeat_by_nature_can_be_kept() -> None:
    train, validation = clean(120, "t"), clean(60, "v")
    for row in range(50):
        train[row]["text"] = validation[row]["text"]
    assert any("50 of 120 training rows" in reason for reason in look(train, validation).refused)
    kept = look(train, validation, leaks="keep")
    assert kept.refused == []
    assert len(kept.train) == 120
    assert len(kept.report["leaks"]["train_ids"]) == 50


def test_a_label_that_drowns_the_others_is_thinned_out_alike_whatever_else_there_is() -> None:
    rows = clean(120, "t")
    for row in rows[60:]:
        row["label"] = "a"
    whole = look(rows, clean(60, "v"), max_rows_per_label=30)
    assert whole.train["label"].value_counts().to_dict() == {"a": 30, "b": 20, "c": 20}
    assert whole.report["left_out_of_large_labels"] == {"a": 50}
    assert whole.report["labels"]["a"]["train"] == 30
    fewer = look(rows[:110], clean(60, "v"), max_rows_per_label=30)
    stayed = set(whole.train["id"]) & {row["id"] for row in rows[:110]}
    assert stayed <= set(fewer.train["id"])


def test_a_group_on_both_sides_is_a_leak() -> None:
    train, validation = clean(120, "t"), clean(60, "v")
    train[3]["group"] = train[4]["group"] = validation[9]["group"] = "contract 1"
    assert look(train, validation).report["leaks"]["train_ids"] == ["t3", "t4"]


def test_all_reasons_for_a_refusal_are_given_at_once() -> None:
    train = [row | {"label": "a"} for row in clean(30, "t")] + [
        {"id": "x", "text": "a lone row", "label": "lone", "group": None}
    ]
    validation = [row | {"label": "never seen"} for row in clean(20, "v")]
    refused = look(train, validation, min_rows_per_label=2).refused
    assert len(refused) == 3
    assert "1 labels have fewer than 2 training rows (lone)" in refused[0]
    assert "1 labels have validation rows but no training row (never seen)" in refused[1]
    assert "expected at least 50 validation rows with a label, found 20" in refused[2]


def test_a_label_with_a_single_row_is_named_and_learned() -> None:
    lone = {"id": "x", "text": "a lone row", "label": "lone", "group": None}
    seen = look([*clean(120, "t"), lone], clean(60, "v"))
    assert seen.refused == []
    assert seen.report["small_labels"]["lone"] == 1


def test_votes_are_counted_and_refused_where_none_names_a_row() -> None:
    votes = pd.DataFrame([["t1", "a", 1.0], ["v1", "a", 1.0], ["x1", "b", 1.0]], columns=["id", "label", "weight"])
    seen = look(clean(120, "t"), clean(60, "v"), votes=votes)
    assert seen.report["votes"] == {"given": 3, "used": 1, "unknown": 1}
    assert seen.refused == []
    [refused] = look(clean(120, "t"), clean(60, "v"), votes=votes[1:]).refused
    assert "none of the 2 votes names a row to learn from" in refused


def test_a_label_that_does_not_print_is_refused_before_it_is_trained() -> None:
    rows = [row | {"label": row["label"].replace("a", "cash\u00a0out")} for row in clean(120, "t")]
    refused = look(rows, clean(60, "v")).refused
    assert any(r"cash\xa0out" in reason for reason in refused)


def test_a_stranger_that_both_splits_know_is_a_leak_too() -> None:
    strangers = [{"id": f"s{n}", "text": f"odd {WORDS[n]}", "label": "other", "group": None} for n in range(10)]
    own = [row | {"id": row["id"] + "v"} for row in strangers[:4]]
    seen = look(clean(120, "t") + strangers, clean(60, "v") + own)
    assert seen.report["leaks"]["train_ids"] == ["s0", "s1", "s2", "s3"]
    assert seen.train_strangers["id"].tolist() == [f"s{n}" for n in range(4, 10)]
    assert len(seen.validation_strangers) == 4


def test_a_single_label_is_refused() -> None:
    one = [row | {"label": "a"} for row in clean(200, "t")]
    assert look(one[:120], one[120:]).refused == ["expected at least 2 labels to learn, found 1"]


def test_too_few_groups_to_calibrate_and_to_choose_with_are_refused() -> None:
    validation = [row | {"group": "the only one"} for row in clean(60, "v")]
    (reason,) = look(clean(120, "t"), validation).refused
    assert "only 0 of 60" in reason


def test_a_label_that_only_votes_know_is_learned() -> None:
    votes = pd.DataFrame([("t3", "d", 1.0), ("gone", "e", 1.0)], columns=["id", "label", "weight"])
    seen = look(clean(120, "t"), clean(60, "v"), votes)
    assert seen.labels == ["a", "b", "c", "d"]
    assert seen.refused == []
    assert seen.votes["id"].tolist() == ["t3"]


def test_no_row_both_chooses_and_certifies() -> None:
    rows = frame(clean(200, "v"))
    one, other = choosing_and_certifying_rows(rows, 0.5)
    assert sorted([*one["id"], *other["id"]]) == sorted(rows["id"])
    assert min(len(one), len(other)) > 70


@pytest.mark.parametrize(
    ("rules", "key"),
    [
        ({"leaks": "maybe"}, "leaks"),
        ({"min_rows_per_label": 0}, "min_rows_per_label"),
        ({"min_validation_rows": 3}, "min_validation_rows"),
        ({"max_leaked_share": 1.1}, "max_leaked_share"),
        ({"max_rows_per_label": 1, "min_rows_per_label": 2}, "max_rows_per_label"),
    ],
)
def test_rules_that_cannot_be_used_are_refused(rules: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: expected"):
        Hygiene(**rules)
