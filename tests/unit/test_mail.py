"""Mails, mailboxes, invitations and mails saved by Outlook: their text, facts and members, and hostile ones."""

from __future__ import annotations

import base64
import time
from collections import Counter
from io import BytesIO

import pytest
from PIL import Image

from extraction.documents import UnreadableError
from extraction.history import history_start
from extraction.mail import read_calendar, read_eml, split_mbox
from extraction.members import MAX_NAME_CHARACTERS, Mail, clean_name
from extraction.outlook import read_msg
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig
from tests.support.ole_files import Tree, ole_file, outlook_mail

CONFIG = ExtractionConfig()
SUBJECT, BODY, HTML, CLASS = 0x0037, 0x1000, 0x1013, 0x001A
DATA, NAME, MIME, CONTENT_ID = 0x3701, 0x3707, 0x370E, 0x3712
QUOTED = "Done.\n\nOn Tue, 3 Nov 2026 at 10:12, Ann Lee <ann@example.org> wrote:\n\n> Please cancel.\n> Ann"


def mail(body: str | bytes, *headers: str, subject: str = "Card") -> Mail:
    """A mail read from its headers and its body."""
    head = "\r\n".join([f"Subject: {subject}", *headers])
    return read_eml(head.encode() + b"\r\n\r\n" + (body.encode() if isinstance(body, str) else body), CONFIG)


def multipart(*parts: str, kind: str = "mixed") -> Mail:
    """A mail of several parts, each with its headers."""
    return mail(
        "".join(f"--b\r\n{part}\r\n" for part in parts) + "--b--\r\n", f"Content-Type: multipart/{kind}; boundary=b"
    )


def attachment(name: str, content: bytes, kind: str = "application/pdf", disposition: str = "attachment") -> str:
    coded = base64.encodebytes(content).decode()
    return (
        f'Content-Type: {kind}\r\nContent-Disposition: {disposition}; filename="{name}"\r\n'
        f"Content-Transfer-Encoding: base64\r\n\r\n{coded}"
    )


def png(side: int, noise: int = 0) -> bytes:
    """A picture, of about `noise` bytes."""
    out = BytesIO()
    Image.new("L", (side, side)).save(out, "PNG")
    return out.getvalue() + bytes(noise)


def refusal(content: bytes, config: ExtractionConfig = CONFIG) -> UnreadableError:
    with pytest.raises(UnreadableError) as caught:
        read_eml(content, config)
    return caught.value


# Text


def test_the_text_is_the_subject_and_the_body() -> None:
    assert mail("It is lost.\r\nPlease help.").text == "Card\n\nIt is lost.\nPlease help."


def test_a_subject_that_begins_the_body_is_not_repeated() -> None:
    assert mail("card\r\nis lost").text == "card\nis lost"
    assert mail("It is lost", subject="").text == "It is lost"


def test_plain_text_is_preferred_to_html_and_html_to_nothing() -> None:
    plain, html = "Content-Type: text/plain\r\n\r\nplain", "Content-Type: text/html\r\n\r\n<p>rich</p>"
    blank = "Content-Type: text/plain\r\n\r\n \r\n"
    amp = "Content-Type: text/x-amp-html\r\n\r\n<p>moving</p>"
    assert multipart(plain, html, kind="alternative").text == "Card\n\nplain"
    assert multipart(plain, amp, html, kind="alternative").text == "Card\n\nplain"
    assert multipart(blank, html, kind="alternative").text == "Card\n\nrich"
    assert mail("<p>rich</p>", "Content-Type: text/html").text == "Card\n\nrich"


