"""A failed contract says what failed in words, why records were rejected, where, and what probably mends it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_quality.contracts import RejectedGroup, check_contracts
from pipelines.run_descriptions import describe_run
from schemas.codes import Reason
from schemas.errors import ContractError, InputError
from schemas.run_config import InputConfig, QualityConfig
from schemas.tables import CLASSIFICATIONS, PUBLISHED_TABLES
from tests.support.small_runs import (
    SECRET,
    check_refused,
    classify_arguments,
    config_of,
    documents,
    docyard,
    stage_run,
    write_jsonl,
)
from transforms.commit_run import commit_run, rejected_groups
from warehouse.locks import hold_partitions


def _failure(source: Path, bundle: Path, warehouse: Path, quality: QualityConfig | None = None, **mapping: Any) -> str:
    """The error of a run that breaks its contract."""
    inputs = (InputConfig((str(source),), "ticket", str(bundle), **mapping),)
    plan, receipts = stage_run(config_of(inputs, bundle, warehouse, quality=quality))
    with pytest.raises(ContractError) as caught:
        commit_run(receipts, plan)
    return str(caught.value)


def _quality(warehouse: Path) -> dict[str, Any]:
    [path] = warehouse.glob("runs/*/quality.json")
    values: dict[str, Any] = json.loads(path.read_bytes())
    return values


def test_a_file_with_semicolons_says_which_flag_mends_it(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = tmp_path / "s.csv"
    source.write_text("id;text\n1;refund\n")
    arguments = classify_arguments(source, tiny_bundle_unchanged, tmp_path / "w")
    flag = "--csv-delimiter ';'"
    check_refused(
        docyard(*arguments), 5, "ticket: none of 1 record could be classified", "unreadable_file 1", "s.csv", flag
    )
    [group] = _quality(tmp_path / "w")["rejected"]
    assert (group["reason_code"], group["count"], group["first"]["place"]) == ("unreadable_file", 1, "")
    assert flag in group["first"]["detail"]
    planned = docyard(*arguments, "--dry-run")
    assert "would be rejected: unreadable_file: the header row has no column 'id'; its columns are" in planned.stdout
    assert flag in planned.stdout
    for delimiter in (";", "tab"):
        planned = docyard(*arguments, "--csv-delimiter", delimiter, "--dry-run")
        assert ("s.csv (1 shard)" in planned.stdout) is (delimiter == ";")


def test_a_dry_run_says_what_is_wrong_with_the_first_records(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    records = [{"id": str(i), "body": f"refund {SECRET}"} for i in range(300)]
    source = write_jsonl(tmp_path / "in.jsonl", records)
    result = docyard(*classify_arguments(source, tiny_bundle_unchanged, tmp_path / "w"), "--dry-run")
    assert "in.jsonl (1 shard; 100 of its first 100 records would be rejected, the first one as " in result.stdout
    assert "missing_text: there is no field 'text'; found: id, body)" in result.stdout
    assert SECRET not in result.output


def test_every_reason_is_said_with_count_place_detail_and_remedy(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    lines = [
        '{"id": "1", "text": ""}',
        '{"id": "2", "text": " "}',
        "{no json",
        '{"text": "x"}',
        '{"id": "3", "text": 4}',
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines))
    message = _failure(source, tiny_bundle_unchanged, tmp_path / "w")
    assert f"empty_text 2, first in {source.as_uri()} at byte 0: the text is empty" in message
    assert Reason.EMPTY_TEXT.remedy in message
    assert "malformed_record 1" in message
    assert "in.jsonl at byte 49: " in message
    assert "Also wrong_type 1." in message
    report = _quality(tmp_path / "w")
    assert report["failures"] == ["ticket: none of 5 records could be classified"]
    assert [(group["reason_code"], group["count"]) for group in report["rejected"]] == [
        ("empty_text", 2),
        ("malformed_record", 1),
        ("missing_id", 1),
        ("wrong_type", 1),
    ]
    assert report["rejected"][2]["first"]["detail"] == "there is no field 'id'; found: text"
    assert {group["remedy"] for group in report["rejected"]} <= {reason.remedy for reason in Reason}


def test_a_share_above_the_limit_is_said_with_the_limit_and_the_reasons(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(20))
    message = _failure(source, tiny_bundle_unchanged, tmp_path / "w", QualityConfig(max_rejected_share=0.05))
    assert "ticket: 10.00% of 20 records rejected, quality.max_rejected_share allows 5.00%" in message
    assert "empty_text 2, first in " in message
    assert "expect_" not in message
    assert SECRET not in message


def test_ids_that_are_all_the_same_say_where_the_first_is(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "same", "text": "please refund"}] * 4)
    message = _failure(source, tiny_bundle_unchanged, tmp_path / "w", QualityConfig(max_rejected_share=0.1))
    assert "duplicate_id 3, first in " in message
    assert f"the first document with this id is in {source.as_uri()} at 0" in message
    assert Reason.DUPLICATE_ID.remedy in message


def test_a_run_of_which_nothing_was_read_names_its_paths(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = tmp_path / "header.csv"
    source.write_text("id,text\n")
    plan, receipts = stage_run(config_of(source, tiny_bundle_unchanged, tmp_path / "w"))
    with pytest.raises(InputError, match=r"no record in any input file of .*header\.csv: CSV needs rows below"):
        commit_run(receipts, plan)


def test_the_first_example_is_the_first_in_the_order_of_the_plan(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        write_jsonl(tmp_path / "in" / name, [*documents(1, name), {"id": "x" + name}])
    _, receipts = stage_run(config_of(tmp_path / "in", tiny_bundle_unchanged, tmp_path / "w"))
    [group] = rejected_groups(receipts)
    assert (group.reason, group.count, group.source_uri.rsplit("/", 1)[1]) == (Reason.MISSING_TEXT, 2, "a.jsonl")
    [forgotten] = rejected_groups([replace(receipts[1], document_type="other")])
    assert (forgotten.document_type, forgotten.count) == ("other", 1)


def test_a_published_run_says_why_whole_files_or_many_records_are_missing(
    tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "in" / "a.jsonl", documents(30))
    (tmp_path / "in" / "b.csv").write_text("id;text\n1;x\n")
    plan, receipts = stage_run(config_of(tmp_path / "in", tiny_bundle_unchanged, tmp_path / "w"))
    with hold_partitions(plan.warehouse, plan.partitions, plan.run_id):
        told = describe_run(commit_run(receipts, plan), tmp_path / "w")
    assert "    unreadable_file 1, first in file://" in told
    assert "    empty_text 3, first in file://" in told  # 4 of 31 are more than a tenth


# --- the words ---


def test_every_reason_has_a_remedy() -> None:
    assert all(reason.remedy.endswith(".") for reason in Reason)


def _samples() -> dict[str, pd.DataFrame]:
    """Tables without a row, in their schema."""
    return {
        kind.name: kind.schema().empty_table().select([column.name for column in kind.flat_columns]).to_pandas()
        for kind in PUBLISHED_TABLES
    }


def test_no_failure_is_said_in_the_words_of_great_expectations() -> None:
    counts = pd.DataFrame(
        [("letter", 0, 0, 0.0), ("ticket", 4, 0, 1.0)],
        columns=["document_type", "read", "documents", "rejected_share"],
    )
    samples = _samples()
    wrong = {column.name: [None, "?"] for column in CLASSIFICATIONS.flat_columns}
    wrong |= {"confidence": [2.0, 0.1], "threshold": [0.5, 0.5], "route": ["accepted", "accepted"]}
    wrong |= {"document_id": ["1", "1"], "document_type": ["t", "t"], "n_tokens": [0, 0]}
    samples["classifications"] = pd.DataFrame(wrong)
    samples["escalations"] = samples["escalations"].drop(columns="label")
    report = check_contracts(counts, samples, QualityConfig(max_rejected_share=0.5))
    told = report.explanation()
    assert "expect_" not in told
    for words in (
        "letter: no record was read",
        "ticket: none of 4 records could be classified",
        "ticket: 100.00% of 4 records rejected, quality.max_rejected_share allows 50.00%",
        "classifications: no document_id occurs twice in a document type, but found 2 unexpected of 2",
        "classifications: every confidence lies within the bounds of the data dictionary, but found 1 unexpected of 2",
        "classifications: every accepted answer's confidence reaches its threshold, but found 1 unexpected of 2",
        "escalations: the columns are those of the data dictionary, in its order, but other columns were found",
        "escalations: every row has a label, but the check could not be run",
    ):
        assert words in told
    for suite in report.to_dict()["suites"].values():
        assert all(check["requires"] for check in suite["checks"])


def test_a_group_of_rejections_is_the_same_after_the_way_through_json() -> None:
    group = RejectedGroup("ticket", Reason.EMPTY_TEXT, 1200, "file:///a.csv", "byte 8", "the text is empty")
    assert RejectedGroup.from_dict(json.loads(json.dumps(group.to_dict()))) == group
    assert group.words().startswith("empty_text 1,200, first in file:///a.csv at byte 8: the text is empty. Name the")
