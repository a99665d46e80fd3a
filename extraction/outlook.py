"""Mails that Outlook saved (`.msg`): streams in an OLE file, by Microsoft's specification [MS-OXMSG]."""

from __future__ import annotations

import struct
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime
from typing import Any

from extraction.charsets import decode
from extraction.documents import UnreadableError
from extraction.html import read_html
from extraction.mail import MAX_FIELD_CHARACTERS, is_small_picture, make_mail
from extraction.members import Mail, Member, clean_name
from extraction.rtf import read_rtf
from schemas.codes import Reason
from schemas.run_config import ExtractionConfig

# Ids of properties, by their names in [MS-OXPROPS].
_MESSAGE_CLASS, _SUBJECT, _BODY, _HTML, _RTF = 0x001A, 0x0037, 0x1000, 0x1013, 0x1009
_SENDER_NAME, _SENDER_ADDRESS, _SENDER_SMTP, _DISPLAY_TO = 0x0C1A, 0x0C1F, 0x5D01, 0x0E04
_SUBMIT_TIME, _DELIVERY_TIME, _MESSAGE_ID = 0x0039, 0x0E06, 0x1035
_CODEPAGE, _MESSAGE_CODEPAGE = 0x3FDE, 0x3FFD
_DATA, _LONG_NAME, _SHORT_NAME, _DISPLAY_NAME, _MIME, _CONTENT_ID = 0x3701, 0x3707, 0x3704, 0x3001, 0x370E, 0x3712
_STRING, _STRING8, _BINARY, _STORAGE = 0x001F, 0x001E, 0x0102, 0x000D
_ROOT_HEADER, _EMBEDDED_HEADER, _ATTACHMENT_HEADER = 32, 24, 8  # bytes before the properties
_FIELD_CHARACTERS = 4 * MAX_FIELD_CHARACTERS
_RTF_WINDOW = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor "
    rb"MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    + b"\r\n"
    + rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)


def read_msg(content: bytes, config: ExtractionConfig) -> Mail:
    """Reads a mail saved by Outlook; a mail attached to it becomes a member in the form of an `.eml` file.

    Raises:
        UnreadableError: the file is damaged or encrypted, or exceeds `max_mail_parts`.
    """
    from olefile import OleFileIO

    try:
        with OleFileIO(content) as ole:
            mail = _Outlook(_Storage(ole, (), _ROOT_HEADER), 1, config)
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(Reason.EXTRACTION_FAILED, f"{type(error).__name__} while reading an OLE file") from None
    received_at = mail.moment.isoformat().replace("+00:00", "Z") if mail.moment else ""
    return make_mail(
        mail.fields, mail.body, received_at, mail.members, mail.skipped, cuts_history=config.mail_history == "cut"
    )