def test_texts_one_after_another_are_all_read() -> None:
    assert multipart("\r\nfirst", "Content-Type: text/html\r\n\r\n<p>second</p>").text == "Card\n\nfirst\n\nsecond"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("Grüße".encode("cp1252"), ["Content-Type: text/plain; charset=windows-1252"]),
        ("Grüße".encode("cp1252"), ["Content-Type: text/plain; charset=us-ascii"]),
        ("Grüße".encode("cp1252"), ["Content-Type: text/plain; charset=klingon"]),
        ("Grüße".encode(), []),
        (
            b"Gr=C3=BC=C3=9Fe",
            ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: Quoted-Printable"],
        ),
        (base64.b64encode("Grüße".encode()), ["Content-Transfer-Encoding: base64"]),
        (b"R3LDvMOf\r\nZQ", ["Content-Transfer-Encoding: BASE64"]),
    ],
    ids=["declared", "wrongly declared", "unknown", "undeclared", "quoted", "base64", "base64 cut"],
)
def test_the_body_is_decoded(body: bytes, headers: list[str]) -> None:
    assert mail(body, *headers).text == "Card\n\nGrüße"


@pytest.mark.parametrize("kind", ["multipart/mixed", "multipart/mixed; boundary=absent", "multipart/mixed; boundary="])
def test_a_multipart_without_its_parts_is_read_as_text(kind: str) -> None:
    assert mail("words", f"Content-Type: {kind}").text == "Card\n\nwords"


def test_a_part_that_no_boundary_ends_is_read() -> None:
    assert mail("--b\r\n\r\nwords", "Content-Type: multipart/mixed; boundary=b").text == "Card\n\nwords"


def test_what_has_no_headers_is_read_as_a_body() -> None:
    assert read_eml(b"First paragraph\n\nSecond", CONFIG).text == "First paragraph\n\nSecond"
    assert read_eml(b"", CONFIG) == Mail("")
    assert read_eml(b"\xef\xbb\xbf\r\nSubject: Card\n\nwords", CONFIG).text == "Card\n\nwords"


# Facts


def test_headers_are_decoded_into_fields() -> None:
    read = mail(
        "x",
        "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>",
        "To: a@example.org,\r\n\tb@example.org",
        "Message-ID: <1@example.org>",
        subject="=?iso-8859-1?q?Gr=FC=DFe?= =?utf-8?b?4oKs?=",
    )
    assert read.fields == {
        "mail.subject": "Grüße€",
        "mail.from": "Jürgen <j@example.org>",
        "mail.to": "a@example.org, b@example.org",
        "mail.message_id": "<1@example.org>",
    }


def test_a_subject_in_raw_bytes_or_broken_words_is_kept() -> None:
    assert read_eml("Subject: Grüße\n\nx".encode("cp1252"), CONFIG).fields["mail.subject"] == "Grüße"
    assert mail("x", subject="=?utf-8?b?%%%?=").fields["mail.subject"]
    assert mail("x", subject="=?klingon?q?a=FC?=").fields["mail.subject"] == "aü"


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Fri, 20 Nov 2026 07:00:00 +0100", "2026-11-20T06:00:00Z"),
        ("Fri, 20 Nov 2026 07:00:00 -0000", "2026-11-20T07:00:00Z"),
        ("20 Nov 2026 07:00:00", "2026-11-20T07:00:00Z"),
        ("yesterday", ""),
        ("Fri, 20 Nov 99999 07:00:00 +0100", ""),
        ("Fri, 31 Dec 9999 23:59:59 -2300", ""),
        ("1 " * 5000, ""),
    ],
)
def test_the_date_is_given_in_utc(date: str, expected: str) -> None:
    assert mail("x", f"Date: {date}").received_at == expected


# Members


def test_attachments_are_members_by_their_cleaned_names() -> None:
    read = multipart("\r\nsee attached", attachment("../../etc/invo\u202eice.pdf", b"%PDF-1.4"))
    assert read.text == "Card\n\nsee attached"
    [member] = read.members
    assert (member.name, member.content, member.media_type_hint) == ("invo ice.pdf", b"%PDF-1.4", "application/pdf")


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ("attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf", "Grüße.pdf"),
        ("attachment; filename*0*=utf-8''Gr%C3%BC; filename*1*=%C3%9Fe; filename*2=.pdf", "Grüße.pdf"),
        ('attachment; filename="=?utf-8?q?Gr=C3=BC=C3=9Fe=2Epdf?="', "Grüße.pdf"),
        ("attachment; filename*=klingon''a%FC.pdf", "aü.pdf"),
        ("attachment", "part"),
        ('attachment; filename="..\\..\\a.pdf"', "a.pdf"),
    ],
)
def test_names_are_decoded(disposition: str, expected: str) -> None:
    [member] = multipart(f"Content-Type: application/pdf\r\nContent-Disposition: {disposition}\r\n\r\nx").members
    assert member.name == expected


