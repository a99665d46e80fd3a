from __future__ import annotations

from typing import Any

import pytest

from extraction.letter_pairs import mean_log_likelihood
from schemas.codes import Reason, TextSource
from tests.support.drawn_documents import INVOICE, encrypted_pdf, pdf, pdf_form, pdf_of_contents
from tests.support.scripted_reader import Answer, ScriptedReader, read_one

LETTER = "Dear Sir or Madam, the parcel has not arrived, and I would like to know where it is"
NONSENSE = "Xlq grzzw bfqpt mkvjx qwrtz pldkf vbnmk zxcvb qqwrt pdfgh jklzx cvbnm"
SURE = Answer(" ".join(f"word{number}" for number in range(30)), 0.95)


def test_a_page_with_a_good_layer_is_read_from_it() -> None:
    reader = ScriptedReader(SURE)
    document = read_one(pdf(INVOICE), "a.pdf", reader)
    assert document.text == INVOICE
    assert document.text_source is TextSource.TEXT_LAYER
    assert (document.pages, document.pages_ocr, document.pages_unread) == (1, 0, 0)
    assert document.ocr_confidence is None
    assert reader.shapes == []


def test_pages_are_parted_by_a_form_feed_and_found_by_their_ends() -> None:
    document = read_one(pdf(INVOICE, "", LETTER), "a.pdf")
    assert document.text == f"{INVOICE}\f\n\f\n{LETTER}"
    starts = [0, *(end + 2 for end in document.page_ends[:-1])]
    pages = [document.text[start:end] for start, end in zip(starts, document.page_ends, strict=True)]
    assert pages == [INVOICE, "", LETTER]


def test_the_answers_in_a_filled_in_form_are_read() -> None:
    document = read_one(pdf_form("Reason for your letter:", "My card was stolen"), "a.pdf", ScriptedReader(SURE))
    assert document.text == "Reason for your letter:\nMy card was stolen"
    assert document.pages_ocr == 0


def test_a_page_that_shows_a_picture_and_next_to_no_text_goes_to_ocr() -> None:
    reader = ScriptedReader(SURE)
    document = read_one(pdf(LETTER, "Page 2", "Page 3", picture_on=[0, 1]), "a.pdf", reader)
    assert document.text == f"{LETTER}\f\n{SURE.text}\f\nPage 3"
    assert document.text_source is TextSource.MIXED
    assert (document.pages, document.pages_ocr, document.pages_unread) == (3, 1, 0)
    assert document.ocr_confidence == pytest.approx(0.95)
    assert reader.shapes == [(1755, 1240)]  # A4 at 150 dots per inch


def test_a_page_of_drawn_lines_without_any_text_goes_to_ocr_and_a_blank_one_does_not() -> None:
    outlines = b"100 100 m 300 500 l 200 700 l S"
    reader = ScriptedReader(SURE)
    document = read_one(pdf_of_contents([outlines, b"", b"1 g 0 0 595 842 re f"]), "a.pdf", reader)
    assert document.pages_ocr == len(reader.shapes) == 1


def test_ocr_that_is_sure_of_other_words_replaces_a_nonsense_layer() -> None:
    document = read_one(pdf(NONSENSE), "a.pdf", ScriptedReader(SURE))
    assert document.text == SURE.text
    assert document.text_source is TextSource.OCR


@pytest.mark.parametrize(
    "answer",
    [
        Answer(SURE.text, 0.5),
        Answer("too few words to be sure of", 0.99),
        Answer(f"{NONSENSE} {NONSENSE}", 0.99),
        Answer("", 0.0),
    ],
)
def test_a_doubted_layer_stays_where_ocr_is_unsure_or_reads_the_same(answer: Answer) -> None:
    reader = ScriptedReader(answer)
    document = read_one(pdf(NONSENSE), "a.pdf", reader)
    assert document.text == NONSENSE
    assert document.text_source is TextSource.TEXT_LAYER
    assert (len(reader.shapes), document.pages_unread) == (1, 0)


def test_a_doubted_layer_without_ocr_stays_and_counts_as_unread() -> None:
    document = read_one(pdf(NONSENSE, LETTER), "a.pdf", ocr="off")
    assert document.text == f"{NONSENSE}\f\n{LETTER}"
    assert document.pages_unread == 1


