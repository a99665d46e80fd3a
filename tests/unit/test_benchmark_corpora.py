"""The texts that certificates and guards are measured with."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.corpora import OWN_SETS, foreign_texts, gibberish, read_corpus, spread, strangers
from schemas.errors import ConfigError


def write_sets(data: Path) -> None:
    """Every set, with two rows; clinc150 has a third, of no label."""
    names = [name for sets in OWN_SETS.values() for name in sets]
    for name in (*names, "ood/nlupp_hotels", "receipts/sroie_lines", "receipts/sroie_docs"):
        rows = [[f"{name} text {number}", "a"] for number in (1, 2)]
        rows += [["nobody's question", "oos"]] if name == "tickets/clinc150" else []
        table = pd.DataFrame(rows, columns=["text", "label"])
        table["id"] = [f"id{number}" for number in range(len(table))]
        table["labels"] = [json.dumps(["a", "b"]), *["[]"] * (len(table) - 1)]
        table["contract_id"] = table["merchant_group"] = "one"
        (data / name).mkdir(parents=True)
        table.to_parquet(data / name / "validation.parquet")
    (data / "contracts/cuad_contract_type").mkdir()
    pd.read_parquet(data / "receipts/sroie_docs/validation.parquet").to_parquet(
        data / "contracts/cuad_contract_type/validation.parquet"
    )


def test_a_row_may_have_several_right_labels_and_a_stranger_has_none(tmp_path: Path) -> None:
    write_sets(tmp_path)
    clauses = read_corpus(tmp_path, "contracts/cuad_clauses")
    assert clauses.right_labels == (("a", "b"), ("a",))
    assert clauses.clusters == ("one", "one")
    clinc150 = read_corpus(tmp_path, "tickets/clinc150")
    assert clinc150.right_labels == (("a",), ("a",), ())
    assert clinc150.clusters is None
    with pytest.raises(ConfigError, match="no such file; name the folder of the labelled data"):
        read_corpus(tmp_path / "elsewhere", "tickets/clinc150")


def test_no_document_of_a_bundles_own_sort_is_a_stranger_to_it(tmp_path: Path) -> None:
    write_sets(tmp_path)
    for bundle, sort in {"receipts": "receipts/sroie_docs", "contracts": "contracts/cuad_contract_type"}.items():
        found = strangers(tmp_path, bundle)
        assert not found.keys() & {*OWN_SETS[bundle], sort}
        assert found["tickets/clinc150"] == ("tickets/clinc150 text 1", "tickets/clinc150 text 2")
        assert found["clinc150, out of scope"] == ("nobody's question",)


def test_gibberish_is_always_the_same_and_keeps_the_length() -> None:
    texts = ["please refund my card", "the parcel did not arrive"]
    made = gibberish(texts)
    assert made == gibberish(texts)
    for kind, found in made.items():
        assert [len(text.split()) for text in found] == [4, 5]
        assert not set(found) & set(texts), kind
    assert sorted(made["letters shuffled within words"][0]) == sorted(texts[0])


def test_foreign_texts_are_all_different_and_of_every_language() -> None:
    texts = foreign_texts(616)
    assert len(set(texts)) == 616
    assert sum("我的新卡" in text for text in texts) == sum("Meine neue Karte" in text for text in texts) == 14


def test_texts_are_evenly_spread() -> None:
    assert spread(list("abcde"), 3) == ("a", "c", "e")
    assert spread(list("ab"), 3) == ("a", "b")