def test_a_nested_mail_is_a_member_with_its_bytes_as_they_came() -> None:
    inner = "Subject:  inner \r\nX-Odd:a\r\n\r\nwords\r\n--c\r\n"
    [member] = multipart(f"Content-Type: message/rfc822\r\n\r\n{inner}").members
    assert (member.name, member.content, member.media_type_hint) == ("part.eml", inner.encode(), "message/rfc822")
    assert read_eml(member.content, CONFIG).text == "inner\n\nwords\n--c"


def test_mails_of_a_digest_are_members() -> None:
    assert [member.name for member in multipart("\r\nSubject: a\r\n\r\nx", "\r\nb", kind="digest").members] == [
        "part.eml",
        "part.eml",
    ]


def test_an_invitation_is_a_member_whose_text_is_summary_description_and_place() -> None:
    event = (
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY;LANGUAGE=en:Quarterly\\, all\r\n"
        "DESCRIPTION:Bring\\nyour fi\r\n gures\r\nLOCATION:Room 5\r\nDTSTART:20261103T101200Z\r\n"
        "END:VEVENT\r\nEND:VCALENDAR"
    )
    [member] = multipart("\r\nplease come", f"Content-Type: text/calendar\r\n\r\n{event}").members
    assert (member.name, member.media_type_hint) == ("part.ics", "text/calendar")
    assert read_calendar(member.content) == "Quarterly, all\nBring\nyour figures\nRoom 5"


def test_small_inline_pictures_and_signatures_are_counted_and_no_members() -> None:
    inline = "inline"
    read = multipart(
        'Content-Type: text/html\r\n\r\n<img src="cid:1">hello',
        attachment("logo.png", png(200), "image/png", inline),
        attachment("line.png", png(20, 20_000), "image/png", inline),
        attachment("receipt.png", png(200, 20_000), "image/png", inline),
        attachment("small.png", png(20), "image/png"),
        attachment("smime.p7s", b"x", "application/pkcs7-signature"),
        kind="related",
    )
    assert [member.name for member in read.members] == ["receipt.png", "small.png"]
    assert read.skipped == Counter(inline_picture=2, signature=1)


def test_a_damaged_inline_picture_is_a_member() -> None:
    [member] = multipart(attachment("odd.png", b"x" * 20_000, "image/png", "inline"), kind="related").members
    assert member.name == "odd.png"


def test_a_delivery_report_is_read_whole() -> None:
    read = multipart(
        "\r\nNot delivered.\r\n\r\nFrom: a\r\nTo: b\r\nSubject: c\r\nDate: 10:12",
        "Content-Type: message/delivery-status\r\n\r\nAction: failed",
        kind="report",
    )
    assert read.text_cut_at is None
    assert read.text.endswith("Date: 10:12\n\nAction: failed")


def test_an_outlook_container_is_a_member() -> None:
    [member] = multipart(attachment("winmail.dat", b"\x78\x9f\x3e\x22", "application/ms-tnef")).members
    assert (member.name, member.media_type_hint) == ("winmail.dat", "application/ms-tnef")


@pytest.mark.parametrize(
    "kind",
    [
        "application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m",
        "application/x-pkcs7-mime",
        'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
    ],
)
def test_an_encrypted_mail_is_refused(kind: str) -> None:
    assert refusal(f"Subject: x\nContent-Type: {kind}\n\nMIIB".encode()).reason is Reason.ENCRYPTED_DOCUMENT


# Quoted history


