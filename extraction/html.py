"""Text of web pages and of mails written in HTML."""

from __future__ import annotations

import re

from extraction.charsets import decode

_META_CHARSET = re.compile(rb"""<meta\s[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_DECLARATION_BYTES = 4096


def read_html(content: bytes, charset: str = "") -> str:
    """The visible text, one block a line, table cells apart by tabs.

    Args:
        charset: as the mail declares it; else the page's own declaration counts.
    """
    from resiliparse.extract.html2text import extract_plain_text

    if not charset and (declared := _META_CHARSET.search(content[:_DECLARATION_BYTES])):
        charset = declared[1].decode("ascii")
    text: str = extract_plain_text(decode(content, charset), preserve_formatting=True)
    return text.strip()
