"""Files as people send them, written by code: pictures of slips of paper, PDFs, Word documents, mails and archives.

The same arguments give the same bytes; those of pictures with the same version of Pillow.
"""

from __future__ import annotations

import io
import textwrap
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from random import Random
from typing import TYPE_CHECKING

from schemas.errors import ConfigError
from schemas.system import pip_install

if TYPE_CHECKING:
    from PIL.Image import Image

_A4_POINTS, _A4_PIXELS = (595, 842), (1240, 1754)  # at 150 dots per inch
_MARGIN_POINTS, _LINE_POINTS, _FONT_POINTS = 50, 13, 10
_LINE_CHARACTERS, _PAGE_LINES = 92, 56
_NOISE_SHARE = 0.08
_ZIP_TIME = (2026, 11, 22, 9, 0, 0)
_IN_ASCII = str.maketrans(
    {"€": "EUR ", "£": "GBP ", "–": "-", "—": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "ß": "ss"}
)
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_MAIN_PART = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"


def slip_picture(text: str, random: Random, kind: str = "JPEG") -> bytes:
    """A photograph of a slip of paper: a little turned and noisy; `kind` is "JPEG" or "PNG".

    Raises:
        ConfigError: Pillow is not installed.
    """
    lines = text.rstrip().split("\n")
    size = random.randint(24, 30)
    page = _written(lines, size, (max(map(len, lines)) * size * 5 // 8 + 120, len(lines) * size * 3 // 2 + 160), 60)
    return _encoded(_photographed(page, random), kind)


def text_pdf(text: str) -> bytes:
    """A PDF with `text` in Helvetica as its text layer; characters outside Windows-1252 become question marks."""
    return _pdf([_page_content(page) for page in _pages(text)], b"/Font << /F 1 0 R >>", [_HELVETICA])


def count_pages(text: str) -> int:
    """The number of pages that `text` takes in a PDF."""
    return len(_pages(text))


def scanned_pdf(text: str, random: Random, max_pages: int = 3) -> bytes:
    """A PDF of pictures of the first pages of `text`, without a text layer.

    Raises:
        ConfigError: Pillow is not installed.
    """
    pictures = []
    for page in _pages(text)[:max_pages]:
        picture = _photographed(_written(page, 18, _A4_PIXELS, 90), random, turn=0.5)
        content, (width, height) = _encoded(picture, "JPEG"), picture.size
        about = f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray"
        pictures.append(_stream(content, f"{about} /BitsPerComponent 8 /Filter /DCTDecode"))
    names = b" ".join(b"/P%d %d 0 R" % (number, number) for number in range(1, len(pictures) + 1))
    width, height = _A4_POINTS
    contents = [b"%d 0 0 %d 0 0 cm /P%d Do" % (width, height, number) for number in range(1, len(pictures) + 1)]
    return _pdf(contents, b"/XObject << %b >>" % names, pictures)


def encrypted_pdf(text: str, random: Random) -> bytes:
    """A PDF that asks for a password, which nobody knows."""
    owner, user, identity = (random.randbytes(n_bytes).hex().encode() for n_bytes in (32, 32, 16))
    encryption = b"/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -44 /O <%b> /U <%b> >> /ID [<%b> <%b>]"
    resources = b"/Font << /F 1 0 R >>"
    contents = [_page_content(page) for page in _pages(text)]
    return _pdf(contents, resources, [_HELVETICA], encryption % (owner, user, identity, identity))


def word_document(text: str) -> bytes:
    """A Word document with a paragraph for each line."""
    body = "".join(
        f'<w:p><w:r><w:t xml:space="preserve">{escape(line)}</w:t></w:r></w:p>'
        for line in text.replace("\f", "").split("\n")
    )
    declaration = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    kind = f'<Override PartName="/word/document.xml" ContentType="{_OFFICE}"/>'
    relation = f'<Relationship Id="rId1" Type="{_MAIN_PART}" Target="word/document.xml"/>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_TYPES}"><Default Extension="rels" '
        f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{kind}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}">{relation}</Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>',
    }
    return zipped({name: (declaration + part).encode() for name, part in parts.items()})


