"""`docyard compare` on labelled rows and on the documents of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from models.trained_rows import FILE_NAME, TrainedRows
from tests.support.small_runs import (
    RUN_DATE,
    SECRET,
    check_refused,
    classify_arguments,
    documents,
    docyard,
    read_published,
    write_jsonl,
)
from tests.support.tiny_versions import tiny_version


@pytest.fixture
def stricter(tiny_bundle_unchanged: Path, tmp_path: Path) -> Path:
    return tiny_version(tiny_bundle_unchanged, tmp_path / "stricter", min_confidence=0.97)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    texts = {
        "please refund my card payment twice": "billing",
        "where is my parcel courier late address": "delivery",
        f"the app crash error screen {SECRET}": "technical",
        "i cannot login password reset": "technical",
        "refund the parcel password crash": "account",
    }
    return write_jsonl(tmp_path / "labelled.jsonl", [{"text": text, "label": label} for text, label in texts.items()])


def _compared(*arguments: object) -> dict[str, Any]:
    result = docyard("compare", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_stricter_policy_changes_routes_and_no_labels(
    tiny_bundle_unchanged: Path, stricter: Path, labelled: Path
) -> None:
    found = _compared(tiny_bundle_unchanged, stricter, "--data", labelled)
    assert (found["old"], found["new"]) == (
        load_bundle(tiny_bundle_unchanged).reference,
        load_bundle(stricter).reference,
    )
    assert found["rows"] == 5
    assert found["labels_changed"]["count"] == 0
    assert found["routes"]["escalated_to_accepted"] == 0
    text = docyard("compare", tiny_bundle_unchanged, stricter, "--data", labelled).stdout
    assert SECRET not in text
    assert "wrong among accepted, new" in text
    assert docyard("compare", tiny_bundle_unchanged, stricter, "--data", labelled).stdout == text


def test_documents_of_a_run_are_read_again_and_changed_ones_are_left_out(
    tiny_bundle_unchanged: Path, stricter: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(40))
    warehouse = tmp_path / "warehouse"
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, warehouse)).exit_code == 0
    where = ("--run-date", RUN_DATE, "--warehouse", warehouse)
    published = read_published(warehouse, "classifications")
    found = _compared(tiny_bundle_unchanged, stricter, *where)
    assert (found["rows"], found["published"], found["not_found"]) == (len(published), len(published), 0)
    assert found["accepted_share"]["old"] == pytest.approx((published["route"] == "accepted").mean())
    assert found["routes"]["accepted_to_escalated"] > 0
    assert found["routes"]["accepted_by_both"] > 0
    assert "accepted_error" not in found
    assert _compared(tiny_bundle_unchanged, stricter, *where, "--rows", 7)["rows"] == 7

    changed = documents(40)
    changed[0]["text"] = "another text"
    write_jsonl(source, changed)
    assert _compared(tiny_bundle_unchanged, stricter, *where)["not_found"] == 1
    source.unlink()
    check_refused(docyard("compare", tiny_bundle_unchanged, stricter, *where), 3, "in.jsonl")


def test_the_standing_bundle_can_be_the_old_one(
    tiny_bundle_unchanged: Path, stricter: Path, labelled: Path, tmp_path: Path
) -> None:
    warehouse = tmp_path / "warehouse"
    arguments = ("--warehouse", warehouse, "--by", "ada", "--reason", "first")
    assert docyard("promote", tiny_bundle_unchanged, *arguments).exit_code == 0
    found = _compared("standing", stricter, "--data", labelled, "--warehouse", warehouse)
    assert found["old"] == load_bundle(tiny_bundle_unchanged).reference


def test_what_cannot_be_compared_is_refused(
    tiny_bundle_unchanged: Path, stricter: Path, labelled: Path, warehouse: Path, tmp_path: Path
) -> None:
    letters = tiny_version(tiny_bundle_unchanged, tmp_path / "letters", document_type="letter")
    pair = (tiny_bundle_unchanged, stricter)
    check_refused(docyard("compare", *pair), 2, "--data", "--run-date")
    check_refused(docyard("compare", *pair, "--data", labelled, "--run-date", RUN_DATE), 2, "either")
    check_refused(docyard("compare", tiny_bundle_unchanged, letters, "--data", labelled), 4, "'letter'")
    where = ("--warehouse", warehouse, "--run-date")
    check_refused(docyard("compare", *pair, *where, "1999-01-01"), 8, "no run of 1999-01-01")
    shutil.rmtree(warehouse)
    check_refused(docyard("compare", *pair, *where, RUN_DATE), 3, "no warehouse")


def test_rows_that_trained_or_certified_a_bundle_are_told(
    tiny_bundle_unchanged: Path, tmp_path: Path, labelled: Path
) -> None:
    texts = [json.loads(line)["text"] for line in labelled.read_text().splitlines()]
    trained = {FILE_NAME: TrainedRows.of(texts[:2]).to_bytes()}
    knows = tiny_version(tiny_bundle_unchanged, tmp_path / "knows", extra=trained)
    found = _compared(tiny_bundle_unchanged, knows, "--data", labelled)
    assert found["rows_trained_on"] == {"old": None, "new": 2}
    assert found["rows_certified_by"] == {"old": False, "new": False}
    assert (
        "2 of the rows trained the new bundle"
        in docyard("compare", tiny_bundle_unchanged, knows, "--data", labelled).stdout
    )
