"""Files of office programs, drawn by code: their XML parts, as much as a reader needs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_DRAWING = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_SHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_OPEN_DOCUMENT = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
)


def packed(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP file of `parts`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return content.getvalue()


def word_part(body: str, root: str = "document") -> str:
    """A part of a .docx with the XML `body`."""
    return f'<?xml version="1.0"?><w:{root} {_WORD} {_DRAWING}>{body}</w:{root}>'


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def docx(body: str, **parts: str | bytes) -> bytes:
    """A Word document whose body is the XML `body`; `parts` such as `header1` lie beside it, as XML too."""
    beside = {f"word/{name}.xml": word_part(part) if isinstance(part, str) else part for name, part in parts.items()}
    return packed({"[Content_Types].xml": "<Types/>", "word/document.xml": word_part(body), **beside})


def pptx(*slides: str) -> bytes:
    """A presentation with one paragraph on each slide."""
    parts = {
        f"ppt/slides/slide{number}.xml": f"<p {_DRAWING}><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p>"
        for number, text in enumerate(slides, start=1)
    }
    return packed({"[Content_Types].xml": "<Types/>", **parts})


def xlsx(rows: str, **drawings: str) -> bytes:
    """A workbook with one sheet; `rows` in XML."""
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    return packed(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="r1" '
            f'Type="{_OFFICE_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook {_SHEET} xmlns:r="{_OFFICE_RELATIONS}"><sheets>'
            '<sheet name="Sheet1" sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="r1" '
            f'Type="{_OFFICE_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/worksheets/sheet1.xml": f"<worksheet {_SHEET}><sheetData>{rows}</sheetData></worksheet>",
            **{f"xl/drawings/{name}.xml": f"<d {_DRAWING}>{drawing}</d>" for name, drawing in drawings.items()},
        }
    )


def sheet_row(number: int, *values: str) -> str:
    """A row of texts."""
    cells = "".join(
        f'<c r="{chr(ord("A") + place)}{number}" t="inlineStr"><is><t>{value}</t></is></c>'
        for place, value in enumerate(values)
    )
    return f'<row r="{number}">{cells}</row>'


def open_document(kind: str, body: str, manifest: str = "<manifest/>") -> bytes:
    """An OpenDocument file; `kind` is "text" or "spreadsheet"."""
    return packed(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "META-INF/manifest.xml": manifest,
            "content.xml": f"<office:document-content {_OPEN_DOCUMENT}><office:body><office:{kind}>{body}"
            f"</office:{kind}></office:body></office:document-content>",
        }
    )
