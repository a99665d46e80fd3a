from __future__ import annotations

import datetime
import hashlib
import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.run_config import ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA
from transforms.extract_documents import with_given_texts
from transforms.split_documents import LEAST_CHARACTERS, MOST_CHARACTERS, MOST_REPEATS, paragraphs, split_documents
from transforms.validate_documents import validate_documents

FIRST = "This agreement is made between the two parties."
SECOND = "The supplier shall deliver the goods in time."


def table_of(*rows: dict[str, Any]) -> pa.Table:
    defaults = {"source_uri": "file", "source_offset": 0, "document_id": "d", "text": FIRST}
    read = pa.Table.from_pylist([defaults | row for row in rows], DOCUMENT_SCHEMA)
    return validate_documents(with_given_texts(read), ReadingConfig())


def cut(text: str) -> list[str]:
    return [text[start:stop] for start, stop in paragraphs(text)]


# Where a text is cut


@pytest.mark.parametrize(
    "blank_line",
    [
        "\n\n",
        "\r\n\r\n",
        "\r\r",
        "\n \t \n",
        "\r\n\t\r\n",
        "\n\n\n\n",
        "\n\x0c\n",
        "\n\n\x0c",
        "\u2029",
        " \n\u00a0\n ",
    ],
    ids=ascii,
)
def test_a_paragraph_is_what_stands_between_blank_lines(blank_line: str) -> None:
    assert cut(f"{FIRST}{blank_line}{SECOND}") == [FIRST, SECOND]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\x0c", "\n\x0c", " \n  "], ids=ascii)
def test_wrapped_lines_are_one_paragraph_and_so_is_one_that_goes_on_over_a_page(line_end: str) -> None:
    text = f"{FIRST}{line_end}{SECOND}"
    assert cut(text) == [text]


def test_without_blank_lines_each_line_that_is_too_long_to_be_a_wrapped_one_is_a_paragraph() -> None:
    lines = [f"{SECOND} " * 8 + "End.", f"{FIRST} " * 9 + "End."]
    assert cut("\n".join(lines)) == cut("\r".join(lines)) == lines


def test_white_space_around_a_paragraph_is_none_of_it() -> None:
    assert cut(f"\n\n  {FIRST} \t\n\n   {SECOND}\x0c\n \n") == [FIRST, SECOND]


@pytest.mark.parametrize(
    "short", ["12", "3.1 TERM", "- 24 -", "(a)", "* * * * *", "____ ____ ____ ____", "\u200b", "\u3164"]
)
def test_what_has_not_three_words_goes_with_what_follows(short: str) -> None:
    assert cut(f"{FIRST}\n\n{short}\n\n{SECOND}") == [FIRST, f"{short}\n\n{SECOND}"]


def test_at_the_end_it_goes_with_what_stands_before() -> None:
    assert cut(f"{FIRST}\n\n{SECOND}\n\n12") == [FIRST, f"{SECOND}\n\n12"]


@pytest.mark.parametrize("text", ["12", "!", "parcel", "a\n\nb", "…"])
def test_a_document_that_has_not_three_words_is_one_paragraph(text: str) -> None:
    assert cut(text) == [text]


def test_where_no_space_stands_between_words_the_length_decides() -> None:
    first, second = (
        "本合同由以下双方于上海签订并自签字之日起生效各执一份。",
        "供应商应当按照约定的时间和地点交付全部货物及其单据。",
    )
    assert min(len(first), len(second)) >= LEAST_CHARACTERS
    assert cut(f"{first}\n\n{second}") == [first, second]


def test_a_paragraph_that_is_too_long_is_cut_at_the_last_end_of_a_sentence() -> None:
    text = " ".join(f"Clause {number} holds." for number in range(300))
    found = cut(text)
    assert len(found) == 3
    assert all(row.endswith("holds.") and row.startswith("Clause") for row in found)
    assert all(MOST_CHARACTERS - 20 < len(row) <= MOST_CHARACTERS for row in found[:-1])


def test_a_sentence_that_is_too_long_is_cut_between_words_and_a_word_that_is_too_long_anywhere() -> None:
    assert all(set(row.split()) == {"word"} for row in cut("word " * 2000))
    assert [len(row) for row in cut("x" * 5000)] == [2000, 2000, 1000]


TEXTS = st.lists(
    st.sampled_from(["\n", "\r\n", "\r", "\n\n", " ", "\t", "\x0c", "\x0b", "\x85", "\u2028", "\u2029", "\u00a0"])
    | st.sampled_from(
        ["word", "Two words.", "12", "(a)", "!", "\u200b", "é", "🙂", "x" * 1500, "Long; sentence. " * 100]
    )
    | st.text(max_size=8),
    min_size=1,
    max_size=40,
).map("".join)


@given(text=TEXTS, least=st.sampled_from([0, 0, 10, 500, 5000]))
@example(text=FIRST + "\n\n" + "\u200b", least=0)
def test_every_character_that_is_not_white_is_in_exactly_one_paragraph(text: str, least: int) -> None:
    found = paragraphs(text, least)
    rows = [text[start:stop] for start, stop in found]
    assert all(row and row == row.strip() for row in rows)
    bounds = [0, *(place for pair in found for place in pair), len(text)]
    assert bounds == sorted(bounds)
    assert all(not text[stop:start].strip() for stop, start in zip(bounds[::2], bounds[1::2], strict=True))
    assert len(found) == 1 or all(len(row) >= least for row in rows) or not text.strip()
    assert len(found) <= 1 or all(any(character.isalnum() for character in row) for row in rows)


