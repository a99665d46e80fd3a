"""The samples of every kind of document, the configuration that goes with them, and what made-up texts look like."""

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

from pipelines.sampling.contracts import (
    LONG_CONTRACT_FROM,
    LONG_CONTRACT_WORDS,
    Layout,
    contract_slots,
    draw_parties,
    write_contract_sample,
)
from pipelines.sampling.export import SampleSummary, csv_row
from pipelines.sampling.receipts import photographed, write_receipt_sample
from pipelines.sampling.records import (
    CSV_BREAKS,
    JSONL_BREAKS,
    PARQUET_BREAKS,
    TEXT_FILE_BREAKS,
    TRANSACTION_BREAKS,
    Break,
)
from pipelines.sampling.samples import RUN_FILE, WRITERS, write_samples
from pipelines.sampling.tickets import MIN_DOCUMENTS, write_ticket_sample
from pipelines.sampling.transactions import SEMICOLON_FILES, TRANSACTION_COLUMNS, write_transaction_sample
from pipelines.sampling.writing import SLOTS, fill, load_phrases
from schemas.codes import Reason
from schemas.errors import ConfigError, StorageError
from schemas.run_config import load_config
from tests.support.small_runs import docyard

SMALL = {"ticket": 150, "receipt": 150, "contract": 20, "transaction": 150}
FAR_FROM_WHAT_IS_SAID = 1.5  # times the words asked for
TICKET_COLUMNS = {"id", "text", "received_at", "channel", "customer_ref"}
TICKETS, CONTRACTS, RECEIPTS, TRANSACTIONS = map(load_phrases, ("tickets", "contracts", "receipts", "transactions"))

every_kind = pytest.mark.parametrize("kind", list(WRITERS))


def write(kind: str, folder: Path, n_documents: int = 0, seed: int = 7) -> SampleSummary:
    return WRITERS[kind](folder, n_documents or SMALL[kind], seed)


def truth_of(summary: SampleSummary) -> list[dict[str, str]]:
    with summary.truth.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def in_scope(summary: SampleSummary) -> list[dict[str, str]]:
    return [row for row in truth_of(summary) if row["outcome"] == "in_scope"]


def texts(summary: SampleSummary) -> list[str]:
    return [(summary.truth.parent / row["file"]).read_text(encoding="utf-8") for row in in_scope(summary)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Every kind


@every_kind
def test_the_same_seed_gives_the_same_bytes_whatever_lay_there_and_another_seed_others(
    kind: str, tmp_path: Path
) -> None:
    write(kind, tmp_path / "first", seed=3)
    write(kind, tmp_path / "again", 2 * SMALL[kind], seed=4)
    write(kind, tmp_path / "again", seed=3)
    write(kind, tmp_path / "other", seed=4)
    assert contents(tmp_path / "first") == contents(tmp_path / "again")
    assert contents(tmp_path / "first") != contents(tmp_path / "other")


@every_kind
def test_the_summary_counts_what_the_truth_lists(kind: str, tmp_path: Path) -> None:
    summary = write(kind, tmp_path)
    outcomes = Counter(row["outcome"] for row in truth_of(summary))
    assert summary.n_documents == SMALL[kind] == sum(outcomes.values())
    assert outcomes == {
        "in_scope": summary.n_in_scope,
        "out_of_scope": summary.n_out_of_scope,
        "broken": summary.n_broken,
    }
    assert {path.name for path in summary.files} == {row["file"] for row in truth_of(summary)}
    assert min(outcomes.values()) >= 1


@every_kind
def test_a_file_that_no_sample_wrote_is_left_alone(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path)
    before = contents(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=re.escape("thesis.txt")):
        write(kind, tmp_path, seed=8)
    assert contents(tmp_path) == {**before, "thesis.txt": b"mine"}


def test_a_truth_of_somebody_else_makes_no_file_removable(tmp_path: Path) -> None:
    (tmp_path / "_truth.csv").write_text("file,what\nmine.txt,kept\n")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=re.escape("mine.txt")):
        write("receipt", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_link_named_like_a_sample_file_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target.csv"
    target.write_text("mine")
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "branch-mail.csv").symlink_to(target)
    with pytest.raises(ConfigError, match="branch-mail"):
        write("ticket", folder)
    assert target.read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="taken: File exists; a file lies where a folder is expected"):
        write("ticket", tmp_path / "taken")