def test_the_quoted_history_is_left_out_and_the_cut_recorded() -> None:
    read = mail(QUOTED)
    assert read.text == "Card\n\nDone."
    assert read.text_cut_at == len(read.text)


def test_the_history_is_kept_where_the_configuration_says_so() -> None:
    read = read_eml(f"Subject: Card\n\n{QUOTED}".encode(), ExtractionConfig(mail_history="keep"))
    assert read.text == f"Card\n\n{QUOTED}"
    assert read.text_cut_at is None


@pytest.mark.parametrize(
    "introduction",
    [
        "On Tue, Nov 3, 2026 at 10:12 AM Ann Lee with a long name\n<ann@example.org> wrote:\n\n> Hi",
        "Am 03.11.2026 um 10:12 schrieb Ann Lee <ann@example.org>:\n> Hi",
        "Le mar. 3 nov. 2026 à 10:12, Ann Lee <ann@example.org> a écrit :\n\n> Hi",
        "El mar, 3 nov 2026 a las 10:12, Ann Lee (<ann@example.org>) escribió:\n\n> Hi",
        "2026年11月3日(火) 10:12 Ann Lee <ann@example.org>:\n\n> Hi",
        "Ann Lee <ann@example.org> 于2026年11月3日周二 10:12写道：\n\n> Hi",
        "wt., 3 lis 2026 o 10:12 Ann Lee <ann@example.org> napisał(a):\n\n> Hi",
        "________________________________\nFrom: Ann Lee\nSent: Tuesday 10:12\nTo: Bob\nSubject: Card\n\nHi",
        "Von: Ann Lee\nGesendet: Dienstag, 3. November 2026 10:12\nAn: Bob\nBetreff: Karte\n\nHi",
        "*De :* Ann Lee\n*Envoyé :* mardi 10:12\n*À :* Bob\n*Objet :* Carte\n\nHi",
        "-----Original Message-----\nHi",
        "> On 3 Nov 2026, at 10:12, Ann Lee <ann@example.org> wrote:\n>\n> Hi\n\n-- \nAnn Lee",
    ],
)
def test_history_is_found_in_several_languages_and_programs(introduction: str) -> None:
    assert history_start(f"Thank you.\n\n{introduction}\n") in (len("Thank you.\n"), len("Thank you.\n\n"))


@pytest.mark.parametrize(
    "text",
    [
        "I want to book\nFrom: London\nTo: Paris\nDate: 3 May 10:00\nthanks",
        "From: the moment I called you, nobody helped\nand so on",
        "Data: 5 GB\nDo: nothing",
        "On 3 May I wrote:\nplease cancel",
        "On Tue, 3 Nov 2026 at 10:12, Ann <a@example.org> wrote:\n> Question?\n\nMy answer",
        "Hi,\n\nOn Tue, 3 Nov 2026 at 10:12, Ann <a@example.org> wrote:\n> Question?\n\nMy answer\n\n> Another?",
        "",
        "\n\n",
    ],
    ids=["trip", "sentence", "labels", "own words", "answer below", "answers between", "empty", "blank"],
)
def test_what_is_not_history_is_kept(text: str) -> None:
    assert history_start(text) is None


@pytest.mark.parametrize("subject", ["Fwd: Card", "FW: Card", "WG: Karte", "TR : Carte"])
def test_a_forwarded_mail_keeps_what_it_forwards(subject: str) -> None:
    assert "Please cancel." in mail(QUOTED, subject=subject).text


# Mailboxes


def test_a_mailbox_is_split_at_its_lines_and_their_escapes_are_undone() -> None:
    content = (
        b"From a@example.org Tue Nov  3 10:12:00 2026\nSubject: one\n\n>From the start\nFrom now on\n\n"
        b"From - Tue Nov  3 10:13:00 2026\r\nSubject: two\r\n\r\nx\r\n"
    )
    assert list(split_mbox(content)) == [b"Subject: one\n\nFrom the start\nFrom now on", b"Subject: two\r\n\r\nx"]
    assert list(split_mbox(b"")) == []


# Hostile mails

