from __future__ import annotations

import hashlib
import io
import zipfile
from email.message import EmailMessage

import pytest

from extraction.documents import Document
from schemas.codes import Reason, TextSource
from tests.support.drawn_documents import INVOICE, mail, pdf, zip_of
from tests.support.scripted_reader import read_here, read_one

NOTE = b"The parcel has not arrived."


def outcome(document: Document) -> tuple[str, str | None, Reason | None]:
    return document.name, document.container, document.reason


def test_members_are_named_by_their_place_and_cleaned_name() -> None:
    archive = zip_of(
        [("../../etc/note.txt", NOTE), ("same.txt", NOTE), ("same.txt", NOTE), ("a\\b\u202egpj.txt", NOTE)]
    )
    documents, skipped = read_here(archive, "a.zip")
    assert [document.name for document in documents] == [
        "0001/note.txt",
        "0002/same.txt",
        "0003/same.txt",
        "0004/b gpj.txt",
    ]
    assert {document.text for document in documents} == {NOTE.decode()}
    assert {document.content_sha256 for document in documents} == {hashlib.sha256(NOTE).hexdigest()}
    assert skipped == {}


def test_long_names_are_cut_before_their_extension() -> None:
    [document], _ = read_here(zip_of({"x" * 500 + ".txt": NOTE}), "a.zip")
    assert document.name == "0001/" + "x" * 96 + ".txt"


def test_members_of_members_are_named_step_by_step() -> None:
    inner = zip_of({"letter.pdf": pdf(INVOICE)})
    documents, _ = read_here(zip_of({"folder/": b"", "inner.zip": inner, "mail.eml": mail(("b.txt", NOTE))}), "a.zip")
    assert [outcome(document) for document in documents] == [
        ("0002/inner.zip/0001/letter.pdf", "0002/inner.zip", None),
        ("0003/mail.eml", "", None),
        ("0003/mail.eml/0001/b.txt", "0003/mail.eml", None),
    ]


def test_a_mail_keeps_its_row_and_its_attachments_follow() -> None:
    documents, skipped = read_here(mail(("offer.pdf", pdf(INVOICE)), ("all.zip", zip_of({"note.txt": NOTE}))), "a.eml")
    assert [outcome(document) for document in documents] == [
        ("", None, None),
        ("0001/offer.pdf", "", None),
        ("0002/all.zip/0001/note.txt", "0002/all.zip", None),
    ]
    assert documents[0].text == "Parcel\n\nIt is late."
    assert documents[0].text_source is TextSource.MAIL
    assert documents[0].received_at == "2026-11-20T09:00:00Z"
    assert documents[0].fields["mail.subject"] == "Parcel"
    assert skipped == {}


def test_a_mailbox_gives_its_place_to_its_mails() -> None:
    line = b"From a@example.org Fri Nov 20 10:00:00 2026\n"
    documents, _ = read_here(line + mail(subject="One") + b"\n" + line + mail(("b.txt", NOTE)), "a.mbox")
    assert [document.name for document in documents] == ["0001/mail.eml", "0002/mail.eml", "0002/mail.eml/0001/b.txt"]


def test_system_files_are_counted_and_no_documents() -> None:
    names = ["__MACOSX/._a.txt", "x/.DS_Store", "Thumbs.db", "a.txt"]
    documents, skipped = read_here(zip_of([(name, NOTE) for name in names]), "a.zip")
    assert [document.name for document in documents] == ["0004/a.txt"]
    assert skipped == {"system_file": 3}


@pytest.mark.parametrize("names", [[], ["folder/"], ["__MACOSX/._a"]])
def test_an_archive_without_documents_is_one_rejection(names: list[str]) -> None:
    document = read_one(zip_of([(name, b"") for name in names]), "a.zip")
    assert outcome(document) == ("", None, Reason.EMPTY_ARCHIVE)


def test_files_of_records_inside_an_archive_are_refused_with_advice() -> None:
    [csv, lines, note], _ = read_here(zip_of({"a.csv": b"id,text\n", "b.jsonl": b"{}\n", "c.txt": NOTE}), "a.zip")
    assert csv.reason is lines.reason is Reason.UNSUPPORTED_FORMAT
    assert csv.detail == "a file of records; unpack it and name it as an input of its own"
    assert note.text == NOTE.decode()


def test_texts_in_other_character_sets_are_decoded() -> None:
    archive = zip_of(
        {"a.txt": "Grüße an alle, die für uns kämpfen".encode("cp1252"), "b.txt": "Grüße".encode("utf-16")}
    )
    documents, _ = read_here(archive, "a.zip")
    assert [document.text for document in documents] == ["Grüße an alle, die für uns kämpfen", "Grüße"]


def test_a_bomb_among_members_is_refused_and_the_others_are_read() -> None:
    archive = zip_of({"a.txt": NOTE, "bomb.txt": bytes(10_000_000), "c.txt": NOTE})
    documents, _ = read_here(archive, "a.zip")
    assert [document.reason for document in documents] == [None, Reason.ARCHIVE_LIMITS, None]
    assert "extraction.max_ratio = 200" in documents[1].detail