@every_kind
def test_a_sample_that_is_too_small_is_an_error(kind: str, tmp_path: Path) -> None:
    minimum = 10 if kind == "contract" else MIN_DOCUMENTS
    with pytest.raises(ConfigError, match=f"expected at least {minimum}, found {minimum - 1}"):
        write(kind, tmp_path, minimum - 1)


@pytest.mark.parametrize(
    ("kind", "ways"),
    [("receipt", TEXT_FILE_BREAKS), ("transaction", TRANSACTION_BREAKS)],
    ids=["receipt", "transaction"],
)
def test_a_sample_of_some_size_is_broken_in_every_way(kind: str, ways: tuple[Break, ...], tmp_path: Path) -> None:
    broken = {row["label"] for row in truth_of(write(kind, tmp_path, 400)) if row["outcome"] == "broken"}
    assert broken >= {way.reason.value for way in ways}


# The configuration and the command


def test_the_configuration_reads_each_kind_with_its_own_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_samples(Path("made up"), WRITERS, 100, 7)
    config = load_config(Path("made up", RUN_FILE), {"warehouse": "elsewhere"})
    types = [item.document_type for item in config.inputs]
    assert types == ["ticket", "receipt", "contract", "transaction", "transaction"]
    for item in config.inputs:
        assert all(Path(path).exists() and not Path(path).is_absolute() for path in item.paths)
        assert Path(item.bundle).name == f"{item.document_type}s"
    assert [item.csv_delimiter for item in config.inputs] == [",", ",", ",", ",", ";"]


def test_the_bundles_are_named_from_the_working_folder_where_they_lie_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    write_samples(tmp_path, ["ticket"], 100, 7)
    (item,) = load_config(tmp_path / RUN_FILE, {}).inputs
    assert item.bundle == "models/bundles/tickets"


def test_a_configuration_that_no_sample_wrote_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text("# mine\n")
    with pytest.raises(ConfigError, match=RUN_FILE):
        write_samples(tmp_path, ["ticket"], 100, 7)
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_the_command_writes_the_kinds_asked_for_and_says_how_many(tmp_path: Path) -> None:
    options = ("--documents", "200", "--kind", "contract", "--kind", "receipt")
    result = docyard("sample", tmp_path / "some", *options)
    assert result.exit_code == 0, result.output
    assert "200 receipts" in result.stdout
    assert "20 contracts" in result.stdout
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["contracts", "receipts", RUN_FILE]
    assert str(tmp_path / "some" / RUN_FILE) in result.stdout
    assert docyard("sample", tmp_path / "all", "--documents", "100").exit_code == 0
    assert len(list((tmp_path / "all").iterdir())) == len(WRITERS) + 1


# Tickets, as a plain reader finds them


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_ticket_sample(tmp_path_factory.mktemp("sample") / "tickets")


@pytest.fixture(scope="module")
def truth(tickets: SampleSummary) -> list[dict[str, str]]:
    return truth_of(tickets)


@pytest.fixture(scope="module")
def reading(tickets: SampleSummary) -> dict[tuple[str, str], tuple[str, Any]]:
    """(file, record number) → what a plain reader makes of it: "" or the reason to reject it, and the record."""
    found: dict[tuple[str, str], tuple[str, Any]] = {}
    ids: set[str] = set()
    for path in tickets.files:
        for number, (reason, record) in enumerate(records_of(path), start=1):
            reason = reason or reason_against(record, ids)
            if not reason:
                ids.add(record["id"])
            found[path.name, str(number)] = reason, record
    return found


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


def test_texts_of_several_lines_stay_in_one_csv_record() -> None:
    row = ["BM-1", "no comma\nbut two lines", 'and a "quote"\r\n']
    assert list(csv.reader([csv_row(row).decode() + "\r\n"], strict=True)) == [row]


@pytest.mark.parametrize("n_documents", [MIN_DOCUMENTS, 101, 999])
def test_tickets_are_broken_in_every_way_at_any_size(tmp_path: Path, n_documents: int) -> None:
    summary = write_ticket_sample(tmp_path, n_documents)
    assert summary.n_documents == n_documents == len(truth_of(summary))
    assert {row["label"] for row in truth_of(summary) if row["outcome"] == "broken"} == {
        Reason.DUPLICATE_ID.value,
        Reason.TRUNCATED_FILE.value,
        *(item.reason.value for item in (*JSONL_BREAKS, *CSV_BREAKS, *PARQUET_BREAKS)),
    }