class _Storage:
    """A message or an attachment: a folder of streams in the OLE file."""

    def __init__(self, ole: Any, path: tuple[str, ...], header_bytes: int) -> None:
        self._ole = ole
        self.path = path
        self._values: dict[int, bytes] = {}  # of properties with a fixed length: 8 bytes
        listed = self._stream("__properties_version1.0")[header_bytes:]
        for at in range(0, len(listed) - 15, 16):
            _, property_id = struct.unpack_from("<HH", listed, at)
            self._values.setdefault(property_id, listed[at + 8 : at + 16])

    def _stream(self, name: str) -> bytes:
        path = [*self.path, name]
        if not self._ole.exists(path):
            return b""
        with self._ole.openstream(path) as stream:
            content: bytes = stream.read()
            return content

    def embedded(self, property_id: int) -> _Storage | None:
        """A message that is the value of a property."""
        path = (*self.path, f"__substg1.0_{property_id:04X}{_STORAGE:04X}")
        return _Storage(self._ole, path, _EMBEDDED_HEADER) if self._ole.exists([*path]) else None

    def binary(self, property_id: int) -> bytes:
        return self._stream(f"__substg1.0_{property_id:04X}{_BINARY:04X}")

    def text(self, property_id: int, charset: str = "") -> str:
        if found := self._stream(f"__substg1.0_{property_id:04X}{_STRING:04X}"):
            return found.decode("utf-16-le", errors="replace").rstrip("\0")
        return decode(self._stream(f"__substg1.0_{property_id:04X}{_STRING8:04X}"), charset).rstrip("\0")

    def integer(self, property_id: int) -> int:
        return int.from_bytes(self._values.get(property_id, b"")[:4], "little")

    def moment(self, property_id: int) -> datetime | None:
        ticks = int.from_bytes(self._values.get(property_id, b""), "little")  # of 100 ns, since 1601
        try:
            return datetime(1601, 1, 1, tzinfo=UTC) + timedelta(seconds=ticks // 10**7) if ticks else None
        except OverflowError:
            return None

    def charset(self) -> str:
        codepage = self.integer(_CODEPAGE) or self.integer(_MESSAGE_CODEPAGE)
        return {65001: "utf-8", 28591: "iso-8859-1", 20127: "ascii", 50220: "iso-2022-jp"}.get(
            codepage, f"cp{codepage}" if codepage else ""
        )

    def attachments(self) -> list[_Storage]:
        found = {
            path[len(self.path)]: None
            for path in self._ole.listdir(streams=True, storages=True)
            if tuple(path[: len(self.path)]) == self.path
            and len(path) > len(self.path)
            and path[len(self.path)].startswith("__attach_version1.0_#")
        }
        return [_Storage(self._ole, (*self.path, name), _ATTACHMENT_HEADER) for name in sorted(found)]


class _Outlook:
    """A mail saved by Outlook, or one attached to it."""

    def __init__(self, message: _Storage, depth: int, config: ExtractionConfig) -> None:
        if depth > config.max_mail_depth:
            limit = f"max_mail_depth {config.max_mail_depth}"
            raise UnreadableError(Reason.ARCHIVE_LIMITS, f"found mails nested deeper than {limit} allows")
        if message.text(_MESSAGE_CLASS).upper().endswith(".SMIME"):
            raise UnreadableError(Reason.ENCRYPTED_DOCUMENT, "found an encrypted or opaquely signed mail")
        attachments = message.attachments()
        if len(attachments) >= config.max_mail_parts:
            limit = f"max_mail_parts {config.max_mail_parts}"
            raise UnreadableError(Reason.ARCHIVE_LIMITS, f"found {len(attachments)} attachments; {limit} allows fewer")
        self._charset = message.charset()
        self.fields = self._read_fields(message)
        self.body = self._read_body(message)
        self.moment = message.moment(_SUBMIT_TIME) or message.moment(_DELIVERY_TIME)
        self.members: list[Member] = []
        self.skipped: Counter[str] = Counter()
        for attachment in attachments:
            self._keep(attachment, depth, config)

    def _read_fields(self, message: _Storage) -> dict[str, str]:
        address = message.text(_SENDER_SMTP, self._charset) or message.text(_SENDER_ADDRESS, self._charset)
        name = message.text(_SENDER_NAME, self._charset)
        found = {
            "mail.subject": message.text(_SUBJECT, self._charset),
            "mail.from": f"{name} <{address}>".strip() if "@" in address and address != name else name,
            "mail.to": message.text(_DISPLAY_TO, self._charset),
            "mail.message_id": message.text(_MESSAGE_ID, self._charset),
        }
        bounded = {name: " ".join(text[:_FIELD_CHARACTERS].split()) for name, text in found.items()}
        return {name: text[:MAX_FIELD_CHARACTERS] for name, text in bounded.items() if text}

    def _read_body(self, message: _Storage) -> str:
        if (text := message.text(_BODY, self._charset)).strip():
            return text
        if html := message.binary(_HTML):
            return read_html(html, self._charset)
        if (text := message.text(_HTML, self._charset)).strip():
            return read_html(text.encode(), "utf-8")
        packed = message.binary(_RTF)
        return read_rtf(_unpacked_rtf(packed)) if packed else ""

    def _keep(self, attachment: _Storage, depth: int, config: ExtractionConfig) -> None:
        names = (attachment.text(at, self._charset) for at in (_LONG_NAME, _SHORT_NAME, _DISPLAY_NAME))
        name = clean_name(next(filter(None, names), ""))
        embedded = attachment.embedded(_DATA)
        if embedded is not None and embedded.text(_MESSAGE_CLASS):
            mail = _Outlook(embedded, depth + 1, config)
            self.members.append(Member(name.removesuffix(".msg") + ".eml", mail.as_eml(), "message/rfc822"))
            return
        content = attachment.binary(_DATA)
        media_type = attachment.text(_MIME).lower()
        is_picture = media_type.startswith("image/") or name.lower().endswith((".png", ".gif", ".jpg", ".jpeg", ".bmp"))
        if media_type == "multipart/signed":
            self.members.append(Member(name + ".eml", content, "message/rfc822"))
        elif name.lower().endswith(".p7s"):
            self.skipped["signature"] += 1
        elif is_picture and attachment.text(_CONTENT_ID) and is_small_picture(content):
            self.skipped["inline_picture"] += 1
        else:
            self.members.append(Member(name, content, media_type))

    def as_eml(self) -> bytes:
        """The mail in the form in which mails are sent; the same bytes each time."""
        mail = MIMEMultipart(boundary="=_parts")  # occurs nowhere else, as all parts are in Base64
        for header, name in (("Subject", "mail.subject"), ("From", "mail.from"), ("To", "mail.to")):
            mail[header] = Header(self.fields.get(name, ""), "utf-8").encode()
        if self.moment:
            mail["Date"] = format_datetime(self.moment)
        mail.attach(MIMEText(self.body, "plain", "utf-8"))
        for member in self.members:
            part = MIMEApplication(member.content)
            part.replace_header("Content-Type", member.media_type_hint or "application/octet-stream")
            part.add_header("Content-Disposition", "attachment", filename=("utf-8", "", member.name))
            mail.attach(part)
        return mail.as_bytes()


def _unpacked_rtf(packed: bytes) -> bytes:
    """RTF out of Outlook's compression, by [MS-OXRTFCP]: literals, and references into the last 4,096 bytes."""
    size, kind = struct.unpack_from("<4xI4s", packed.ljust(16, b"\0"))
    if kind != b"LZFu":
        return packed[16:]
    window = bytearray(_RTF_WINDOW.ljust(4096, b"\0"))
    at = len(_RTF_WINDOW)
    out = bytearray()
    place = 16
    while place < len(packed) and len(out) < size:
        control = packed[place]
        place += 1
        for bit in range(8):
            if not control >> bit & 1:
                run = packed[place : place + 1]
                place += 1
            else:
                reference = int.from_bytes(packed[place : place + 2], "big")
                place += 2
                start, length = reference >> 4, (reference & 15) + 2
                if start == at or place > len(packed):
                    return bytes(out)
                run = b""
            for step in range(length if not run else 1):
                byte = run[0] if run else window[(start + step) % 4096]
                out.append(byte)
                window[at] = byte
                at = (at + 1) % 4096
    return bytes(out)
