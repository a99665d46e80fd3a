"""Documents with pages, drawn by code: PDFs with a text layer, scans, and files that are hard on a parser."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

from PIL import Image, ImageDraw, ImageFont

A4 = (595, 842)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pdf(*pages: Sequence[str], size: tuple[int, int] = A4) -> bytes:
    """A PDF with these lines on its pages, in 12 points from the top."""
    streams = []
    for lines in pages:
        shown = "".join(f"({_escaped(line)}) Tj T* " for line in lines)
        streams.append(f"BT /F 12 Tf 16 TL 60 {size[1] - 72} Td {shown}ET".encode("cp1252"))
    return _pdf(streams, size)


def self_drawing_pdf() -> bytes:
    """A PDF of less than a kilobyte whose page draws a form that draws itself: it ends the process that renders it."""
    form = b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >> >>"
    return _pdf([b"/X Do"], A4, "/XObject << /X 6 0 R >>", [_stream(b"/X Do /X Do", form)])


def scan(lines: Sequence[str], size: tuple[int, int] = (800, 1100), kind: str = "PNG", **options: Any) -> bytes:
    """A picture of a page with these lines."""
    picture = Image.new("RGB", size, "white")
    drawing, font = ImageDraw.Draw(picture), ImageFont.load_default(28)
    for number, line in enumerate(lines):
        drawing.text((60, 80 + 44 * number), line, "black", font)
    return _saved(picture, kind, **options)


def tiff(*pages: Sequence[str]) -> bytes:
    """A TIFF with a page for each."""
    first, *others = (Image.open(io.BytesIO(scan(lines))) for lines in pages)
    return _saved(first, "TIFF", save_all=True, append_images=others)


def huge_picture(width: int = 30_000, height: int = 30_000) -> bytes:
    """A PNG of a few kilobytes that holds so many white pixels."""
    rows = zlib.compressobj(9)
    row = b"\0" + b"\xff" * ((width + 7) // 8)
    packed = b"".join(rows.compress(row) for _ in range(height)) + rows.flush()
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\0\0\0\0"
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big") for name, body in chunks
    )


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def mail(body: str, **attachments: bytes) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@shop.example", "b@bank.example", "Papers"
    message["Date"] = "Fri, 20 Nov 2026 06:00:00 +0000"
    message.set_content(body)
    for name, content in attachments.items():
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return bytes(message)


def _escaped(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _stream(content: bytes, head: bytes = b"<< >>") -> bytes:
    entries = head.removesuffix(b">>") + b"/Length %d >>" % len(content)
    return entries + b" stream\n" + content + b"\nendstream"


def _pdf(streams: Sequence[bytes], size: tuple[int, int], resources: str = "", more: Sequence[bytes] = ()) -> bytes:
    """Objects: 1 catalog, 2 pages, 3 font, then for each page itself and its stream, then `more`."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, stream in enumerate(streams):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] /Contents {5 + 2 * number} 0 R "
        page += f"/Resources << /Font << /F 3 0 R >> {resources} >> >>"
        objects += [page.encode(), _stream(stream)]
    objects += more
    file, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(file))
    return file + head + table + trailer


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
