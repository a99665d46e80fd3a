from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.bundle import ModelBundle, load_bundle
from models.bundle_manifest import ReadingRules
from schemas.errors import BundleError
from tests.support.made_up_certificate import write_certified_manifest

MAX_TOKENS = 32


def written(folder: Path, reading: ReadingRules) -> ModelBundle:
    facts = {"name": "tiny", "created": "2026-11-22", "document_type": "ticket", "max_tokens": MAX_TOKENS}
    return write_certified_manifest(folder, **facts, reading=reading)


@pytest.mark.parametrize(
    "reading",
    [
        ReadingRules(),
        ReadingRules("{merchant} | {amount:.2f}", "paragraphs", 15),
        ReadingRules(window_overlap=0),
        ReadingRules(split="paragraphs"),
    ],
)
def test_a_bundle_says_how_its_documents_are_read(tiny_bundle: Path, reading: ReadingRules) -> None:
    assert written(tiny_bundle, reading).reading == load_bundle(tiny_bundle).reading == reading


def test_a_bundle_that_says_nothing_reads_the_text_as_it_is_and_is_written_as_ever(tiny_bundle: Path) -> None:
    assert "reading" not in json.loads((tiny_bundle / "bundle.json").read_bytes())
    assert load_bundle(tiny_bundle).reading == ReadingRules("", "none", None)
    written(tiny_bundle, ReadingRules())
    assert "reading" not in json.loads((tiny_bundle / "bundle.json").read_bytes())


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ({"split": "sentences"}, "reading.split: expected 'none' or 'paragraphs', found 'sentences'"),
        ({"split": None}, "reading.split: expected 'none' or 'paragraphs', found None"),
        ({"window_overlap": -1}, "reading.window_overlap: expected 0 to 15, half of what a window of 32 tokens holds"),
        ({"window_overlap": 16}, "found 16"),
        ({"window_overlap": 1.5}, "reading.window_overlap: expected int, found float"),
        ({"window_overlap": True}, "reading.window_overlap: expected int, found bool"),
        ({"template": 1}, "reading.template: expected str, found int"),
        ({"template": "{open"}, "reading.template: the brace at character 0"),
        ({"stride": 4}, "unknown key 'reading.stride'; known keys here: template, split, window_overlap"),
        ("paragraphs", "reading: expected an object, found str"),
        (None, "reading: expected an object, found null"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(tiny_bundle: Path, reading: Any, expected: str) -> None:
    path = tiny_bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"reading": reading}))
    with pytest.raises(BundleError) as caught:
        load_bundle(tiny_bundle)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)


def test_an_overlap_of_more_than_half_a_window_is_not_even_written(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="0 to 15"):
        written(tiny_bundle, ReadingRules(window_overlap=16))