def test_spaced_out_letters_are_doubted_too() -> None:
    reader = ScriptedReader(SURE)
    read_one(pdf("G u t s c h e i n  f u e r  e i n  B u c h"), "a.pdf", reader)
    assert len(reader.shapes) == 1


@pytest.mark.parametrize(("choice", "text"), [("layer", NONSENSE), ("ocr", SURE.text)])
def test_the_source_can_be_decided_by_configuration(choice: str, text: str) -> None:
    assert read_one(pdf(NONSENSE), "a.pdf", ScriptedReader(SURE), pdf_text=choice).text == text


def test_letter_pairs_tell_words_from_nonsense() -> None:
    german = "Sehr geehrte Damen und Herren, hiermit kündige ich meinen Vertrag zum nächstmöglichen Zeitpunkt"
    french = "Bonjour, je vous écris pour savoir si ma facture du mois dernier est déjà réglée"
    assert min(mean_log_likelihood(text) for text in (LETTER, INVOICE, german, french)) > -3.0
    assert mean_log_likelihood(NONSENSE) < -4.0
    assert mean_log_likelihood("12.50 + 3") == 0.0


def test_limits_of_pages_name_what_was_found_and_what_is_allowed() -> None:
    content = pdf(*[""] * 6)
    document = read_one(content, "a.pdf", max_pages=5)
    assert document.reason is Reason.TOO_MANY_PAGES
    assert document.detail == "6 pages; expected at most extraction.max_pages = 5"


def test_too_many_pages_for_ocr_are_known_before_the_first_is_read() -> None:
    reader = ScriptedReader(SURE)
    document = read_one(pdf(*["Page"] * 3, picture_on=range(3)), "a.pdf", reader, max_ocr_pages=2)
    assert document.reason is Reason.TOO_MANY_PAGES
    assert reader.shapes == []


def test_a_locked_document_and_one_without_pages_say_so_in_any_order() -> None:
    for _ in range(2):
        assert read_one(encrypted_pdf(), "a.pdf").reason is Reason.ENCRYPTED_DOCUMENT
        empty = read_one(pdf_of_contents([]), "a.pdf")
        assert (empty.reason, empty.detail) == (Reason.EXTRACTION_FAILED, "a PDF without pages")


def test_pages_that_were_all_read_and_hold_nothing_are_no_text() -> None:
    blank = read_one(pdf("", ""), "a.pdf", ScriptedReader(SURE))
    assert (blank.reason, blank.pages, blank.pages_ocr) == (Reason.NO_TEXT_FOUND, 2, 0)
    photograph = read_one(pdf("", picture_on=[0]), "a.pdf", ScriptedReader(Answer("", 0.0)))
    assert (photograph.reason, photograph.pages_ocr) == (Reason.NO_TEXT_FOUND, 1)


def test_a_scan_that_nothing_could_read_says_that_ocr_is_off_or_missing() -> None:
    scan = pdf("", picture_on=[0])
    off = read_one(scan, "a.pdf", ocr="off")
    assert off.reason is Reason.UNSUPPORTED_FORMAT
    assert off.detail == 'a PDF document without text of its own; extraction.ocr is "off"'
    assert read_one(scan, "a.pdf").detail.endswith("install docyard[ocr] to read it")


def test_a_page_that_does_not_load_is_unread_and_the_others_are_kept() -> None:
    content = pdf(INVOICE, LETTER)
    broken = content.replace(b"5 0 R]", b"9 0 R]")  # the second page is the catalog's child 9, which does not exist
    assert broken != content
    document = read_one(broken, "a.pdf", ScriptedReader(SURE))
    assert document.text.startswith(INVOICE)
    assert (document.pages, document.pages_unread) == (2, 1)


class FailingReader(ScriptedReader):
    def read(self, page: Any) -> Answer:
        if super().read(page).text == "":
            raise ValueError("text of a page")
        return SURE


def test_a_page_on_which_ocr_fails_is_unread_and_the_others_are_kept() -> None:
    reader = FailingReader(SURE, Answer(""), SURE)
    document = read_one(pdf("", "", "", picture_on=range(3)), "a.pdf", reader)
    assert document.text == f"{SURE.text}\f\n\f\n{SURE.text}"
    assert (document.pages, document.pages_ocr, document.pages_unread) == (3, 2, 1)
