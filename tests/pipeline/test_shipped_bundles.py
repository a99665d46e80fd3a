"""The bundles that come along: they load, answer as recorded, stay small, and read a contract to its last word."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from tokenizers import Tokenizer

from models.bundle import load_bundle
from models.classifier import Classifier
from models.tokens import TextTokenizer
from pipelines.classify import classify
from schemas.run_config import load_config

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parent for path in (ROOT / "models/bundles").glob("*/model.onnx"))
DATA = Path(os.environ.get("DOCYARD_DATA", ROOT.parent / "shared/data"))

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the labelled data is not here; set DOCYARD_DATA")


def test_there_is_a_bundle_for_each_kind_and_together_they_stay_below_80_mb() -> None:
    kinds = {"ticket", "receipt", "contract", "transaction", "card_payment"}
    assert {load_bundle(folder).document_type for folder in BUNDLES} == kinds
    assert sum(path.stat().st_size for path in (ROOT / "models/bundles").glob("*/*")) < 80e6


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_bundle_that_comes_along_answers_as_recorded(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert len(bundle.fingerprint) >= 6
    Classifier(bundle).close()  # raises where the fingerprint does not hold


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_card_names_data_licence_limits_and_every_label(folder: Path) -> None:
    card = (folder / "card.md").read_text(encoding="utf-8")
    for part in ("Training data", "Licence of the weights", "## Limits", "## Intended use", "Int8 against its float"):
        assert part in card, part
    for label in load_bundle(folder).labels:
        assert label.replace("|", "\\|") in card, label


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_word_of_any_length_is_read_in_known_pieces(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pieces = tokenizer.encode("abc" * 200).tokens[1:-1]
    assert "".join(pieces).replace("##", "") == "abc" * 200


@needs_data
def test_the_longest_contract_is_read_to_its_last_word_in_paragraphs_and_in_windows(tmp_path: Path) -> None:
    parts = [pd.read_parquet(DATA / f"contracts/cuad_contract_type/{name}.parquet") for name in ("train", "validation")]
    contracts = pd.concat(parts, ignore_index=True)
    contract = contracts.loc[contracts["text"].str.split().str.len().idxmax()]
    text = contract["text"]
    assert len(text.split()) > 40_000
    contracts[contracts["id"] == contract["id"]][["id", "text"]].to_parquet(tmp_path / "contract.parquet")
    rows = {}
    for split in ("paragraphs", "none"):
        given = {
            "paths": [str(tmp_path / "contract.parquet")], "document_type": "contract", "split": split,
            "bundle": str(ROOT / "models/bundles/contracts"),
        }  # fmt: skip
        warehouse = tmp_path / split
        settings = {"run_date": "2026-11-22", "warehouse": str(warehouse), "inputs": [given]}
        manifest = classify(load_config(None, settings), [])
        assert manifest.counts["rejected"] == 0
        rows[split] = pd.read_parquet(warehouse / "classifications").sort_values("document_id")

    paragraphs = rows["paragraphs"]
    unread, at = [], 0
    for start, end in zip(paragraphs["parent_start"], paragraphs["parent_end"], strict=True):
        unread.append(text[at:start])
        at = end
    assert not "".join([*unread, text[at:]]).strip(), "what lies between the paragraphs is white space"
    assert not paragraphs["truncated"].any()

    whole = rows["none"].iloc[0]
    bundle = load_bundle(ROOT / "models/bundles/contracts")
    overlap = bundle.manifest.reading.window_overlap
    tokenizer = TextTokenizer(bundle.read("tokenizer.json"), bundle.max_tokens, overlap, "tokenizer.json")
    read = tokenizer.tokenize([text])
    assert overlap is not None
    inner = [window[1:-1].tolist() for window in read.windows]
    joined = inner[0] + [token for window in inner[1:] for token in window[overlap:]]
    uncut = TextTokenizer(bundle.read("tokenizer.json"), 10**6, None, "tokenizer.json").tokenize([text]).windows[0]
    assert joined == uncut[1:-1].tolist()
    assert (whole["n_windows"], whole["n_tokens"]) == (len(inner), len(joined) + 2)
    assert not whole["truncated"]
