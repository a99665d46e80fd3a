"""Labelled rows are read from every format alike, held out together with their like, and refused with a reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.training.config import DataConfig
from models.training.data import label_shares, read_labelled, same_text, soft_labels
from schemas.errors import ConfigError, DocyardError, InputError

ROWS = [
    {"id": f"r{number}", "text": f"text number {number}", "label": "ab"[number % 2], "shop": f"shop {number % 7}"}
    for number in range(60)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"rows{suffix}", ROWS)
    data = read_labelled(DataConfig(train=(f"rows{suffix}",)), tmp_path)
    both = {**dict(zip(data.train["id"], data.train["text"], strict=True))}
    both |= dict(zip(data.validation["id"], data.validation["text"], strict=True))
    assert both == {row["id"]: row["text"] for row in ROWS}
    assert set(data.train["source"]) == {f"rows{suffix}"}


def test_a_folder_gives_its_train_and_its_validation_file(tmp_path: Path) -> None:
    write(tmp_path / "set/train.csv", ROWS[:40])
    write(tmp_path / "set/validation.jsonl", ROWS[40:])
    data = read_labelled(DataConfig(train=("set",)), tmp_path)
    assert data.train["id"].tolist() == [row["id"] for row in ROWS[:40]]
    assert data.validation["id"].tolist() == [row["id"] for row in ROWS[40:]]
    assert not data.is_held_out
    assert set(data.train["source"]) == {"set"}


def test_held_out_rows_do_not_depend_on_the_order_or_on_other_rows(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", ROWS)
    write(tmp_path / "fewer.csv", ROWS[::-1][:40])
    config = DataConfig(train=("rows.csv",), validation_share=0.3)
    held_out = set(read_labelled(config, tmp_path).validation["id"])
    of_fewer = set(read_labelled(DataConfig(train=("fewer.csv",), validation_share=0.3), tmp_path).validation["id"])
    assert 8 <= len(held_out) <= 28
    assert of_fewer == held_out & {row["id"] for row in ROWS[::-1][:40]}


def test_rows_with_the_same_text_or_group_are_never_parted(tmp_path: Path) -> None:
    rows = [{"text": f"  Text   {'NUMBER' if n % 2 else 'number'} {n // 4}", "label": "ab"[n % 2]} for n in range(80)]
    write(tmp_path / "rows.csv", rows)
    data = read_labelled(DataConfig(train=("rows.csv",), validation_share=0.4), tmp_path)
    assert len(data.validation) > 4
    assert not set(data.train["same_text"]) & set(data.validation["same_text"])
    write(tmp_path / "grouped.csv", ROWS)
    grouped = read_labelled(DataConfig(train=("grouped.csv",), group_column="shop", validation_share=0.5), tmp_path)
    assert set(grouped.train["group"]) | set(grouped.validation["group"]) == {f"shop {n}" for n in range(7)}
    assert not set(grouped.train["group"]) & set(grouped.validation["group"])


def test_a_small_label_keeps_its_rows_for_learning(tmp_path: Path) -> None:
    rows = ROWS + [{"id": f"x{n}", "text": f"rare {n}", "label": "rare", "shop": "z"} for n in range(3)]
    write(tmp_path / "rows.csv", rows)
    data = read_labelled(DataConfig(train=("rows.csv",), validation_share=0.6), tmp_path, min_rows_per_label=3)
    assert (data.train["label"] == "rare").sum() == 3
    assert "rare" not in set(data.validation["label"])


def test_a_template_makes_the_text_and_a_row_without_any_field_has_none(tmp_path: Path) -> None:
    rows = [
        {"shop": "bakery", "paid": {"amount": 3.5}, "label": 1},
        {"shop": None, "paid": {"amount": None}, "label": 2},
    ]
    write(tmp_path / "t.jsonl", rows)
    write(tmp_path / "v.jsonl", rows)
    config = DataConfig(train=("t.jsonl",), validation=("v.jsonl",), template="{shop} | {paid.amount:.2f}")
    train = read_labelled(config, tmp_path).train
    assert train["text"].tolist() == ["bakery | 3.50", ""]
    assert train["label"].tolist() == ["1", "2"]
    assert train["id"].tolist() == ["row 1", "row 2"]


def test_case_and_white_space_make_no_other_text() -> None:
    assert same_text(" Where\n IS  my card ") == same_text("where is my card")
    assert same_text("order 12") != same_text("order 13")


def test_votes_become_probabilities_and_may_stand_for_a_label(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[0]["label"] = None
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "validation.jsonl", ROWS)
    votes = [
        {"id": "r0", "label": "a"},
        {"id": "r0", "label": "b", "weight": 3},
        {"id": "r1", "label": "c", "weight": 0.5},
        {"id": "r1", "label": "none of these"},
    ]
    write(tmp_path / "votes.jsonl", votes)
    config = DataConfig(
        train=("train.jsonl",),
        validation=("validation.jsonl",),
        votes=("votes.jsonl",),
        out_of_scope_label="none of these",
    )
    data = read_labelled(config, tmp_path)
    soft = soft_labels(data.votes, data.train["id"], ["a", "b", "c"])
    assert soft is not None
    np.testing.assert_allclose(soft[:2], [[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    assert np.isnan(soft[2:]).all()
    assert soft_labels(data.votes[:0], data.train["id"], ["a"]) is None


def test_all_right_labels_are_kept_beside_the_one_to_learn(tmp_path: Path) -> None:
    labels = [["a", "b"], '["b", "a"]', "[]", None]
    rows = [row | {"labels": labels[number % 4]} for number, row in enumerate(ROWS)]
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "validation.jsonl", rows[:4])
    config = DataConfig(train=("train.jsonl",), validation=("validation.jsonl",), labels_column="labels")
    data = read_labelled(config, tmp_path)
    assert data.validation["right_labels"].tolist() == [("a", "b"), ("b", "a"), (), ()]
    assert data.train["label"].tolist() == [row["label"] for row in ROWS]


def test_a_rows_further_right_labels_share_its_target_and_its_own_label_keeps_most() -> None:
    rows = pd.DataFrame(
        {
            "label": ["a", "b", "c", None, "b"],
            "right_labels": [("b", "a", "c"), ("b",), (), ("a", "b"), ("unknown", "a", "a")],
        }
    )
    shares = label_shares(rows, ["a", "b", "c"], 0.3)
    assert shares is not None
    np.testing.assert_allclose(shares, [[0.7, 0.15, 0.15], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0.3, 0.7, 0]], atol=1e-6)
    assert label_shares(rows[1:3], ["a", "b", "c"], 0.3) is None


def test_what_people_settled_is_learned_from_under_its_own_columns_and_never_held_out(tmp_path: Path) -> None:
    own = [{"id": row["id"], "message": row["text"], "queue": row["label"], "shop": row["shop"]} for row in ROWS]
    write(tmp_path / "own.csv", own)
    settled = [
        {"id": f"r{n + 50}", "text": f"settled {n}", "label": "c", "group": f"g{n}", "source": "review"}
        for n in range(20)
    ]
    write(tmp_path / "reviewed.parquet", settled)
    columns = {"text_column": "message", "label_column": "queue", "group_column": "shop", "validation_share": 0.4}
    without = read_labelled(DataConfig(train=("own.csv",), **columns), tmp_path)
    data = read_labelled(DataConfig(train=("own.csv",), reviewed=("reviewed.parquet",), **columns), tmp_path)
    assert data.is_held_out
    assert data.validation["id"].tolist() == without.validation["id"].tolist()
    assert data.train["id"].is_unique
    added = data.train[len(without.train) :]
    assert added[["text", "label", "group", "source"]].to_dict("records") == [
        {name: row[name] for name in ("text", "label", "group", "source")} for row in settled
    ]


@pytest.mark.parametrize(
    ("labels", "words"), [("a, b", "expected a list"), ('["a", ""]', "is empty"), ([1.5], "neither a text")]
)
def test_right_labels_that_are_no_list_are_refused(tmp_path: Path, labels: Any, words: str) -> None:
    write(tmp_path / "rows.jsonl", [ROWS[0] | {"labels": labels}])
    message = _refusal(tmp_path, InputError, labels_column="labels")
    assert "r0: 'labels'" in message
    assert words in message


def _refusal(tmp_path: Path, error: type[DocyardError], **config: Any) -> str:
    with pytest.raises(error) as refused:
        read_labelled(DataConfig(**{"train": ("rows.jsonl",)} | config), tmp_path)
    message = str(refused.value)
    assert "text number" not in message
    return message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": None}, "1 rows have no 'label', the first is r5"),
        ({"label": "  "}, "1 rows have no 'label'"),
        ({"label": 1.5}, "r5: 'label': expected a text or a whole number, found float"),
        ({"label": True}, "found bool"),
        ({"text": 7}, "r5, 'text': expected a text, found int"),
        ({"id": "r4"}, "row 6: 'id' is r4, as of another row"),
        ({"id": None}, "row 6: 'id' is missing"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    rows = [dict(row) for row in ROWS]
    rows[5] |= change
    write(tmp_path / "rows.jsonl", rows)
    assert words in _refusal(tmp_path, InputError)


@pytest.mark.parametrize("kind", ["text", "label", "id", "labels", "group", "source"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    message = _refusal(tmp_path, ConfigError, **{f"{kind}_column": "missing"})
    assert "no column 'missing'; it has id, text, label, shop" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "no rows"), ('{"text": "a"\n', "line 1 is not a JSON object"), ("[1]\n", "line 1 is not a JSON object")],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "rows.jsonl").write_text(content, encoding="utf-8")
    assert words in _refusal(tmp_path, InputError)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "text,label\nx,a,b\n", "line 2: expected 2 cells, found 3"),
        ("a.csv", 'text,label\n"x,a\n', "not readable as CSV"),
        ("a.csv", "text,text\nx,a\n", "occurs twice"),
        ("a.parquet", "no parquet", "cannot be read as parquet"),
        ("a.xlsx", "x", "expected a file that ends in .parquet, .csv, .jsonl"),
        ("b.csv", "text\n", "no such file"),
    ],
)
def test_a_broken_or_missing_file_is_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DocyardError, match=words):
        read_labelled(DataConfig(train=(name.replace("b.", "c."),)), tmp_path)


def test_a_folder_without_validation_beside_one_with_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "one/train.csv", ROWS)
    write(tmp_path / "one/validation.csv", ROWS)
    write(tmp_path / "two/train.csv", ROWS)
    assert "two does not" in _refusal(tmp_path, ConfigError, train=("one", "two"))
    write(tmp_path / "one/train.jsonl", ROWS)
    assert "found train.csv, train.jsonl" in _refusal(tmp_path, InputError, train=("one",))


def test_rows_of_several_files_keep_names_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = [{"text": f"{name} {row['text']}", "label": row["label"]} for row in ROWS]
        write(tmp_path / f"{name}.csv", rows)
    data = read_labelled(DataConfig(train=("a.csv", "b.csv"), validation=("a.csv",)), tmp_path)
    assert data.train["id"].is_unique
    assert {"a.csv:row 1", "b.csv:row 1"} <= set(data.train["id"])
    assert data.validation["id"][0] == "row 1"