def web_page(text: str) -> str:
    """HTML with a paragraph for each block of lines."""
    blocks = (escape(block).replace("\n", "<br>") for block in text.strip().split("\n\n"))
    return (
        f'<html><head><meta charset="utf-8"></head><body>{"".join(f"<p>{block}</p>" for block in blocks)}</body></html>'
    )


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive; all members bear the same time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), member, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def sent_mail(
    subject: str,
    sender: str,
    sent: datetime,
    text: str,
    form: str = "plain",
    attachments: Iterable[tuple[str, str, bytes]] = (),
) -> bytes:
    """A mail as it arrives.

    Args:
        form: "plain", "html", or "both" for a choice between them.
        attachments: name, media type and content of each.
    """
    mail = EmailMessage(SMTP)
    mail["Subject"], mail["From"], mail["To"] = subject, sender, "service@example.com"
    mail["Date"] = format_datetime(sent)
    mail["Message-ID"] = f"<{sent:%Y%m%d%H%M%S}.{zlib.crc32(text.encode()):08x}@example.org>"
    if form == "html":
        mail.set_content(web_page(text), subtype="html")
    else:
        mail.set_content(text)
    if form == "both":
        mail.add_alternative(web_page(text), subtype="html")
    for name, media_type, content in attachments:
        maintype, subtype = media_type.split("/")
        mail.add_attachment(content, maintype=maintype, subtype=subtype, filename=name)
    for number, part in enumerate(mail.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_part_{number}")  # else drawn by chance
    return mail.as_bytes()


def _in_ascii(text: str) -> str:
    """The characters that Pillow's own font has."""
    parted = unicodedata.normalize("NFKD", text.translate(_IN_ASCII))
    return parted.encode("ascii", "ignore").decode()


def _written(lines: Sequence[str], size: int, extent: tuple[int, int], margin: int) -> Image:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise ConfigError(f"pictures need Pillow, which is not installed: {pip_install('ocr')}") from None
    page = Image.new("L", extent, 250)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    for number, line in enumerate(lines):
        draw.text((margin, margin + number * size * 3 // 2), _in_ascii(line), fill=30, font=font)
    return page


def _photographed(page: Image, random: Random, turn: float = 1.5) -> Image:
    from PIL import Image

    turned = page.rotate(random.uniform(-turn, turn), Image.Resampling.BILINEAR, expand=True, fillcolor=225)
    noise = Image.frombytes("L", turned.size, random.randbytes(turned.width * turned.height))
    return Image.blend(turned, noise, random.uniform(0, _NOISE_SHARE))


def _encoded(picture: Image, kind: str) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **({"quality": 80} if kind == "JPEG" else {}))
    return content.getvalue()


def _pages(text: str) -> list[list[str]]:
    """The lines of each page; a form feed begins one."""
    pages = []
    for chapter in text.split("\f"):
        lines = [part for line in chapter.split("\n") for part in textwrap.wrap(line, _LINE_CHARACTERS) or [""]]
        pages += [lines[at : at + _PAGE_LINES] for at in range(0, len(lines), _PAGE_LINES)]
    return pages


_HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


def _page_content(lines: Iterable[str]) -> bytes:
    top = _A4_POINTS[1] - _MARGIN_POINTS
    shown = b" ".join(b"(%b) Tj T*" % _string(line) for line in lines)
    return b"BT /F %d Tf %d TL %d %d Td %b ET" % (_FONT_POINTS, _LINE_POINTS, _MARGIN_POINTS, top, shown)


def _string(line: str) -> bytes:
    coded = line.encode("cp1252", "replace")
    return coded.replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")


def _stream(content: bytes, entries: str = "") -> bytes:
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def _pdf(contents: Sequence[bytes], resources: bytes, resource_objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of page contents; `resources` name their objects by number, from 1. The catalog comes last, as usual."""
    n_before = len(resource_objects) + len(contents)
    tree = n_before + len(contents) + 1
    objects = [*resource_objects, *(_stream(zlib.compress(content), "/Filter /FlateDecode") for content in contents)]
    width, height = _A4_POINTS
    objects += [
        b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 %d %d] /Resources << %b >> /Contents %d 0 R >>"
        % (tree, width, height, resources, number)
        for number in range(len(resource_objects) + 1, n_before + 1)
    ]
    kids = b" ".join(b"%d 0 R" % number for number in range(n_before + 1, tree))
    objects += [b"<< /Type /Pages /Count %d /Kids [%b] >>" % (len(contents), kids)]
    objects += [b"<< /Type /Catalog /Pages %d 0 R >>" % tree]
    out, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(out)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, table)
    out += b"trailer\n<< /Size %d /Root %d 0 R %b >>\nstartxref\n%d\n%%%%EOF\n" % (
        *(len(objects) + 1, tree + 1, trailer, start),
    )
    return bytes(out)
