from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BalanceError
from transforms.commit_run import check_balance, check_complete, count_frame
from transforms.stage_shard import Receipt
from warehouse.manifest import TableFile


def receipt(shard: int = 0, part: int = 0, is_last: bool = True, c: int = 3, r: int = 1, e: int = 2) -> Receipt:
    """With c rows classified, r rejected and e escalated, all of it staged."""
    name = f"part-{shard:05d}-{part:04d}"
    rows = {"classifications": c, "escalations": e, "rejections": r}
    files = tuple(TableFile(table, f"{table}/{name}.parquet", n, 1, "") for table, n in rows.items() if n)
    return Receipt(name, shard, part, is_last, "ticket", c + r, c, r, e, files)


def _shards(parts: list[int]) -> list[Receipt]:
    return [receipt(i, part, part == n - 1) for i, n in enumerate(parts) for part in range(n)]


_PARTS = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(_PARTS)
def test_every_shard_with_all_of_its_parts_is_complete(parts: list[int]) -> None:
    check_complete(_shards(parts), len(parts))


@given(_PARTS, st.data())
def test_a_receipt_that_is_lost_twice_there_or_out_of_plan_is_noticed(parts: list[int], data: st.DataObject) -> None:
    receipts = _shards(parts)
    index = data.draw(st.integers(0, len(receipts) - 1))
    lost = receipts[:index] + receipts[index + 1 :]
    twice = sorted([*receipts, receipts[index]], key=attrgetter("position"))
    foreign = [*receipts, receipt(len(parts))]
    for wrong in (lost, twice, foreign):
        with pytest.raises(BalanceError, match="nothing is published"):
            check_complete(wrong, len(parts))


def test_a_shard_that_says_nowhere_or_too_early_that_it_ends_is_incomplete() -> None:
    for ends in ([False, False], [True, True], [True, False]):
        parts = [receipt(0, part, is_last) for part, is_last in enumerate(ends)]
        with pytest.raises(BalanceError, match=r"shard 0 of 1 came back with parts \[0, 1\]"):
            check_complete(parts, 1)


def test_a_run_of_which_nothing_came_back_is_incomplete() -> None:
    with pytest.raises(BalanceError, match=r"shard 0 of 2 came back with parts \[\]"):
        check_complete([], 2)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=6))
def test_counts_that_add_up_are_balanced(rows: list[tuple[int, int, int]]) -> None:
    receipts = [receipt(i, c=c, r=r, e=min(c, e)) for i, (c, r, e) in enumerate(rows)]
    check_balance(receipts, sum(c + r for c, r, _ in rows))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(receipt(), read=5),
        replace(receipt(), read=3),
        replace(receipt(), split_off=1),
        replace(receipt(), read=5, split_off=2),
        replace(receipt(), classified=4, read=5),  # counted, not staged
        replace(receipt(), files=receipt().files[:2]),  # a file is missing
        replace(receipt(), escalated=0),
        receipt(c=1, e=2),  # more escalated than classified
    ],
)
def test_a_shard_whose_counts_or_files_differ_is_refused(wrong: Receipt) -> None:
    with pytest.raises(BalanceError, match=r"part-00000-0000: .*nothing is published"):
        check_balance([wrong], wrong.read)


def test_records_that_vanished_between_reading_and_publishing_are_noticed() -> None:
    for read in (3, 5):
        with pytest.raises(
            BalanceError, match=f"read, unpacked and split off {read} rows, but 4 are classified or rejected"
        ):
            check_balance([receipt()], read)


def test_paragraphs_on_top_of_the_records_read_are_balanced() -> None:
    check_balance([replace(receipt(c=9, r=1, e=0), read=4, split_off=6)], 10)


def test_members_of_mails_and_archives_on_top_of_the_files_read_are_balanced() -> None:
    check_balance([replace(receipt(c=7, r=1, e=0), read=3, unpacked=5)], 8)
    with pytest.raises(BalanceError, match="read 3, unpacked 4, split off 0, classified 7, rejected 1"):
        check_balance([replace(receipt(c=7, r=1, e=0), read=3, unpacked=4)], 8)


def test_documents_whose_kind_was_detected_are_judged_together() -> None:
    known = replace(receipt(c=18, r=0, e=0), read=18)
    unknown = replace(receipt(c=0, r=2, e=0), document_type="unknown", read=2, reasons={"unknown_kind": 2})
    none_read = replace(receipt(c=0, r=0, e=0), document_type="contract")
    frame = count_frame([known, unknown, none_read], {"ticket", "contract", "unknown"})
    assert frame.to_dict("records") == [{"document_type": "auto", "read": 20, "documents": 18, "rejected_share": 0.1}]


def _frame_of(read: int, split_off: int, reasons: dict[str, int]) -> dict[str, float]:
    rejected = sum(reasons.values())
    counts = receipt(c=read + split_off - rejected, r=rejected, e=0)
    (row,) = count_frame([replace(counts, read=read, split_off=split_off, reasons=reasons)]).to_dict("records")
    return row


def test_a_record_that_is_lost_whole_counts_as_one_of_the_records_however_many_paragraphs_the_others_have() -> None:
    assert _frame_of(10, 990, {"malformed_record": 5})["rejected_share"] == 0.5
    assert _frame_of(10, 990, {"empty_text": 5})["documents"] == 995


def test_a_paragraph_that_is_lost_counts_as_its_part_of_a_record() -> None:
    assert _frame_of(10, 90, {"classification_failed": 5, "duplicate_id": 5})["rejected_share"] == pytest.approx(0.1)
    assert _frame_of(10, 95, {"empty_text": 5, "classification_failed": 50})["rejected_share"] == pytest.approx(0.75)
    assert _frame_of(4, 0, {"empty_text": 1, "duplicate_id": 1})["rejected_share"] == 0.5


def test_each_document_type_is_counted_by_itself() -> None:
    receipts = [receipt(0), replace(receipt(1, c=0, r=4, e=0), document_type="receipt"), receipt(2, c=0, r=0, e=0)]
    frame = count_frame(receipts)
    assert frame.to_dict("list") == {
        "document_type": ["receipt", "ticket"],
        "read": [4, 4],
        "documents": [0, 3],
        "rejected_share": [1.0, 0.25],
    }