def test_the_shares_are_those_of_a_believable_inbox(tickets: SampleSummary, truth: list[dict[str, str]]) -> None:
    assert tickets.n_documents == 3000
    assert 0.06 <= tickets.n_out_of_scope / 3000 <= 0.10
    assert 0.02 <= tickets.n_broken / 3000 <= 0.03
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
            assert record.keys() >= TICKET_COLUMNS
            assert row["document_id"]


def test_ids_repeat_within_a_file_and_across_files(truth: list[dict[str, str]]) -> None:
    first_file = {row["document_id"]: row["file"] for row in truth if row["outcome"] != "broken"}
    repeats = [(first_file[row["document_id"]], row["file"]) for row in truth if row["label"] == "duplicate_id"]
    assert any(first == second for first, second in repeats)
    assert any(first < second for first, second in repeats)


def test_one_gzip_file_ends_early(tickets: SampleSummary) -> None:
    cut = next(path for path in tickets.files if path.name.startswith("helpdesk-2026-11-22"))
    with pytest.raises(EOFError), gzip.open(cut) as file:
        file.read()


def test_good_tickets_are_distinct_and_arrive_in_order(reading: dict[tuple[str, str], tuple[str, Any]]) -> None:
    good = [(file, record) for (file, _), (reason, record) in reading.items() if not reason]
    assert len({record["text"] for _, record in good}) >= 0.95 * len(good)
    for name in {file for file, _ in good}:
        times = [record["received_at"] for file, record in good if file == name]
        assert times == sorted(times)


def test_addresses_and_numbers_belong_to_nobody(reading: dict[tuple[str, str], tuple[str, Any]]) -> None:
    text = "\n".join(str(record) for _, record in reading.values()).lower()
    assert set(re.findall(r"@([a-z][\w.-]*\w)", text)) == {"example.com", "example.org"}
    assert all(number.startswith("01") for number in re.findall(r"\+1-202-555-(\d{4})", text))
    assert all(number.startswith("0") for number in re.findall(r"020 7946 (\d{4})", text))
    merchants = [name.lower() for account in TRANSACTIONS["ledger"].values() for name in account["merchants"]]
    addresses = [merchant for merchant in merchants if re.search(r"\w\.\w", merchant)]
    assert addresses
    assert all(re.search(r"\w\.example\b", address) for address in addresses)


# Phrases


def test_every_phrase_of_a_ticket_can_be_filled_and_every_slot_is_used() -> None:
    phrases = [phrase for kind in ("banking", "assistant") for group in TICKETS[kind].values() for phrase in group]
    phrases += TICKETS["noise"]
    for phrase in phrases:
        assert not re.search(r"[{}|]", fill(phrase, Random(1)))
    used = {slot.removeprefix("other_") for phrase in phrases for slot in re.findall(r"\{(\w+)\}", phrase)}
    assert used == set(SLOTS)


def test_every_clause_can_be_filled_for_every_subject() -> None:
    groups = [*CONTRACTS["clauses"].values(), *CONTRACTS["boilerplate"].values()]
    groups += [CONTRACTS["definitions"], CONTRACTS["schedule_items"]]
    for subject in CONTRACTS["subjects"]:
        slots = contract_slots(subject, draw_parties(subject, Random(2)), Random(2))
        for phrase in (phrase for group in groups for phrase in group):
            assert not re.search(r"[{}|]", fill(phrase, Random(1), slots))


def test_every_shop_has_something_to_sell() -> None:
    for language, by_category in RECEIPTS["items"].items():
        assert set(by_category) == set(RECEIPTS["merchants"][language]) <= set(RECEIPTS["category_weights"])
        assert all(price > 0 for items in by_category.values() for _, price in items)


# Contracts, receipts and transactions


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_contract_sample(tmp_path_factory.mktemp("contracts"), LONG_CONTRACT_FROM)


