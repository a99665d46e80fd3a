from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.sampling.breaking import CSV_BREAKS, JSONL_BREAKS, PARQUET_BREAKS
from pipelines.sampling.export import SampleSummary, csv_row
from pipelines.sampling.slots import SLOTS
from pipelines.sampling.ticket_assistant import ASSISTANT_PHRASES
from pipelines.sampling.ticket_banking import BANKING_PHRASES
from pipelines.sampling.ticket_noise import NOISE_PHRASES
from pipelines.sampling.tickets import MIN_DOCUMENTS, write_ticket_sample
from pipelines.sampling.writing import fill
from schemas.codes import Reason
from schemas.errors import ConfigError, StorageError

COLUMNS = {"id", "text", "received_at", "channel", "customer_ref"}
BROKEN_REASONS = {item.reason.value for item in (*JSONL_BREAKS, *CSV_BREAKS, *PARQUET_BREAKS)} | {
    Reason.DUPLICATE_ID.value,
    Reason.TRUNCATED_FILE.value,
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_ticket_sample(tmp_path_factory.mktemp("sample") / "tickets")


@pytest.fixture(scope="module")
def truth(sample: SampleSummary) -> list[dict[str, str]]:
    return truth_of(sample)


@pytest.fixture(scope="module")
def reading(sample: SampleSummary) -> dict[tuple[str, str], tuple[str, Any]]:
    """(file, record number) → what a plain reader makes of it: "" or the reason to reject it, and the record."""
    found: dict[tuple[str, str], tuple[str, Any]] = {}
    ids: set[str] = set()
    for path in sample.files:
        for number, (reason, record) in enumerate(records_of(path), start=1):
            reason = reason or reason_against(record, ids)
            if not reason:
                ids.add(record["id"])
            found[path.name, str(number)] = reason, record
    return found


def truth_of(summary: SampleSummary) -> list[dict[str, str]]:
    with summary.truth.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def records_of(path: Path) -> list[tuple[str, Any]]:
    if path.suffix == ".parquet":
        return [("", row) for row in pq.read_table(path).to_pylist()]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        return [
            ("", dict(zip(header, row, strict=True))) if len(row) == len(header) else ("malformed_record", None)
            for row in rows
        ]
    content, complete = path.read_bytes(), True
    if path.suffix == ".gz":
        decompressor = zlib.decompressobj(wbits=31)
        content = decompressor.decompress(content)
        complete = decompressor.eof
    assert content.endswith(b"\n")
    lines = [read_line(line) for line in content.split(b"\n")[:-1]]
    return lines if complete else [*lines, ("truncated_file", None)]


def read_line(line: bytes) -> tuple[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "invalid_encoding", None
    except ValueError:
        return "malformed_record", None
    return ("", record) if isinstance(record, dict) else ("malformed_record", None)


def reason_against(record: dict[str, Any], ids: set[str]) -> str:
    identity, text = record.get("id"), record.get("text")
    if isinstance(identity, (dict, list)) or not isinstance(text, (str, type(None))):
        return "wrong_type"
    if not identity:
        return "missing_id"
    if re.search(r"[\x00-\x1f\x7f]", identity) or len(identity.encode()) > 512:
        return "invalid_id"
    if text is None:
        return "missing_text"
    if not text.strip():
        return "empty_text"
    if not re.sub(r"[\x00-\x1f\x7f\s]", "", text):
        return "control_characters_only"
    return "duplicate_id" if identity in ids else ""


def test_the_same_seed_and_size_give_the_same_bytes(tmp_path: Path) -> None:
    first, again = (write_ticket_sample(tmp_path / name, 400, seed=3) for name in ("first", "again"))
    other = write_ticket_sample(tmp_path / "other", 400, seed=4)
    for path in (*first.files, first.truth):
        assert path.read_bytes() == (again.truth.parent / path.name).read_bytes()
        assert path.read_bytes() != (other.truth.parent / path.name).read_bytes()


def test_texts_of_several_lines_stay_in_one_csv_record() -> None:
    row = ["BM-1", "no comma\nbut two lines", 'and a "quote"\r\n']
    assert list(csv.reader([csv_row(row).decode() + "\r\n"], strict=True)) == [row]


@pytest.mark.parametrize("n_documents", [MIN_DOCUMENTS, 101, 999])
def test_the_counts_add_up_at_any_size(tmp_path: Path, n_documents: int) -> None:
    summary = write_ticket_sample(tmp_path, n_documents)
    outcomes = Counter(row["outcome"] for row in truth_of(summary))
    assert summary.n_documents == n_documents == sum(outcomes.values())
    assert outcomes == {
        "in_scope": summary.n_in_scope,
        "out_of_scope": summary.n_out_of_scope,
        "broken": summary.n_broken,
    }
    assert {row["label"] for row in truth_of(summary) if row["outcome"] == "broken"} == BROKEN_REASONS


def test_the_shares_are_those_of_a_believable_inbox(sample: SampleSummary, truth: list[dict[str, str]]) -> None:
    assert sample.n_documents == 3000
    assert 0.06 <= sample.n_out_of_scope / 3000 <= 0.10
    assert 0.02 <= sample.n_broken / 3000 <= 0.03
    assert len({row["label"] for row in truth if row["outcome"] == "in_scope"}) >= 60


def test_the_truth_agrees_with_what_a_plain_reader_finds(
    truth: list[dict[str, str]], reading: dict[tuple[str, str], tuple[str, Any]]
) -> None:
    assert [(row["file"], row["record"]) for row in truth] == list(reading)
    for row in truth:
        reason, record = reading[row["file"], row["record"]]
        assert reason == (row["label"] if row["outcome"] == "broken" else "")
        if row["document_id"]:
            assert record["id"] == row["document_id"]
        if not reason:
            assert record.keys() >= COLUMNS
            assert row["document_id"]


def test_every_kind_of_damage_is_there(truth: list[dict[str, str]]) -> None:
    assert {row["label"] for row in truth if row["outcome"] == "broken"} == BROKEN_REASONS


def test_ids_repeat_within_a_file_and_across_files(truth: list[dict[str, str]]) -> None:
    first_file = {row["document_id"]: row["file"] for row in truth if row["outcome"] != "broken"}
    repeats = [(first_file[row["document_id"]], row["file"]) for row in truth if row["label"] == "duplicate_id"]
    assert any(first == second for first, second in repeats)
    assert any(first < second for first, second in repeats)


def test_one_gzip_file_ends_early(sample: SampleSummary) -> None:
    cut = next(path for path in sample.files if path.name.startswith("helpdesk-2026-11-22"))
    with pytest.raises(EOFError), gzip.open(cut) as file:
        file.read()


def test_good_texts_are_distinct(reading: dict[tuple[str, str], tuple[str, Any]]) -> None:
    texts = [record["text"] for reason, record in reading.values() if not reason]
    assert len(set(texts)) >= 0.95 * len(texts)


def test_good_records_arrive_in_order(reading: dict[tuple[str, str], tuple[str, Any]]) -> None:
    for name in {file for file, _ in reading}:
        times = [
            record["received_at"] for (file, _), (reason, record) in reading.items() if file == name and not reason
        ]
        assert times == sorted(times)


def test_another_sample_replaces_an_earlier_one(tmp_path: Path) -> None:
    write_ticket_sample(tmp_path / "again", 150, seed=1)
    replaced = write_ticket_sample(tmp_path / "again", 120, seed=2)
    fresh = write_ticket_sample(tmp_path / "fresh", 120, seed=2)
    assert [path.read_bytes() for path in replaced.files] == [path.read_bytes() for path in fresh.files]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
        write_ticket_sample(tmp_path, 120)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_a_link_named_like_a_sample_file_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target.csv"
    target.write_text("mine")
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "branch-mail.csv").symlink_to(target)
    with pytest.raises(ConfigError, match="branch-mail"):
        write_ticket_sample(folder, 120)
    assert target.read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="taken: File exists; a file lies where a folder is expected"):
        write_ticket_sample(tmp_path / "taken", 120)


def test_a_sample_too_small_for_every_kind_of_damage_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(MIN_DOCUMENTS)):
        write_ticket_sample(tmp_path, MIN_DOCUMENTS - 1)


def test_every_phrase_can_be_filled_and_every_slot_is_used() -> None:
    phrases = [phrase for kind in (BANKING_PHRASES, ASSISTANT_PHRASES) for group in kind.values() for phrase in group]
    phrases += NOISE_PHRASES
    for phrase in phrases:
        assert not re.search(r"[{}|]", fill(phrase, Random(1)))
    used = {slot for phrase in phrases for slot in re.findall(r"\{(\w+)\}", phrase)}
    assert used == set(SLOTS)


def test_addresses_and_numbers_belong_to_nobody(reading: dict[tuple[str, str], tuple[str, Any]]) -> None:
    text = "\n".join(str(record) for _, record in reading.values()).lower()
    assert set(re.findall(r"@([a-z][\w.-]*\w)", text)) == {"example.com", "example.org"}
    assert all(number.startswith("01") for number in re.findall(r"\+1-202-555-(\d{4})", text))
    assert all(number.startswith("0") for number in re.findall(r"020 7946 (\d{4})", text))