HEAD = b"Subject: x\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n"
NESTED = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(3000))
HOSTILE = {
    "addresses": HEAD + b"To: " + b"a@b.c, " * 60_000 + b"\n\nx",
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 20_000 + b"\n\nx",
    "unclosed words": b"Subject: " + b"=?a?q?" * 20_000 + b"\n\nx",
    "brackets": HEAD + b"From: " + b"(" * 5000 + b"\n\nx",
    "headers": HEAD * 1_000_000 + b"\nx",
    "one long header": b"Subject: " + b"x" * 10_000_000 + b"\n\nx",
    "parameters": HEAD + b"Content-Type: text/plain" + b';a="' * 200_000 + b"\n\nx",
    "name in pieces": MIXED + b"--b\nContent-Disposition: attachment" + b"; filename*1*=%41" * 100_000 + b"\n\nx",
    "mails in mails": HEAD + b"Content-Type: message/rfc822\n\n" * 3000,
    "long lines": HEAD + b"\n" + b"On 10:12 a@b.c " * 500_000,
    "quotes": HEAD + b"\n" + b"x\n" + b"> " * 500_000,
    "senders": HEAD + b"\nx\n" + b"From: a@b.c 10:12\n" * 200_000,
    "introductions": HEAD + b"\nx\n" + b"On 10:12 a@b.c\n" * 200_000,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_mail_is_read_within_seconds(content: bytes) -> None:
    start = time.process_time()
    read = read_eml(content, CONFIG)
    assert time.process_time() - start < 5
    assert all(len(text) <= 1000 for text in read.fields.values())


@pytest.mark.parametrize(
    "content",
    [MIXED + b"--b\n\nx\n" * 100_000, MIXED + b"--b\n" * 1_000_000, HEAD + NESTED],
    ids=["parts", "empty parts", "depth"],
)
def test_a_mail_of_too_many_or_too_deep_parts_is_refused_within_seconds(content: bytes) -> None:
    start = time.process_time()
    error = refusal(content)
    assert time.process_time() - start < 5
    assert error.reason is Reason.ARCHIVE_LIMITS
    assert "max_mail_parts 1000 and max_mail_depth 10" in error.detail


def test_a_mail_at_the_limits_is_read() -> None:
    config = ExtractionConfig(max_mail_parts=3, max_mail_depth=2)
    assert read_eml(MIXED + b"--b\n\nx\n" * 2 + b"--b--", config).text == "x\n\nx"
    assert refusal(MIXED + b"--b\n\nx\n" * 3 + b"--b--", config).reason is Reason.ARCHIVE_LIMITS


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.pdf", "a.pdf"),
        ("a\x00b\x1b[0m.pdf", "a b [0m.pdf"),
        ("invoice\u202efdp.exe", "invoice fdp.exe"),
        ("  two   words .txt ", "two words .txt"),
        ("..", "unnamed"),
        ("folder/", "unnamed"),
        ("", "unnamed"),
        ("\ud800.txt", ".txt"),
        ("Grüße 票据.pdf", "Grüße 票据.pdf"),
    ],
)
def test_a_name_keeps_neither_path_nor_hidden_characters(name: str, expected: str) -> None:
    assert clean_name(name) == expected


def test_a_long_name_is_cut_and_keeps_its_suffix() -> None:
    assert clean_name("a" * 5000 + ".docx") == "a" * (MAX_NAME_CHARACTERS - 5) + ".docx"
    assert len(clean_name("a" * 5000)) == MAX_NAME_CHARACTERS


# Mails saved by Outlook


def outlook(
    texts: dict[int, str | bytes], values: dict[int, int] | None = None, attachments: tuple[Tree, ...] = ()
) -> Mail:
    return read_msg(ole_file(outlook_mail({CLASS: "IPM.Note", **texts}, values, attachments)), CONFIG)


def saved(name: str, content: bytes, **texts: str) -> Tree:
    """An attachment as Outlook saves it."""
    ids = {"mime": MIME, "content_id": CONTENT_ID}
    return outlook_mail({NAME: name, DATA: content, **{ids[key]: text for key, text in texts.items()}}, header_bytes=8)


