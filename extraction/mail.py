"""Mails as text: one mail (`.eml`), a mailbox (`.mbox`), and the entries of an invitation (`.ics`).

The parts are split here, because the parser of the standard library takes minutes or fails on hostile mails, and gives
the bytes of nested mails changed. The headers of each part are read by it under its `compat32` policy, cut to a bounded
length first.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import io
import quopri
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value, parsedate_to_datetime

from extraction.charsets import decode
from extraction.documents import UnreadableError
from extraction.history import history_start
from extraction.html import read_html
from extraction.members import Mail, Member, clean_name
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig

MAX_FIELD_CHARACTERS = 1000
SMALL_PICTURE_BYTES, SMALL_PICTURE_SIDE = 10_000, 64

_HEADER_BYTES, _PARAMETER_BYTES = 10_000, 2000  # read of one header, and of one with parameters
_HEADERS_BYTES = 2**20  # searched for headers
_READ_HEADERS = (
    *("content-type", "content-transfer-encoding", "content-disposition", "content-id"),
    *("subject", "from", "to", "date", "message-id"),
)
_FIELDS = {"mail.subject": "subject", "mail.from": "from", "mail.to": "to", "mail.message_id": "message-id"}
_HEAD_END = re.compile(rb"\A\r?\n|\r?\n\r?\n")
_HEADER = re.compile(rb"^([A-Za-z][\w-]{0,70})[ \t]*:((?:.*)(?:\r?\n[ \t].*)*)", re.MULTILINE)
_MAILBOX_LINE = re.compile(rb"^From \S.*\d\d:\d\d.*\r?\n?", re.MULTILINE)
_ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_SIGNATURES = {"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"}
_SMIME = {"application/pkcs7-mime", "application/x-pkcs7-mime"}
_REPORTS = {"message/delivery-status", "message/disposition-notification"}
_SUFFIXES = {"message/rfc822": ".eml", "text/calendar": ".ics", "text/html": ".html", "text/plain": ".txt"}
_CALENDAR_TEXT = ("SUMMARY", "DESCRIPTION", "LOCATION")


def read_eml(content: bytes, config: ExtractionConfig) -> Mail:
    """Reads a mail as it was sent or received.

    Raises:
        UnreadableError: the mail is encrypted, or exceeds `max_mail_parts` or `max_mail_depth`.
    """
    root = _Part(content.removeprefix(codecs.BOM_UTF8).lstrip())
    if root.is_encrypted():
        raise UnreadableError(Reason.ENCRYPTED_DOCUMENT, f"found a mail of type {root.type}")
    walk = _Walk(config)
    body = walk.read(root, 1)
    fields = {name: text for name, header in _FIELDS.items() if (text := root.text_of(header))}
    received_at = _in_utc(root.headers.get("date", ""))
    cuts_history = root.type != "multipart/report" and config.mail_history == "cut"
    return make_mail(fields, body, received_at, walk.members, walk.skipped, cuts_history)


def make_mail(
    fields: dict[str, str],
    body: str,
    received_at: str,
    members: Sequence[Member],
    skipped: Counter[str],
    cuts_history: bool,
) -> Mail:
    """Puts the subject before the body, unless the body begins with it."""
    body = body.replace("\r\n", "\n").replace("\r", "\n").strip()
    subject = fields.get("mail.subject", "")
    cut = history_start(body, subject) if cuts_history else None
    body = body if cut is None else body[:cut].rstrip()
    begins = " ".join(body[: 2 * len(subject)].split()).casefold().startswith(subject.casefold())
    text = body if begins else f"{subject}\n\n{body}".strip()
    return Mail(text, None if cut is None else len(text), received_at, fields, tuple(members), skipped)


def split_mbox(content: bytes) -> Iterator[bytes]:
    """The mails of a mailbox, in its order, without their `From ` lines and the escapes of such lines."""
    start = 0
    for line in _MAILBOX_LINE.finditer(content):
        if mail := content[start : line.start()].strip(b"\r\n"):
            yield _ESCAPED_FROM.sub(rb"\1", mail)
        start = line.end()
    if mail := content[start:].strip(b"\r\n"):
        yield _ESCAPED_FROM.sub(rb"\1", mail)


def read_calendar(content: bytes, charset: str = "") -> str:
    """Summaries, descriptions and places of an iCalendar file, one a line."""
    text = re.sub(r"\r?\n[ \t]", "", decode(content, charset))  # folded lines
    lines = []
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.partition(";")[0].upper() in _CALENDAR_TEXT and value:
            lines.append(re.sub(r"\\([nN,;\\])", lambda match: "\n" if match[1] in "nN" else match[1], value))
    return "\n".join(lines)


class _Part:
    """A mail or a part of one: its headers, cut to a bounded length, and its body as it was sent."""

    def __init__(self, content: bytes, default_type: str = "text/plain") -> None:
        has_head = _HEADER.match(content) or content.startswith((b"From ", b">From "))
        end = _HEAD_END.search(content, 0, _HEADERS_BYTES) if has_head else _HEAD_END.match(content)
        head = content[: end.start() if end else _HEADERS_BYTES] if has_head else b""
        self.headers: dict[str, str] = {}
        for match in _HEADER.finditer(head):
            name = match[1].decode("ascii").lower()
            if name in _READ_HEADERS:
                n_bytes = _PARAMETER_BYTES if name.startswith("content-") else _HEADER_BYTES
                self.headers.setdefault(name, decode(match[2][:n_bytes].strip(), "utf-8"))
        self.body = content[end.end() if end else len(head) :]
        self._message = Message()
        self._message.set_default_type(default_type)
        for name, value in self.headers.items():
            self._message[name] = re.sub(r"\s+", " ", value)
        self.type: str = self._message.get_content_type()

    @property
    def charset(self) -> str:
        return str(self._message.get_content_charset() or "")

    @property
    def is_attachment(self) -> bool:
        return self._message.get_content_disposition() == "attachment"

    @property
    def name(self) -> str:
        """The file name, decoded and not yet cleaned; "" where there is none."""
        for parameter, header in (("filename", "content-disposition"), ("name", "content-type")):
            value = self._message.get_param(parameter, "", header)
            if value:
                return decoded_header(collapse_rfc2231_value(value))
        return ""

    def text_of(self, header: str) -> str:
        return decoded_header(self.headers.get(header, ""))[:MAX_FIELD_CHARACTERS].strip()

    def is_text(self) -> bool:
        """True for what a mail program shows in the mail; a multipart without its parts is text too."""
        return self.type in _REPORTS or (
            self.type.startswith(("text/", "multipart/")) and self.type not in ("text/calendar", "text/vcard")
        )

    def is_encrypted(self) -> bool:
        if self.type in _SMIME:
            return "enveloped" in str(self._message.get_param("smime-type", "enveloped-data")).lower()
        return self.type == "multipart/encrypted"

    def content(self) -> bytes:
        """The body without its transfer encoding; as it was sent where that is broken."""
        encoding = self.headers.get("content-transfer-encoding", "").strip().lower()
        try:
            if encoding == "base64":
                coded = re.sub(rb"[^A-Za-z0-9+/]", b"", self.body)
                coded = coded[:-1] if len(coded) % 4 == 1 else coded
                return base64.b64decode(coded + b"=" * (-len(coded) % 4))
            if encoding == "quoted-printable":
                return quopri.decodestring(self.body)
        except (binascii.Error, ValueError):
            return self.body
        return self.body

    def parts(self, limit: int) -> list[bytes]:
        """The parts of a multipart body, up to about `limit`; empty where its boundary is absent."""
        boundary = str(self._message.get_param("boundary", "") or "").rstrip()
        if not boundary:
            return []
        line = re.compile(rb"^--" + re.escape(boundary.encode("utf-8", "replace")) + rb"(--)?[ \t]*\r?$", re.MULTILINE)
        parts: list[bytes] = []
        start = None
        for match in line.finditer(self.body):
            if start is not None:
                parts.append(self.body[start : match.start()].removesuffix(b"\n").removesuffix(b"\r"))
            start = match.end() + 1
            if match[1] or len(parts) > limit:
                return parts
        return parts if start is None else [*parts, self.body[start:]]


class _Walk:
    """A walk over the parts of a mail, which gathers its members."""

    def __init__(self, config: ExtractionConfig) -> None:
        self._config = config
        self._n_parts = 0
        self.members: list[Member] = []
        self.skipped: Counter[str] = Counter()

    def read(self, part: _Part, depth: int, within: str = "") -> str:
        """The text to be read at `part`, which lies directly in a part of type `within`."""
        self._n_parts += 1
        if self._n_parts > self._config.max_mail_parts or depth > self._config.max_mail_depth:
            limits = f"max_mail_parts {self._config.max_mail_parts} and max_mail_depth {self._config.max_mail_depth}"
            raise UnreadableError(Reason.ARCHIVE_LIMITS, f"found more parts, or deeper ones, than {limits} allow")
        if part.type.startswith("multipart/") and (contents := part.parts(self._config.max_mail_parts)):
            default_type = "message/rfc822" if part.type == "multipart/digest" else "text/plain"
            parts = [_Part(content, default_type) for content in contents]
            texts = [(child.type, self.read(child, depth + 1, part.type)) for child in parts]
            if part.type == "multipart/alternative":
                texts = [found for found in texts if found[1].strip()]
                texts = [found for found in texts if found[0] == "text/plain"][:1] or texts[-1:]
            return "\n\n".join(text for _, text in texts if text.strip())
        if part.is_text() and not part.is_attachment and not part.name:
            content = part.content()
            return read_html(content, part.charset) if "html" in part.type else decode(content, part.charset)
        self._keep(part, within)
        return ""

    def _keep(self, part: _Part, within: str) -> None:
        content = part.content()
        if part.type in _SIGNATURES:
            self.skipped["signature"] += 1
            return
        is_inline = not part.is_attachment and (within == "multipart/related" or "content-id" in part.headers)
        if part.type.startswith("image/") and is_inline and is_small_picture(content):
            self.skipped["inline_picture"] += 1
            return
        name = clean_name(part.name, "part" + _SUFFIXES.get(part.type, ""))
        if part.type == "message/rfc822" and not name.lower().endswith(".eml"):
            name += ".eml"
        self.members.append(Member(name, content, part.type))


def is_small_picture(content: bytes) -> bool:
    """True for a logo or the like: below 10 kB, or with a side shorter than 64 pixels."""
    if len(content) < SMALL_PICTURE_BYTES:
        return True
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            return bool(min(picture.size) < SMALL_PICTURE_SIDE)
    except Exception:
        return False  # it will be read, and rejected with the reason


def decoded_header(value: str) -> str:
    """A header in one line, its encoded words decoded; kept as it is where they are broken."""
    try:
        words = decode_header(re.sub(r"\s+", " ", value[:_HEADER_BYTES]))
    except (HeaderParseError, ValueError):
        return value
    texts = (word if isinstance(word, str) else decode(word, charset or "") for word, charset in words)
    return " ".join("".join(texts).split()) or value


def _in_utc(date: str) -> str:
    try:
        moment = parsedate_to_datetime(date[:100])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""