@pytest.mark.parametrize(
    ("limits", "limit"),
    [({"max_members": 3}, "extraction.max_members"), ({"max_unpacked_bytes": 100}, "extraction.max_unpacked_bytes")],
)
def test_an_archive_beyond_a_limit_is_one_rejection(limits: dict[str, int], limit: str) -> None:
    document = read_one(zip_of([(f"{number}.txt", NOTE) for number in range(4)]), "a.zip", **limits)
    assert document.reason is Reason.ARCHIVE_LIMITS
    assert limit in document.detail


def test_limits_hold_for_all_archives_in_a_file_together() -> None:
    inner = zip_of([(f"{number}.txt", NOTE) for number in range(4)])
    documents, _ = read_here(zip_of({"a.zip": inner, "b.zip": inner}), "c.zip", max_members=8)
    assert [(document.name, document.reason) for document in documents][4:] == [
        ("0002/b.zip", Reason.ARCHIVE_LIMITS),
    ]
    assert len(documents) == 5


def test_nesting_ends_at_the_limit() -> None:
    content = pdf(INVOICE)
    for _ in range(3):
        content = zip_of({"x": content})
    assert read_one(content, "a.zip").reason is None
    document = read_one(zip_of({"x": content}), "a.zip")
    assert (document.name, document.reason) == ("0001/x/0001/x/0001/x", Reason.ARCHIVE_LIMITS)
    assert "extraction.max_depth = 3" in document.detail


def test_mails_in_mails_end_at_their_own_limit() -> None:
    content = mail()
    for _ in range(5):
        message = EmailMessage()
        message["From"], message["Subject"] = "a@example.org", "Fwd"
        message.set_content("see below")
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename="fwd.eml")
        content = bytes(message)
    documents, _ = read_here(content, "a.eml", max_mail_depth=3)
    assert [document.reason for document in documents] == [None, None, None, Reason.ARCHIVE_LIMITS]


def changed_directory(archive: bytes, place: int, value: bytes) -> bytes:
    """An archive whose first directory entry has other bytes at a place."""
    start = archive.index(b"PK\x01\x02") + place
    return archive[:start] + value + archive[start + len(value) :]


@pytest.mark.parametrize(
    ("place", "value"),
    [(24, (10).to_bytes(4, "little")), (24, (99).to_bytes(4, "little")), (16, bytes(4))],
    ids=["a smaller size", "a larger size", "another checksum"],
)
def test_a_member_about_which_the_directory_lies_is_damaged(place: int, value: bytes) -> None:
    archive = changed_directory(zip_of({"a.txt": NOTE, "b.txt": NOTE}), place, value)
    documents, _ = read_here(archive, "a.zip")
    assert [document.reason for document in documents] == [Reason.EXTRACTION_FAILED, None]


def test_a_locked_member_is_refused_and_the_others_are_read() -> None:
    archive = changed_directory(zip_of({"a.txt": NOTE, "b.txt": NOTE}), 8, b"\x01\x00")
    documents, _ = read_here(archive, "a.zip")
    assert [document.reason for document in documents] == [Reason.ENCRYPTED_DOCUMENT, None]


def test_a_member_compressed_by_an_unknown_method_says_so() -> None:
    archive = changed_directory(zip_of({"a.txt": NOTE, "b.txt": NOTE}), 10, b"\x63\x00")
    documents, _ = read_here(archive, "a.zip")
    assert [document.reason for document in documents] == [Reason.UNSUPPORTED_FORMAT, None]


def test_half_an_archive_is_damaged() -> None:
    archive = zip_of({"a.txt": NOTE, "b.txt": NOTE})
    assert read_one(archive[:-30], "a.zip").reason is Reason.EXTRACTION_FAILED


def test_a_member_larger_than_a_file_may_be_is_refused() -> None:
    documents, _ = read_here(zip_of({"a.txt": NOTE * 2, "b.txt": NOTE}), "a.zip", max_file_bytes=300)
    assert [document.reason for document in documents] == [None, None]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", NOTE * 20)
        archive.writestr("b.txt", NOTE)
    documents, _ = read_here(buffer.getvalue(), "a.zip", max_file_bytes=300)
    assert [document.reason for document in documents] == [Reason.RECORD_TOO_LARGE, None]


def test_documents_that_are_done_are_not_read_again_but_their_members_are() -> None:
    from extraction.extract import FileExtraction
    from schemas.run_config import ExtractionConfig

    content = zip_of({"a.eml": mail(("b.txt", NOTE), ("c.txt", NOTE)), "d.txt": NOTE})
    begun: list[str] = []
    extraction = FileExtraction(
        ExtractionConfig(),
        None,
        on_begin=lambda document: begun.append(document.name),
        done={"0001/a.eml", "0001/a.eml/0001/b.txt"},
        failed={"0002/d.txt"},
    )
    assert [document.name for document in extraction.documents(content, "a.zip")] == ["0001/a.eml/0002/c.txt"]
    assert "0001/a.eml/0001/b.txt" not in begun
    assert "0002/d.txt" not in begun
