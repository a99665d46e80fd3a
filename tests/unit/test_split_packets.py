"""Packets are split into their documents, whose rows say where they came from; doubtful ones stay whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from extraction.pages import PAGE_BREAK
from models.page_pairs import PagePairModel, load_page_pairs
from schemas.run_config import ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA, EXTRACTED_SCHEMA
from transforms.split_documents import split_documents
from transforms.split_packets import split_packets, take_parts
from transforms.validate_documents import validate_documents

LETTER = (
    "NORTHWIND LTD\n4 Mill Lane, Dunmore\n12 March 2026\nDear Mr Harding,\nI regret to inform you that the choir will "
    "not meet in April.\nYours sincerely,\nA. Dale"
)
RECEIPT = "SUNRISE DINER\nTable 4\n2 Pancakes 12.40\n1 Coffee 2.80\nSubtotal 15.20\nTax 1.46\nTotal 16.66\nThank you"
AGREEMENT = [
    "SERVICES AGREEMENT\nThis Agreement is made as of March 1, 2026, by and between Northwind Ltd. and the Contractor."
    "\n1. Services. The Contractor shall keep the premises clean and\nPage 1 of 2",
    "dry at all times.\n2. Fees. Northwind shall pay the fees monthly.\nBy: ____________\nPage 2 of 2",
]
ALIKE = [
    "Dear Sir or Madam,\nMy card was charged twice at the petrol station on Monday and I would like to have one of the "
    "two payments back.\nYours faithfully,\nA. Dale",
    "Dear Sir or Madam,\nWhere is the parcel that was sent on Monday? It has not come, and nobody answers the phone.\n"
    "Yours faithfully,\nB. Hill",
]


@pytest.fixture(scope="module")
def model() -> PagePairModel:
    return load_page_pairs(Path(__file__).parents[2] / "models/bundles/page_pairs")


def table_of(*pages: str, **columns: Any) -> pa.Table:
    """A table of one PDF with these pages, between two documents without pages."""
    ends, end = [], 0
    for page in pages:
        ends.append(end + len(page))
        end += len(page) + len(PAGE_BREAK)
    row = {
        "document_id": "scan.pdf", "text": PAGE_BREAK.join(pages), "text_source": "text_layer", "page_ends": ends,
        "page_confidences": [None] * len(pages), "pages": len(pages), "pages_ocr": 0, "pages_unread": 0,
        "content_sha256": "a" * 64,
    }  # fmt: skip
    beside = {"text": "given", "text_source": "given"}
    rows = [{"document_id": "a"} | beside, row | columns, {"document_id": "z"} | beside]
    facts = {"source_uri": "file:///in", "source_offset": 0, "unpacked": False}
    return pa.Table.from_pylist([facts | each for each in rows], pa.schema([*DOCUMENT_SCHEMA, *EXTRACTED_SCHEMA]))


def test_a_packet_becomes_its_documents_in_its_place(model: PagePairModel) -> None:
    table = split_packets(table_of(LETTER, RECEIPT, *AGREEMENT), model, 512)
    assert table["document_id"].to_pylist() == [
        *("a", "scan.pdf!pages-0001-0001", "scan.pdf!pages-0002-0002", "scan.pdf!pages-0003-0004", "z")
    ]
    assert table["text"].to_pylist()[1:4] == [LETTER, RECEIPT, PAGE_BREAK.join(AGREEMENT)]
    assert table["container_id"].to_pylist() == [None, *["scan.pdf"] * 3, None]
    assert table["unpacked"].to_pylist() == [False, False, True, True, False]
    assert table["proposed_cuts"].null_count == 5
    assert set(table["content_sha256"].to_pylist()[1:4]) == {"a" * 64}
    placed = split_documents(validate_documents(table, ReadingConfig()), "none")
    assert placed["first_page"].to_pylist() == [None, 1, 2, 3, None]
    assert placed["last_page"].to_pylist() == [None, 1, 2, 4, None]


def test_paragraphs_of_a_part_know_their_pages_in_the_file(model: PagePairModel) -> None:
    table = split_packets(table_of(LETTER, RECEIPT, *AGREEMENT), model, 512)
    table = split_documents(validate_documents(table, ReadingConfig()), "paragraphs")
    last = table.slice(len(table) - 2, 1).to_pylist()[0]
    assert (last["parent_id"], last["last_page"]) == ("scan.pdf!pages-0003-0004", 4)


def test_one_document_stays_as_it_is(model: PagePairModel) -> None:
    table = table_of(*AGREEMENT)
    assert split_packets(table, model, 512).equals(table)


def test_a_doubtful_packet_stays_whole_with_the_proposed_cuts_and_is_not_cut_into_paragraphs(
    model: PagePairModel,
) -> None:
    table = split_packets(table_of(*ALIKE), model, 512)
    assert table["document_id"].to_pylist() == ["a", "scan.pdf", "z"]
    [cut] = table["proposed_cuts"].to_pylist()[1]
    assert cut["page"] == 2
    assert model.policy.sure_join < cut["probability"] < model.policy.sure_cut
    table = split_documents(validate_documents(table, ReadingConfig()), "paragraphs")
    assert table["document_id"].to_pylist() == ["a#00000", "scan.pdf", "z#00000"]


@pytest.mark.parametrize("columns", [{"pages_unread": 1}, {"document_id": "d" * 500}])
def test_what_cannot_be_split_is_proposed_to_people(model: PagePairModel, columns: dict[str, Any]) -> None:
    table = split_packets(table_of(LETTER, RECEIPT, **columns), model, 512)
    assert len(table) == 3
    assert [cut["page"] for cut in table["proposed_cuts"].to_pylist()[1]] == [2]


def test_each_part_has_the_confidence_of_its_own_pages(model: PagePairModel) -> None:
    table = table_of(LETTER, RECEIPT, page_confidences=[0.5, 1.0], pages_ocr=2, text_source="ocr", ocr_confidence=0.7)
    table = split_packets(table, model, 512)
    assert table["ocr_confidence"].to_pylist()[1:3] == [0.5, 1.0]
    assert table["pages_ocr"].to_pylist()[1:3] == [1, 1]
    assert table["text_source"].to_pylist()[1:3] == ["ocr", "ocr"]


def test_a_blank_page_goes_with_the_document_before_it(model: PagePairModel) -> None:
    table = split_packets(table_of(LETTER, "", RECEIPT), model, 512)
    assert table["document_id"].to_pylist()[1:3] == ["scan.pdf!pages-0001-0002", "scan.pdf!pages-0003-0003"]


def test_published_parts_are_taken_again_without_the_model(model: PagePairModel) -> None:
    whole = table_of(LETTER, RECEIPT, *AGREEMENT, document_id="m.eml!0001/scan.pdf")
    split = split_packets(whole, model, 512)
    part = "m.eml!0001/scan.pdf/pages-0003-0004"
    assert split["document_id"].to_pylist()[3] == part
    again = take_parts(whole, [f"{part}#00001", "other"])
    texts = dict(zip(again["document_id"].to_pylist(), again["text"].to_pylist(), strict=True))
    assert texts[part] == PAGE_BREAK.join(AGREEMENT)
    assert "".join(split["text"].to_pylist()).replace(PAGE_BREAK, "") == "".join(texts.values()).replace(PAGE_BREAK, "")