def test_a_mail_saved_by_outlook_is_read_like_any_other() -> None:
    read = outlook(
        {SUBJECT: "Card", BODY: QUOTED.replace("\n", "\r\n"), 0x0C1A: "Ann", 0x5D01: "ann@example.org", 0x0E04: "Bob"},
        {0x0039: 134_390_772_000_000_000},
    )
    assert read.text == "Card\n\nDone."
    assert read.text_cut_at == len(read.text)
    assert read.received_at == "2026-11-13T21:00:00Z"
    assert read.fields == {"mail.subject": "Card", "mail.from": "Ann <ann@example.org>", "mail.to": "Bob"}


def test_the_body_may_be_html_in_any_code_page_or_packed_rtf() -> None:
    assert outlook({HTML: "<p>Grüße</p>".encode("cp1252")}, {0x3FDE: 1252}).text == "Grüße"
    assert outlook({HTML: "<p>Grüße</p>".encode("cp1252")}, {0x3FDE: 99999}).text == "Grüße"
    rtf = rb"{\rtf1 plainly}"
    packed = len(rtf).to_bytes(8, "little") + b"MELA" + bytes(4) + rtf
    assert outlook({0x1009: packed}).text == "plainly"


def test_packed_rtf_is_unpacked_by_its_references() -> None:
    """The example of [MS-OXRTFCP], section 3.1."""
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert outlook({0x1009: packed}).text == "hello world"


def test_attachments_in_outlook_are_members_and_logos_are_not() -> None:
    read = outlook(
        {SUBJECT: "Card", BODY: "see"},
        attachments=(
            saved("a/../invoice.pdf", b"%PDF-1.4", mime="application/pdf"),
            saved("logo.png", png(20), mime="image/png", content_id="1"),
            saved("smime.p7s", b"x"),
        ),
    )
    assert [(member.name, member.content) for member in read.members] == [("invoice.pdf", b"%PDF-1.4")]
    assert read.skipped == Counter(inline_picture=1, signature=1)


def test_a_mail_attached_in_outlook_is_a_member_with_its_own_attachments() -> None:
    inner = outlook_mail(
        {CLASS: "IPM.Note", SUBJECT: "Grüße", BODY: "inner"},
        {0x0039: 134_390_772_000_000_000},
        (saved("Rechnung für Ann.pdf", b"%PDF-1.4"),),
        header_bytes=24,
    )
    holder = {**outlook_mail({NAME: "mail"}, header_bytes=8), "__substg1.0_3701000D": inner}
    [member] = outlook({SUBJECT: "outer"}, attachments=(holder,)).members
    assert (member.name, member.media_type_hint) == ("mail.eml", "message/rfc822")
    read = read_eml(member.content, CONFIG)
    assert (read.text, read.received_at) == ("Grüße\n\ninner", "2026-11-13T21:00:00Z")
    assert [(inside.name, inside.content) for inside in read.members] == [("Rechnung für Ann.pdf", b"%PDF-1.4")]


def test_an_encrypted_mail_in_outlook_is_refused() -> None:
    with pytest.raises(UnreadableError) as caught:
        read_msg(ole_file(outlook_mail({CLASS: "IPM.Note.SMIME"})), CONFIG)
    assert caught.value.reason is Reason.ENCRYPTED_DOCUMENT


@pytest.mark.parametrize("n_bytes", [0, 8, 600, 1500])
def test_a_damaged_mail_of_outlook_is_refused_or_read_as_far_as_it_goes(n_bytes: int) -> None:
    content = ole_file(outlook_mail({CLASS: "IPM.Note", SUBJECT: "secret", BODY: "secret " * 500}))[:n_bytes]
    with pytest.raises(UnreadableError) as caught:
        read_msg(content, CONFIG)
    assert caught.value.reason is Reason.EXTRACTION_FAILED
    assert "secret" not in caught.value.detail