def test_contracts_are_of_three_pages_to_forty_and_one_is_far_longer(contracts: SampleSummary) -> None:
    n_words = sorted(len(text.split()) for text in texts(contracts))
    assert n_words[0] > 1000
    assert n_words[-2] < 42 * 450 * FAR_FROM_WHAT_IS_SAID
    assert LONG_CONTRACT_WORDS <= n_words[-1] < LONG_CONTRACT_WORDS * FAR_FROM_WHAT_IS_SAID
    assert len({text.split("\n", 1)[0] for text in texts(contracts)}) >= len(CONTRACTS["subjects"]) / 2


def test_a_small_sample_has_no_endless_contract(tmp_path: Path) -> None:
    summary = write_contract_sample(tmp_path, LONG_CONTRACT_FROM - 1)
    assert max(len(text.split()) for text in texts(summary)) < LONG_CONTRACT_WORDS


def test_the_truth_of_a_contract_names_the_clause_kinds_in_it(contracts: SampleSummary) -> None:
    labels = [set(row["label"].split("; ")) for row in in_scope(contracts)]
    assert set().union(*labels) == set(CONTRACTS["clauses"])
    for kinds, text in zip(labels, texts(contracts), strict=True):
        words = " ".join(text.split())
        assert ("laws of" in words) >= ("Governing Law" in kinds)
        assert ("escrow" in words) == ("Source Code Escrow" in kinds)
        assert ("disparages" in words or "disrepute" in words) == ("Non-Disparagement" in kinds)


def test_a_layout_wraps_lines_and_numbers_pages_without_losing_a_word() -> None:
    paragraphs = [f"clause {number} " + "word " * 60 + "end" for number in range(40)]
    layout = Layout("decimal", 72, "Page {page} of {pages}", has_header=True, page_break="\f")
    text = layout.pages("Some Agreement", paragraphs)
    body = [part for part in text.strip().split("\n\n") if not re.match(r"Page \d+ of \d+$|\f?Some Agreement$", part)]
    assert [" ".join(part.split()) for part in body] == paragraphs
    assert max(map(len, text.split("\n"))) <= 72
    n_pages = text.count("\f") + 1
    assert n_pages > 3
    assert re.findall(r"Page (\d+) of (\d+)", text) == [(str(page), str(n_pages)) for page in range(1, n_pages + 1)]


def test_receipts_differ_and_cover_every_category(tmp_path: Path) -> None:
    summary = write_receipt_sample(tmp_path, 600)
    found = texts(summary)
    assert {row["label"] for row in in_scope(summary)} == set(RECEIPTS["category_weights"])
    assert len(set(found)) == summary.n_in_scope
    assert {"RM", "EUR", "Rp", "$", "£"} <= {mark for text in found for mark in re.findall(r"RM|EUR|Rp|\$|£", text)}


def test_a_photograph_misreads_a_little_and_keeps_most() -> None:
    line = "10 BISCUITS 5.80 SUBTOTAL 15.60 "
    seen = {photographed([[line] * 10, [], ["", line]], Random(seed)) for seed in range(40)}
    assert len(seen) > 10
    for text in seen:
        assert sum(word in text for word in line.split()) >= 4


def test_transactions_have_refunds_and_every_file_its_own_form(tmp_path: Path) -> None:
    summary = write_transaction_sample(tmp_path, 2000)
    header = ",".join(TRANSACTION_COLUMNS).encode()
    starts = {path.name: path.read_bytes()[:80] for path in summary.files}
    starts["cards-2026-11.csv.gz"] = gzip.decompress((tmp_path / "cards-2026-11.csv.gz").read_bytes())[:80]
    assert starts["cards-2026-09.csv"].startswith(header)
    assert starts["cards-2026-10.csv"].startswith(b"\xef\xbb\xbf" + header)
    assert starts["cards-2026-11.csv.gz"].startswith(header)
    assert starts[SEMICOLON_FILES[0]].startswith(header.replace(b",", b";"))
    with (tmp_path / SEMICOLON_FILES[0]).open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file, delimiter=";")}
    good = [rows[row["document_id"]] for row in in_scope(summary) if row["file"] == SEMICOLON_FILES[0]]
    assert any(float(row["amount"]) < 0 for row in good)
    assert len({row["merchant"] for row in good}) > 40
    assert {row["label"] for row in in_scope(summary)} <= set(TRANSACTIONS["ledger"])
    assert all(len(row["merchant"]) <= 25 for row in good)
