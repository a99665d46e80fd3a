"""Runs over folders of documents: each leaves by one door, and a second run gives the same bytes."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from email.message import EmailMessage
from pathlib import Path

import pandas as pd
import pytest

from extraction.documents import Extraction
from extraction.process import Extractor
from tests.support.small_runs import classify_arguments, documents, docyard, published_hashes, write_jsonl

pytest.importorskip("pypdfium2", reason="needs docyard[documents]")

BILLING, DELIVERY = "please refund my card payment twice", "where is my parcel courier late address"


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, content in members.items():
            opened.writestr(name.replace("_dot_", "."), content)
    return packed.getvalue()


def mail() -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.org", "desk@example.org", "Refund"
    message["Date"] = "Fri, 02 Jan 2026 10:00:00 +0100"
    message.set_content(BILLING)
    message.add_attachment(DELIVERY, filename="note.txt")
    message.add_attachment(b"%PDF-1.4 cut off", maintype="application", subtype="pdf", filename="broken.pdf")
    return message.as_bytes()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    write_jsonl(folder / "records.jsonl", documents(5))
    (folder / "a.eml").write_bytes(mail())
    (folder / "b.zip").write_bytes(archive(x_dot_txt=BILLING.encode(), y_dot_txt=DELIVERY.encode(), z_dot_bin=b"\0"))
    (folder / "c.pdf").write_bytes(b"%PDF-1.4 cut off")
    (folder / "d.html").write_text(f"<html><p>{DELIVERY}</p></html>")
    (folder / "e.zip").write_bytes(archive())
    return folder


def test_every_document_of_a_mixed_folder_leaves_by_one_door(inbox: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    result = docyard(*classify_arguments(inbox, tiny_bundle, tmp_path / "w"), "--metadata-field", "mail.subject")
    assert result.exit_code == 0, result.output
    classified = pd.read_parquet(tmp_path / "w/classifications").set_index("document_id")
    rejected = pd.read_parquet(tmp_path / "w/rejections").set_index("document_id")
    assert dict(rejected["reason_code"]) == {
        "a.eml!0002/broken.pdf": "extraction_failed",
        "b.zip!0003/z.bin": "unsupported_format",
        "c.pdf": "extraction_failed",
        "e.zip": "empty_archive",
    }
    assert {*classified.index} == {
        *("d0", "d1", "d2", "d3", "d4"),
        *("a.eml", "a.eml!0001/note.txt", "b.zip!0001/x.txt", "b.zip!0002/y.txt", "d.html"),
    }
    assert classified.loc["a.eml", "metadata"] == '{"mail.subject":"Refund"}'
    assert classified.loc["a.eml", "received_at"] == pd.Timestamp("2026-01-02T09:00:00Z")
    assert classified.loc["a.eml!0001/note.txt", "container_id"] == "a.eml"
    page = classified.loc["d.html", ["label", "text_source", "media_type"]]
    assert page.to_list() == ["delivery", "html", "text/html"]
    (manifest,) = (tmp_path / "w/runs").glob("*/manifest.json")
    counts = json.loads(manifest.read_bytes())["counts"]
    assert (counts["read"], counts["unpacked"], counts["classified"], counts["rejected"]) == (10, 4, 10, 4)
    verified = docyard("verify", manifest.parent.name, "--warehouse", tmp_path / "w")
    assert "10 read + 4 unpacked = 10 classified + 4 rejected" in verified.output


def test_two_runs_over_documents_give_the_same_bytes(inbox: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert docyard(*classify_arguments(inbox, tiny_bundle, tmp_path / name)).exit_code == 0
    assert published_hashes(tmp_path / "one") == published_hashes(tmp_path / "two")


def test_a_dry_run_says_what_is_in_the_documents(inbox: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    result = docyard(*classify_arguments(inbox, tiny_bundle, tmp_path / "w"), "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["documents"]
    assert (found["files"], found["surveyed"]) == (5, 5)
    assert found["documents"]["message/rfc822"] == 1
    assert found["rejected"] == {"empty_archive": 1, "extraction_failed": 2, "unsupported_format": 1}
    assert not (tmp_path / "w").exists()


def test_extracted_texts_are_kept_for_the_next_run_and_erased_with_their_document(
    inbox: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--warehouse", tmp_path / "w")
    assert docyard(*classify_arguments(inbox, tiny_bundle, tmp_path / "w")).exit_code == 0
    published = published_hashes(tmp_path / "w")
    kept = [path for path in (tmp_path / "w/_extracted").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}
    assert len(kept) == 3, "not those with a broken document, which is tried again"
    monkeypatch.setattr("extraction.process.Extractor.extract", _refuse_all_but(b"%PDF", b"From: "))
    assert docyard(*classify_arguments(inbox, tiny_bundle, tmp_path / "w")).exit_code == 0
    assert published_hashes(tmp_path / "w") == published
    assert docyard("queue", "to-people", *place).exit_code == 0
    result = docyard("erase", *place, "--document-id", "b.zip!0001/x.txt")
    assert result.exit_code == 0, result.output
    assert "1 file whose extracted texts were kept" in result.output
    left = {path for path in (tmp_path / "w/_extracted").rglob("*") if path.is_file()}
    assert len({*kept} - left) == 1
    assert not any(BILLING.encode() in zlib.decompress(path.read_bytes()) for path in left)


def test_a_document_without_a_byte_is_rejected_as_empty(tiny_bundle: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in/records.jsonl", documents(2))
    (tmp_path / "in/scan.pdf").touch()
    assert docyard(*classify_arguments(tmp_path / "in", tiny_bundle, tmp_path / "w")).exit_code == 0
    (rejected,) = pd.read_parquet(tmp_path / "w/rejections").to_dict("records")
    assert (rejected["reason_code"], rejected["detail"].endswith("; the file is empty")) == ("unsupported_format", True)


def _refuse_all_but(*parts: bytes) -> object:
    real = Extractor.extract

    def extract(self: Extractor, content: bytes, name: str) -> Extraction:
        assert any(part in content for part in parts), f"{name} was extracted again"
        return real(self, content, name)

    return extract
