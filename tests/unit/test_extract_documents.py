from __future__ import annotations

import base64
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from extraction.documents import Document, Extraction
from schemas.codes import Reason, TextSource
from schemas.run_config import InputConfig, RunConfig
from schemas.shards import DOCUMENT_SCHEMA, EXTRACTED_SCHEMA, FileVersion, Shard, SourceFile
from transforms.extract_documents import Extract, extract_documents, extract_shard, member_id
from transforms.readers.files import DamagedFileError, local_uri

MAIL = "message/rfc822"


def table_of(*ids: str) -> pa.Table:
    rows = [{"document_id": each, "source_uri": f"file:///in/{each}", "source_offset": 0} for each in ids]
    return pa.Table.from_pylist(rows, DOCUMENT_SCHEMA)


def text(name: str, words: str, **more: Any) -> Document:
    return Document(name, "text/plain", "0" * 64, words, TextSource.GIVEN, **more)


FOUND = {
    b"letter": Extraction((text("", "a letter"),)),
    b"mail": Extraction(
        (
            Document("", MAIL, "1" * 64, "hello", TextSource.MAIL, received_at="2026-01-02T03:04:05+00:00",
                     fields={"mail.subject": "Refund", "mail.from": "a@example.org"}),
            text("0001/terms.txt", "terms", container=""),
            Document("0002/broken.pdf", "application/pdf", "2" * 64, container="", reason=Reason.EXTRACTION_FAILED,
                     detail="the parser ended by signal 6"),
        ),
        Counter(signature=1),
    ),
    b"zip": Extraction(
        (
            text("0001/a.txt", "first", container="", replaces_container=True),
            text("0002/b.txt", "second", container=""),
        )
    ),
}  # fmt: skip


def extract(content: bytes, name: str) -> Extraction:
    return FOUND[content]


def opened() -> AbstractContextManager[Extract]:
    return nullcontext(extract)


def extracted(*contents: bytes | DamagedFileError, fields: tuple[str, ...] = ()) -> tuple[pa.Table, Counter[str]]:
    ids = [f"d{number}" for number in range(len(contents))]
    pairs = [(f"file:///in/{each}", content) for each, content in zip(ids, contents, strict=True)]
    return extract_documents(table_of(*ids), pairs, extract, fields, 512)


def test_a_mail_keeps_its_row_and_its_attachments_follow_it() -> None:
    table, skipped = extracted(b"letter", b"mail", b"letter")
    assert table["document_id"].to_pylist() == ["d0", "d1", "d1!0001/terms.txt", "d1!0002/broken.pdf", "d2"]
    assert table["unpacked"].to_pylist() == [False, False, True, True, False]
    assert table["container_id"].to_pylist() == [None, None, "d1", "d1", None]
    assert table["reason_code"].to_pylist() == [None, None, None, "extraction_failed", None]
    assert table["stage"].to_pylist() == [None, None, None, "extract", None]
    assert table["source_uri"].to_pylist() == ["file:///in/d0", *["file:///in/d1"] * 3, "file:///in/d2"]
    assert skipped == Counter(signature=1)


def test_the_members_of_an_archive_take_its_place() -> None:
    table, _ = extracted(b"zip")
    assert table["document_id"].to_pylist() == ["d0!0001/a.txt", "d0!0002/b.txt"]
    assert table["unpacked"].to_pylist() == [False, True]


def test_a_mail_gives_its_time_and_only_the_facts_that_are_asked_for() -> None:
    table, _ = extracted(b"mail", fields=("mail.subject", "region"))
    assert table["metadata"].to_pylist() == ['{"mail.subject":"Refund"}', None, None]
    assert table["received_at"].to_pylist() == ["2026-01-02T03:04:05+00:00", None, None]


def test_a_file_that_cannot_be_read_is_one_rejection_in_its_place() -> None:
    table, _ = extracted(b"letter", DamagedFileError(Reason.UNREADABLE_FILE, "cannot be opened"), b"zip")
    assert table["reason_code"].to_pylist() == [None, "unreadable_file", None, None]
    assert table.schema.equals(pa.schema([*DOCUMENT_SCHEMA, *EXTRACTED_SCHEMA]))


def test_an_id_of_a_member_is_cut_to_what_an_id_may_have() -> None:
    assert member_id("box.mbox", "0003/é.pdf", 14) == "box.mbox!0003/"
    assert member_id("box.mbox", "", 4) == "box.mbox"


def shard_of(format_: str, texts: list[str | None], source_uri: str) -> Shard:
    rows = [{"document_id": f"d{n}", "text": each, "source_uri": source_uri} for n, each in enumerate(texts)]
    return Shard(0, 0, source_uri, format_, table=pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), records=len(rows))


def run_config(holds: str) -> RunConfig:
    item = InputConfig(("in",), "ticket", "bundle", text_field_holds=holds)  # type: ignore[arg-type]
    return RunConfig("2026-01-31", "warehouse", (item,))


def test_records_may_hold_the_bytes_of_their_documents() -> None:
    texts = [base64.b64encode(b"zip").decode(), "no Base64!", None, base64.b64encode(b"letter").decode()]
    shard = extract_shard(shard_of("jsonl", texts, "file:///in/a.jsonl"), run_config("bytes"), opened)
    assert shard.table is not None
    assert shard.table["reason_code"].to_pylist() == [None, None, "wrong_type", "missing_text", None]
    assert shard.table["text"].to_pylist() == ["first", "second", None, None, "a letter"]
    assert (shard.records, shard.unpacked) == (4, 1)


def test_records_may_name_the_files_of_their_documents_but_none_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in/scans").mkdir(parents=True)
    (tmp_path / "in/scans/a b.eml").write_bytes(b"mail")
    (tmp_path / "secret").write_bytes(b"letter")
    outside = ["../secret", str(tmp_path / "secret"), (tmp_path / "secret").as_uri(), "scans\\..\\..\\secret", " "]
    source_uri = local_uri(str(tmp_path / "in/records.csv"))
    shard = shard_of("csv", ["scans/a b.eml", "scans/none.eml", *outside], source_uri)
    shard = extract_shard(shard, run_config("path"), opened)
    assert shard.table is not None
    assert shard.table["text"].to_pylist()[:2] == ["hello", "terms"]
    assert shard.table["reason_code"].to_pylist()[3:] == ["unreadable_file"] * 6
    assert shard.table["source_uri"][0].as_py() == local_uri(str(tmp_path / "in/scans/a b.eml"))


def test_a_text_that_the_input_gives_is_left_as_it_is() -> None:
    shard = extract_shard(shard_of("jsonl", ["hello"], "file:///in/a.jsonl"), run_config("text"), opened)
    assert shard.table is not None
    assert (shard.table["text"].to_pylist(), shard.table["text_source"].to_pylist()) == (["hello"], ["given"])


def test_a_file_is_read_in_the_version_that_was_planned(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(b"mail")
    uri = local_uri(str(path))
    file = SourceFile(uri, "a.eml", version=FileVersion.of(path.stat()))
    shard = Shard(0, 0, uri, "document", files=(file,), table=table_of("a.eml"), records=1)
    assert len(extract_shard(shard, run_config("text"), opened).table or ()) == 3
    path.write_bytes(b"mail!")
    with pytest.raises(Exception, match="had 4 bytes and has 5 since the run was planned"):
        extract_shard(shard, run_config("text"), opened)
