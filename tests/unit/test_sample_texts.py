"""The look of the made-up receipts, contracts and transactions."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from random import Random

import pytest

from pipelines.sampling.contract_boilerplate import BOILERPLATE, DEFINITIONS, SCHEDULE_ITEMS
from pipelines.sampling.contract_clauses import CONTRACT_CLAUSES
from pipelines.sampling.contract_layout import Layout
from pipelines.sampling.contract_terms import SUBJECTS, contract_slots, parties
from pipelines.sampling.contracts import LONG_CONTRACT_FROM, LONG_CONTRACT_WORDS, write_contract_sample
from pipelines.sampling.export import SampleSummary
from pipelines.sampling.ocr import photographed
from pipelines.sampling.receipt_items import CATEGORY_WEIGHTS, ITEMS, MERCHANTS
from pipelines.sampling.receipts import write_receipt_sample
from pipelines.sampling.transaction_ledger import LEDGER
from pipelines.sampling.transactions import SEMICOLON_FILES, TRANSACTION_COLUMNS, write_transaction_sample
from pipelines.sampling.writing import fill

FAR_FROM_WHAT_IS_SAID = 1.5  # times the words asked for


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_contract_sample(tmp_path_factory.mktemp("contracts"), LONG_CONTRACT_FROM)


def in_scope(summary: SampleSummary) -> list[dict[str, str]]:
    with summary.truth.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["outcome"] == "in_scope"]


def texts(summary: SampleSummary) -> list[str]:
    return [(summary.truth.parent / row["file"]).read_text(encoding="utf-8") for row in in_scope(summary)]


def test_every_clause_can_be_filled_for_every_subject() -> None:
    phrases = [phrase for group in (*CONTRACT_CLAUSES.values(), *BOILERPLATE.values()) for phrase in group]
    for subject in SUBJECTS:
        slots = contract_slots(subject, *parties(subject, Random(2)), Random(2))
        for phrase in (*phrases, *DEFINITIONS, *SCHEDULE_ITEMS):
            assert not re.search(r"[{}|]", fill(phrase, Random(1), slots))


def test_contracts_are_of_three_pages_to_forty_and_one_is_far_longer(contracts: SampleSummary) -> None:
    n_words = sorted(len(text.split()) for text in texts(contracts))
    assert n_words[0] > 1000
    assert n_words[-2] < 42 * 450 * FAR_FROM_WHAT_IS_SAID
    assert LONG_CONTRACT_WORDS <= n_words[-1] < LONG_CONTRACT_WORDS * FAR_FROM_WHAT_IS_SAID
    assert len({text.split("\n", 1)[0] for text in texts(contracts)}) >= len(SUBJECTS) / 2


def test_a_small_sample_has_no_endless_contract(tmp_path: Path) -> None:
    summary = write_contract_sample(tmp_path, LONG_CONTRACT_FROM - 1)
    assert max(len(text.split()) for text in texts(summary)) < LONG_CONTRACT_WORDS


def test_the_truth_of_a_contract_names_the_clause_kinds_in_it(contracts: SampleSummary) -> None:
    labels = [set(row["label"].split("; ")) for row in in_scope(contracts)]
    assert set().union(*labels) == set(CONTRACT_CLAUSES)
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
    assert {row["label"] for row in in_scope(summary)} == set(CATEGORY_WEIGHTS)
    assert len(set(texts(summary))) == summary.n_in_scope
    assert {"RM", "EUR", "Rp", "$", "£"} <= {
        mark for text in texts(summary) for mark in re.findall(r"RM|EUR|Rp|\$|£", text)
    }


def test_every_shop_has_something_to_sell() -> None:
    for language, by_category in ITEMS.items():
        assert set(by_category) == set(MERCHANTS[language]) <= set(CATEGORY_WEIGHTS)
        assert all(price > 0 for items in by_category.values() for _, price in items)


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
    assert {row["label"] for row in in_scope(summary)} <= set(LEDGER)
    assert all(len(row["merchant"]) <= 25 for row in good)


def test_web_addresses_belong_to_nobody() -> None:
    merchants = [merchant.lower() for account in LEDGER.values() for merchant in account.merchants]
    addresses = [merchant for merchant in merchants if re.search(r"\w\.\w", merchant)]
    assert addresses
    assert all(re.search(r"\w\.example\b", address) for address in addresses)