@pytest.mark.parametrize(
    "text",
    [
        "." * 2**20,
        ".)" * 2**19,
        "." + ")" * 2**20,
        "a" + " " * 2**20 + "b",
        "a" + "\n " * 2**19 + "b",
        "\r\n" * 2**19 + "x",
        "_ " * 2**19,
        "! " * 2**19,
        "\n\n".join(map(str, range(150_000))),
    ],
    ids=["dots", "ends", "closing", "spaces", "lines", "windows", "rules", "marks", "numbers"],
)
def test_no_text_of_a_mebibyte_takes_long(text: str) -> None:
    started = time.process_time()
    paragraphs(text)
    assert time.process_time() - started < 10


# The rows


def test_a_paragraph_knows_its_document_its_place_and_its_own_hash() -> None:
    text = f"🙂 {FIRST}\r\n\r\n{SECOND}\n"
    rows = split_documents(table_of({"document_id": "c", "text": text}), "paragraphs").to_pylist()
    assert [row["document_id"] for row in rows] == ["c#00000", "c#00001"]
    assert [row["text"] for row in rows] == [f"🙂 {FIRST}", SECOND]
    for row in rows:
        assert row["parent_id"] == "c"
        assert text[row["parent_start"] : row["parent_end"]] == row["text"]
        assert row["content_hash"] == hashlib.sha256(row["text"].encode()).hexdigest()


def test_all_else_comes_from_the_document() -> None:
    own = {"metadata": '{"a":1}', "received_at": "2026-01-02", "source_uri": "f.txt", "source_offset": 7}
    rows = split_documents(table_of(own | {"text": f"{FIRST}\n\n{SECOND}"}), "paragraphs").to_pylist()
    assert len(rows) == 2
    for row in rows:
        assert (row["metadata"], row["source_uri"], row["source_offset"]) == ('{"a":1}', "f.txt", 7)
        assert row["received_at"] == datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def test_a_document_of_one_paragraph_is_split_too() -> None:
    (row,) = split_documents(table_of({"document_id": "c"}), "paragraphs").to_pylist()
    assert (row["document_id"], row["parent_id"], row["parent_start"], row["parent_end"]) == ("c#00000", "c", 0, 47)


def test_rejected_rows_pass_and_all_rows_keep_their_order() -> None:
    table = table_of(
        {"document_id": "a", "text": ""},
        {"document_id": "b", "text": f"{FIRST}\n\n{SECOND}"},
        {"document_id": None},
        {"document_id": "c"},
    )
    rows = split_documents(table, "paragraphs").to_pylist()
    assert [row["document_id"] for row in rows] == ["a", "b#00000", "b#00001", None, "c#00000"]
    for row, before in ((rows[0], table.to_pylist()[0]), (rows[3], table.to_pylist()[2])):
        nothing = dict.fromkeys(("parent_id", "parent_start", "parent_end", "first_page", "last_page"))
        assert row == before | nothing


def test_where_nothing_is_split_the_rows_stay_as_they_are() -> None:
    table = table_of({"text": f"{FIRST}\n\n{SECOND}"}, {"document_id": None})
    split = split_documents(table, "none")
    assert split.select(table.schema.names).equals(table)
    assert split["parent_id"].null_count == split["parent_start"].null_count == split["parent_end"].null_count == 2


@pytest.mark.parametrize("rows", [[], [{"text": None}]], ids=["no rows", "rejected"])
def test_both_ways_give_the_same_columns_even_of_nothing(rows: list[dict[str, Any]]) -> None:
    table = table_of(*rows) if rows else table_of({}).slice(0, 0)
    assert split_documents(table, "paragraphs").schema.equals(split_documents(table_of({}), "none").schema)


def test_what_the_paragraphs_repeat_stays_within_bounds() -> None:
    text = f"{FIRST}\n\n" * 10_000
    small, large = (
        split_documents(table_of({"text": text, "metadata": f'"{"m" * n}"'}), "paragraphs") for n in (100, 100_000)
    )
    assert len(small) == 10_000
    assert large["metadata"].nbytes <= MOST_REPEATS * len(text) + 200_000
    assert " ".join(large["text"].to_pylist()).split() == text.split()


def test_a_document_may_have_more_paragraphs_than_five_digits_count() -> None:
    table = split_documents(table_of({"text": "a b c\n\n" * 100_001}), "paragraphs")
    ids: list[str] = table["document_id"].to_pylist()
    assert ids[99_999:] == ["d#99999", "d#100000"]
    assert len(set(ids)) == len(ids)


def test_ids_of_paragraphs_are_told_apart_even_where_documents_have_such_ids() -> None:
    names = ("a", "a#00000", "a#00001")
    table = table_of(*({"document_id": name, "text": f"{FIRST}\n\n{SECOND}"} for name in names))
    assert len(set(split_documents(table, "paragraphs")["document_id"].to_pylist())) == 6


def test_a_paragraph_knows_the_pages_it_is_on() -> None:
    text = f"{FIRST}\n\n{SECOND}\f\n{SECOND}\n\n{FIRST} Over\f\nthe page."
    ends = [text.index("\f"), text.rindex("\f"), len(text)]
    table = table_of({"text": text})
    table = table.set_column(
        table.schema.get_field_index("page_ends"), "page_ends", pa.array([ends], pa.list_(pa.int32()))
    )
    rows = split_documents(table, "paragraphs").to_pylist()
    assert [(row["first_page"], row["last_page"]) for row in rows] == [(1, 1), (1, 2), (2, 3)]
    assert [row["page_ends"] for row in rows] == [None] * 3
    (whole,) = split_documents(table, "none").to_pylist()
    assert (whole["first_page"], whole["last_page"], whole["page_ends"]) == (1, 3, ends)
