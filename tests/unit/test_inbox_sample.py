"""The sample of an inbox: its files are what its truth says, as the readers of documents find them."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from datetime import datetime
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from extraction.documents import Document
from extraction.extract import FileExtraction
from pipelines.sampling.drawing import scanned_pdf, sent_mail, slip_picture, text_pdf, word_document
from pipelines.sampling.inbox import INBOX, INBOX_TRUTH, MIN_INBOX, write_inbox
from pipelines.sampling.samples import RUN_FILE, write_samples
from schemas.codes import Reason
from schemas.errors import ConfigError
from schemas.run_config import ExtractionConfig, load_config
from tests.support.small_runs import docyard


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_inbox(folder, 60)
    return folder


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / INBOX_TRUTH).open(encoding="utf-8", newline="") as file:
        return {row["document_id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def documents(folder: Path) -> dict[str, Document]:
    """Id → document, as read without OCR."""
    config = ExtractionConfig(ocr="off")
    return {
        path.name + ("!" + document.name if document.name else ""): document
        for path in sorted((folder / INBOX).iterdir())
        for document in FileExtraction(config, None).documents(path.read_bytes(), path.name)
    }


def test_the_truth_names_every_document_that_is_found_and_no_other(
    truth: dict[str, dict[str, str]], documents: dict[str, Document]
) -> None:
    assert documents.keys() == {name.partition("!pages-")[0] for name in truth}


def test_broken_documents_are_rejected_for_their_reason_and_no_others_are(
    truth: dict[str, dict[str, str]], documents: dict[str, Document]
) -> None:
    needs_ocr = {name for name, document in documents.items() if "extraction.ocr" in document.detail}
    assert 0 < len(needs_ocr) < len(documents) / 2
    for name in truth.keys() & documents.keys() - needs_ocr:
        broken = truth[name]["outcome"] == "broken"
        assert documents[name].reason == (truth[name]["label"] if broken else None), name
    assert {truth[name]["label"] for name in needs_ocr} <= {"receipt", "contract", Reason.EXTRACTION_FAILED}


def test_the_truth_of_a_packet_tells_the_pages_of_each_document(
    truth: dict[str, dict[str, str]], documents: dict[str, Document]
) -> None:
    parts = [name.split("!pages-") for name in truth if "!pages-" in name]
    by_file = {file: [pages.split("-") for other, pages in parts if other == file] for file, _ in parts}
    for file, pages in by_file.items():
        numbers = [number for first, last in pages for number in range(int(first), int(last) + 1)]
        assert numbers == list(range(1, (documents[file].pages or 0) + 1))
    assert {len(pages) for pages in by_file.values()} == {2, 3}


def test_documents_come_in_every_form(truth: dict[str, dict[str, str]], documents: dict[str, Document]) -> None:
    assert Counter(row["outcome"] for row in truth.values()).keys() == {"in_scope", "out_of_scope", "broken"}
    assert {row["label"] for row in truth.values() if row["outcome"] == "in_scope"} == {"ticket", "receipt", "contract"}
    assert {document.text_source for document in documents.values()} == {None, "mail", "text_layer", "office", "html"}
    kinds = {document.media_type.rpartition("/")[2] for document in documents.values()}
    assert {"rfc822", "pdf", "jpeg", "png", "html"} < kinds
    assert any(document.text_cut_at is not None for document in documents.values())
    assert sum("!" in name for name in documents) >= 6


def test_the_same_seed_gives_the_same_bytes_whatever_lay_there(folder: Path, tmp_path: Path) -> None:
    write_inbox(tmp_path, MIN_INBOX, seed=8)
    write_inbox(tmp_path, 60)
    first, again = ({path.name: path.read_bytes() for path in (base / INBOX).iterdir()} for base in (folder, tmp_path))
    assert first == again
    assert (folder / INBOX_TRUTH).read_bytes() == (tmp_path / INBOX_TRUTH).read_bytes()


def test_a_file_that_no_sample_wrote_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / INBOX).mkdir()
    (tmp_path / INBOX / "thesis.pdf").write_text("mine")
    with pytest.raises(ConfigError, match="thesis"):
        write_inbox(tmp_path, MIN_INBOX)
    assert [path.name for path in tmp_path.rglob("*")] == [INBOX, "thesis.pdf"]


def test_too_small_an_inbox_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"expected at least {MIN_INBOX}, found {MIN_INBOX - 1}"):
        write_inbox(tmp_path, MIN_INBOX - 1)


def test_the_command_writes_an_inbox_and_a_run_that_finds_out_the_kinds(tmp_path: Path) -> None:
    result = docyard("sample", tmp_path, "--inbox", "--documents", str(MIN_INBOX))
    assert result.exit_code == 0, result.output
    assert f"wrote {MIN_INBOX} files with 50 documents into {tmp_path / INBOX}" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [INBOX, INBOX_TRUTH, RUN_FILE]
    [item] = load_config(tmp_path / RUN_FILE, {}).inputs
    assert (item.paths, item.document_type) == ((str(tmp_path / INBOX),), "auto")
    assert Path(item.bundles).parts[-2:] == ("models", "bundles")


def test_an_inbox_holds_all_kinds(tmp_path: Path) -> None:
    result = docyard("sample", tmp_path, "--inbox", "--kind", "ticket")
    assert result.exit_code == 2
    assert "leave --kind out" in result.output


def test_without_pillow_an_inbox_names_its_extra_and_the_other_samples_need_none(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['PIL'] = None\n"
        "from pathlib import Path\n"
        "from pipelines.sampling.samples import write_inbox_sample, write_samples\n"
        "write_samples(Path('texts'), ['ticket'], 100, 7)\n"
        "write_inbox_sample(Path('mixed'), 40, 7)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "ConfigError: pictures need Pillow, which is not installed: pip install" in ended.stderr
    assert "[ocr]" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]


# What is drawn


def read(content: bytes, name: str) -> Document:
    [document] = FileExtraction(ExtractionConfig(ocr="off"), None).documents(content, name)
    return document


def test_a_pdf_holds_its_text_page_by_page() -> None:
    document = read(text_pdf("Grüße (a\\b) – 5 €\n\fsecond " + "word " * 40), "a.pdf")
    assert document.pages == 2
    assert document.text.split() == ["Grüße", "(a\\b)", "–", "5", "€", "second", *["word"] * 40]


def test_a_scanned_pdf_holds_no_text() -> None:
    document = read(scanned_pdf("line\n" * 200, Random(1), max_pages=2), "a.pdf")
    assert (document.pages, document.text) == (2, "")
    assert "without text of its own" in document.detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_of_a_slip_is_as_large_as_its_lines_need(kind: str) -> None:
    text = "a line of a slip of paper\n" * 30
    pictures = [Image.open(BytesIO(slip_picture(text, Random(seed), kind))) for seed in (1, 1, 2)]
    assert [picture.format for picture in pictures] == [kind] * 3
    assert pictures[0].tobytes() == pictures[1].tobytes() != pictures[2].tobytes()
    assert 400 < pictures[0].width < 900 < pictures[0].height


def test_a_word_document_takes_any_text() -> None:
    assert read(word_document("a < b & c\n\n\fd  e"), "a.docx").text == "a < b & c\n\nd  e"


@pytest.mark.parametrize("form", ["plain", "html", "both"])
def test_a_mail_keeps_its_text_in_every_form(form: str) -> None:
    sent = "2026-11-20T06:00:00Z"
    content = sent_mail("Grüße", "Ann <ann@example.org>", datetime.fromisoformat(sent), "one < two\n\nthree", form)
    document = read(content, "a.eml")
    assert document.text == "Grüße\n\none < two\n\nthree"
    assert document.received_at == sent


def test_samples_of_texts_and_an_inbox_share_no_run_file_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text("# mine\n")
    result = docyard("sample", tmp_path, "--inbox", "--documents", str(MIN_INBOX))
    assert result.exit_code != 0
    with pytest.raises(ConfigError, match=RUN_FILE):
        write_samples(tmp_path, ["ticket"], 100, 7)
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]
