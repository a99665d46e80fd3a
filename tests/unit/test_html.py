"""The text of web pages, well written or not, and of bytes in any character set."""

from __future__ import annotations

import time

import pytest

from extraction.charsets import decode
from extraction.html import read_html


def test_words_stay_whole_and_blocks_stand_on_lines_of_their_own() -> None:
    assert read_html(b"<p>a<b>b</b>c</p><p>next<br>line</p>") == "abc\n\nnext\nline"


def test_cells_of_a_row_stand_on_one_line() -> None:
    text = read_html(b"<table><tr><td>Coffee<td>3.20</tr><tr><td>Total<td>3.20</table>")
    assert [line.split() for line in text.splitlines()] == [["Coffee", "3.20"], ["Total", "3.20"]]


def test_scripts_styles_and_comments_are_no_text() -> None:
    page = b"<style>p{color:red}</style><script>alert(1)</script><!-- secret --><p>seen</p>"
    assert read_html(page) == "seen"


@pytest.mark.parametrize(
    ("page", "charset"),
    [
        ("<p>Grüße</p>".encode("cp1252"), ""),
        ("<p>Grüße</p>".encode("cp1252"), "windows-1252"),
        ('<meta charset="iso-8859-1"><p>Grüße</p>'.encode("cp1252"), ""),
        ('<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"><p>Grüße</p>'.encode(), ""),
        ("<p>Grüße</p>".encode("utf-16"), ""),
        ("<p>Grüße</p>".encode(), "no-such-charset"),
        (b"<p>Gr&uuml;&#223;e</p>", "us-ascii"),
    ],
    ids=["undeclared", "by the mail", "by the page", "declared wrongly", "byte order mark", "unknown", "entities"],
)
def test_the_character_set_is_found(page: bytes, charset: str) -> None:
    assert read_html(page, charset) == "Grüße"


@pytest.mark.parametrize(
    "page",
    [
        b"<div>" * 200_000 + b"deep" + b"</div>" * 200_000,
        b"<table><tr><td>" * 50_000 + b"deep",
        b"<b><i>" * 20_000 + b"deep",
        b"<p " + b"a=b " * 500_000 + b">deep",
        b"<meta " * 200_000 + b"<p>deep",
    ],
    ids=["divs", "tables", "formatting", "attributes", "unclosed"],
)
def test_a_hostile_page_is_read_within_seconds(page: bytes) -> None:
    start = time.process_time()
    read_html(page)
    assert time.process_time() - start < 5


def test_text_below_200_000_elements_is_not_lost() -> None:
    assert read_html(b"<div>" * 200_000 + b"deep") == "deep"


@pytest.mark.parametrize("content", [b"", b"<", b"\x00\x01\xff\xfe", b"<p", b"plain words"])
def test_what_is_hardly_html_is_read_without_an_error(content: bytes) -> None:
    assert "<" not in read_html(content).removeprefix("<")


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("Überweisung geprüft", "cp1252"),
        ("20 € pro Monat – Kündigung", "cp1252"),
        ("Здравствуйте, моя карта заблокирована", "koi8-r"),
        ("こんにちは、カードが使えません", "cp932"),
        ("您好，我的银行卡被锁定，无法付款", "gb18030"),
        ("안녕하세요, 카드가 정지되었습니다. 확인 부탁드립니다", "cp949"),
    ],
)
def test_an_undeclared_character_set_is_guessed(text: str, charset: str) -> None:
    assert decode(text.encode(charset)) == text


@pytest.mark.parametrize(
    ("content", "declared", "expected"),
    [
        ("Grüße".encode(), "iso-8859-1", "Grüße"),
        ("Grüße".encode("cp1252"), "us-ascii", "Grüße"),
        ("Grüße".encode("cp1252"), "utf-8", "Grüße"),
        ("“quoted”".encode("cp1252"), "iso-8859-1", "“quoted”"),
        ("朱镕基".encode("gb18030"), "gb2312", "朱镕基"),
        ("カード".encode("iso2022_jp"), "iso-2022-jp", "カード"),
        (b"R29vZA==", "base64", "R29vZA=="),
        (b"+AGEAYg-", "utf-7", "+AGEAYg-"),
        (b"plain", "\x00", "plain"),
        (b"plain", "x" * 100_000, "plain"),
    ],
)
def test_a_declaration_counts_where_it_can_be_right(content: bytes, declared: str, expected: str) -> None:
    assert decode(content, declared) == expected
