from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

import pytest

from extraction.cache import TextCache, erase, identity, trim
from extraction.documents import Document, Extraction
from extraction.process import Extractor
from schemas.codes import Reason, TextSource
from schemas.run_config import ExtractionConfig, InputConfig, RunConfig
from tests.support.drawn_documents import INVOICE, pdf, pdf_of_doubling_forms, zip_of
from transforms.extract_documents import cached_extract
from warehouse.folder import FolderWarehouse

SHA, MEMBER_SHA = "ab" * 32, "cd" * 32
ONE = Extraction((Document("", "application/pdf", SHA, text="text", text_source=TextSource.OCR, page_ends=(4,)),))
MANY = Extraction(
    (
        Document("0001/a.pdf", "application/pdf", MEMBER_SHA, text="a", container="", replaces_container=True),
        Document("0002/b.pdf", "application/pdf", "ef" * 32, container="", reason=Reason.NO_TEXT_FOUND, detail="b"),
    ),
    Counter({"system_file": 2}),
)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("extraction", [ONE, MANY], ids=["a file", "a file with members"])
def test_what_is_kept_is_found_as_it_was(extraction: Extraction, tmp_path: Path) -> None:
    TextCache(tmp_path, "x").keep(SHA, "a.pdf", extraction)
    cache = TextCache(tmp_path, "x")
    assert cache.find(SHA, "another name.PDF") == extraction
    assert cache.n_found == 1
    assert cache.find(MEMBER_SHA, "a.pdf") is None
    assert cache.find(SHA, "a.html") is None  # which may be another media type
    assert TextCache(tmp_path, "y").find(SHA, "a.pdf") is None


def test_only_the_owner_may_read_an_entry(tmp_path: Path) -> None:
    TextCache(tmp_path / "cache", "x").keep(SHA, "a.pdf", ONE)
    [entry] = entries(tmp_path)
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert stat.S_IMODE(entry.parent.stat().st_mode) == 0o700
    assert b"text" not in entry.read_bytes()[:4]


@pytest.mark.parametrize("damage", [b"", b"junk", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_damaged_entry_is_a_miss_and_is_replaced(damage: bytes, tmp_path: Path) -> None:
    cache = TextCache(tmp_path, "x")
    cache.keep(SHA, "a.pdf", ONE)
    [entry] = entries(tmp_path)
    entry.write_bytes(damage)
    assert cache.find(SHA, "a.pdf") is None
    cache.keep(SHA, "a.pdf", ONE)
    assert cache.find(SHA, "a.pdf") == ONE


@pytest.mark.parametrize("reason", [Reason.EXTRACTION_TIMEOUT, Reason.EXTRACTION_MEMORY, Reason.EXTRACTION_FAILED])
def test_a_failure_is_not_kept(reason: Reason, tmp_path: Path) -> None:
    failed = Document("0003/c", "application/pdf", SHA, container="", reason=reason, detail="c")
    TextCache(tmp_path, "x").keep(SHA, "a.zip", Extraction((*MANY.documents, failed)))
    assert entries(tmp_path) == []


def test_texts_that_cannot_be_kept_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file where the folder should be")
    cache = TextCache(tmp_path, "x")
    cache.keep(SHA, "a.pdf", ONE)
    assert isinstance(cache.failure, OSError)
    assert cache.find(SHA, "a.pdf") is None


def test_erasing_reaches_a_file_its_other_names_and_archives_that_hold_it(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        cache = TextCache(tmp_path, folder)
        cache.keep(MEMBER_SHA, "a.pdf", ONE)
        cache.keep(MEMBER_SHA, "a", ONE)
        cache.keep(SHA, "a.zip", MANY)
        cache.keep("01" * 32, "b.pdf", ONE)
    unfinished = tmp_path / "x" / "ab" / ".0123.tmp"
    unfinished.write_bytes(b"text")
    assert erase(tmp_path, MEMBER_SHA) == 7
    assert {path.name for path in entries(tmp_path)} == {"01" * 32 + ".pdf"}
    assert erase(tmp_path / "missing", SHA) == 0


def test_the_entries_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, "x")
    for number in range(4):
        cache.keep(f"{number:064x}", "a.pdf", ONE)
        [entry] = tmp_path.rglob(f"{number:064x}.pdf")
        os.utime(entry, (number, number))
    assert cache.find(f"{0:064x}", "a.pdf") == ONE
    trim(tmp_path, 2 * 4096)
    assert [path.name[:64] for path in entries(tmp_path)] == [f"{0:064x}", f"{3:064x}"]
    trim(tmp_path, 0)
    assert entries(tmp_path) == []


def test_the_identity_follows_what_changes_texts_and_nothing_else() -> None:
    same = identity(ExtractionConfig(), "machine")
    assert same == identity(ExtractionConfig(seconds=1, max_memory_bytes=10**9, cache_megabytes=1), "machine")
    others = [ExtractionConfig(ocr="tiny"), ExtractionConfig(max_pages=1), ExtractionConfig(pdf_text="ocr")]
    found = {same, identity(ExtractionConfig(), "another"), *(identity(config, "machine") for config in others)}
    assert len(found) == 5


def test_a_file_that_was_read_before_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ExtractionConfig(ocr="off", seconds=1)
    config = RunConfig("2026-01-31", str(tmp_path), (InputConfig(("in",), "ticket", "bundle"),), extraction=limits)
    warehouse, archive = FolderWarehouse(tmp_path), zip_of({"a.pdf": pdf(INVOICE), "b.txt": b"note"})
    with cached_extract(config, warehouse) as extract:
        found = extract(archive, "a.zip")
        assert extract(pdf_of_doubling_forms(), "a.pdf").documents[0].reason is Reason.EXTRACTION_TIMEOUT
    assert len(entries(warehouse.extracted)) == 1, "what took too long is tried again"
    monkeypatch.setattr(Extractor, "_start", lambda _: pytest.fail("a process was started"))
    with cached_extract(config, warehouse) as extract:
        assert extract(archive, "other.zip") == found
