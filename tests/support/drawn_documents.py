"""PDFs, pictures, mails and archives drawn by code, good ones and hostile ones, as bytes."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from email.message import EmailMessage

from PIL import Image, ImageDraw, ImageFont

FONTS = "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
INVOICE = "Invoice 4711 for two boxes of printer paper, to be paid within thirty days"


def pdf(*texts: str, picture_on: Sequence[int] = ()) -> bytes:
    """A PDF with one page for each text; pages of `picture_on`, from 0, show a grey picture too."""
    contents = []
    for number, text in enumerate(texts):
        lines = "".join(f"({_escaped(line)}) Tj 0 -16 Td " for line in text.split("\n"))
        drawn = "q 200 0 0 200 72 300 cm /I1 Do Q" if number in picture_on else ""
        contents.append(f"BT /F1 12 Tf 72 700 Td {lines}ET {drawn}".encode("latin-1") if text or drawn else b"")
    picture = stream(bytes(range(0, 256, 4)), "/Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace "
                     "/DeviceGray /BitsPerComponent 8")  # fmt: skip
    return pdf_of_contents(contents, f"/Font {FONTS} /XObject << /I1 {len(contents) * 2 + 3} 0 R >>", [picture])


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def pdf_of_contents(contents: Sequence[bytes], resources: str = "", more: Iterable[bytes] = ()) -> bytes:
    """A PDF with one page for each content stream; objects of `more` follow those of the pages: 3, 4, … are these."""
    n_pages = len(contents)
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(n_pages))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {n_pages} >>".encode()]
    for number, content in enumerate(contents):
        page = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {4 + 2 * number} 0 R "
            f"/Resources << {resources} >> >>"
        )
        objects += [page.encode(), stream(content)]
    return pdf_of_objects([*objects, *more])


def stream(content: bytes, entries: str = "") -> bytes:
    """A stream object of a PDF."""
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def pdf_of_objects(objects: Iterable[bytes]) -> bytes:
    """A PDF of objects numbered from 1, of which the first one is the catalog."""
    out, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(offsets) + 1, start)
    return bytes(out)


def pdf_form(question: str, answer: str) -> bytes:
    """A page with a question and a text field that somebody has filled in."""
    look = stream(f"/Tx BMC BT /F1 12 Tf 2 4 Td ({_escaped(answer)}) Tj ET EMC".encode(), "/Type /XObject /Subtype "
                  f"/Form /BBox [0 0 300 20] /Resources << /Font {FONTS} >>")  # fmt: skip
    field = f"<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V ({_escaped(answer)}) /F 4 /Rect [72 640 372 660] "
    return pdf_of_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R] >> >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Annots [5 0 R] "
            + f"/Resources << /Font {FONTS} >> >>".encode(),
            stream(f"BT /F1 12 Tf 72 700 Td ({_escaped(question)}) Tj ET".encode()),
            f"{field} /AP << /N 6 0 R >> >>".encode(),
            look,
        ]
    )


def encrypted_pdf() -> bytes:
    """A PDF that asks for a password, which nobody knows."""
    unknown = "00" * 32
    encryption = f"<< /Filter /Standard /V 2 /R 3 /Length 128 /P -44 /O <{unknown}> /U <{unknown}> >>"
    trailer = f"trailer\n<< /Encrypt {encryption} /ID [<00> <00>] ".encode()
    return pdf(INVOICE).replace(b"trailer\n<< ", trailer)


def pdf_that_draws_itself() -> bytes:
    """A form whose content draws the form itself twice, without end."""
    form = stream(
        b"/X Do /X Do", "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >>"
    )
    return pdf_of_contents([b"/X Do"], "/XObject << /X 5 0 R >>", [form])


def pdf_of_doubling_forms(depth: int = 28) -> bytes:
    """Forms that each draw the next one twice: 2^depth drawings."""
    forms = []
    for number in range(depth):
        last = number == depth - 1
        resources = "" if last else f"/Resources << /XObject << /X {6 + number} 0 R >> >>"
        entries = f"/Type /XObject /Subtype /Form /BBox [0 0 9 9] {resources}"
        forms.append(stream(b"0 0 1 1 re f" if last else b"/X Do /X Do", entries))
    return pdf_of_contents([b"/X Do"], "/XObject << /X 5 0 R >>", forms)


def pdf_of_endless_content(megabytes: int = 256) -> bytes:
    """A content stream of many megabytes, compressed twice to a few kilobytes."""
    content = zlib.compress(zlib.compress(b"0 0 1 1 re " * (megabytes * 2**20 // 11), 9), 9)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>"
    return pdf_of_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            page,
            stream(content, "/Filter [/FlateDecode /FlateDecode]"),
        ]
    )


def picture(text: str = INVOICE, *, size: tuple[int, int] = (900, 240), mode: str = "L") -> Image.Image:
    """Black text on white, one line for each line of the text."""
    drawn = Image.new("L", size, 255)
    ImageDraw.Draw(drawn).multiline_text((40, 60), text, fill=0, font=ImageFont.load_default(22), spacing=12)
    return drawn.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as a file of a format that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_many_pixels(side: int = 30_000) -> bytes:
    """A PNG that claims side × side pixels and holds none of them."""
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = b"".join(
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        for chunk in (header, data, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def zip_of(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    """An archive, its members in the given order; names may repeat."""
    pairs = members.items() if isinstance(members, Mapping) else members
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that repeat
        for name, content in pairs:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def mail(*attachments: tuple[str, bytes], subject: str = "Parcel") -> bytes:
    """A mail of two lines with files attached."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", subject
    message["Date"] = "Fri, 20 Nov 2026 10:00:00 +0100"
    message.set_content("It is late.")
    for name, content in attachments:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return bytes(message)
