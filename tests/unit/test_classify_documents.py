"""The step that answers a table of documents: equal texts once, every row its own answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.scores import Scores
from schemas.shards import DOCUMENT_SCHEMA
from schemas.tables import CUTS_TYPE
from tests.support.made_up_certificate import write_certified_manifest
from transforms.classify_documents import classify_documents, route_documents

BILLING, DELIVERY = "please refund my card", "the parcel did not arrive"
ANSWER = ["label_id", "label", "confidence", "familiarity", "top_labels", "n_tokens", "truncated", "n_windows", "tier"]


class CountingClassifier(Classifier):
    """Remembers the texts it was given."""

    seen: list[str]

    def classify(self, texts: Sequence[str], encoder_only: bool = False) -> Scores:
        self.seen = list(texts)
        return super().classify(texts, encoder_only)


@pytest.fixture
def classifier(tiny_bundle: Path) -> Iterator[CountingClassifier]:
    opened = CountingClassifier(load_bundle(tiny_bundle), threads=1)
    yield opened
    opened.close()


def documents(texts: Sequence[str | None]) -> pa.Table:
    """Documents; one without a text was rejected before."""
    rows = [
        {"document_id": f"d{n}", "text": text, "source_uri": "made-up", "reason_code": None if text else "text_missing"}
        for n, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, DOCUMENT_SCHEMA)


def test_equal_texts_are_answered_once_and_every_row_has_its_answer(classifier: CountingClassifier) -> None:
    texts = [BILLING, None, DELIVERY, BILLING, None, DELIVERY, BILLING]
    table = classify_documents(documents(texts), classifier)
    assert sorted(classifier.seen) == sorted({BILLING, DELIVERY})
    assert table["label"].to_pylist() == ["billing", None, "delivery", "billing", None, "delivery", "billing"]
    alone = {text: classify_documents(documents([text]), classifier).select(ANSWER) for text in (BILLING, DELIVERY)}
    for row, text in enumerate(texts):
        assert table["document_id"][row].as_py() == f"d{row}"
        if text:
            assert table.select(ANSWER).slice(row, 1).to_pylist() == alone[text].to_pylist()


def test_a_text_the_model_fails_on_is_rejected_wherever_it_stands(
    tiny_bundle: Path, model_that_fails_on_poison: bytes
) -> None:
    (tiny_bundle / "model.onnx").write_bytes(model_that_fails_on_poison)
    bundle = write_certified_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32
    )
    classifier = Classifier(bundle, threads=1)
    table = classify_documents(documents(["poison", BILLING, None, "poison"]), classifier)
    classifier.close()
    reasons = table["reason_code"].to_pylist()
    assert reasons == ["classification_failed", None, "text_missing", "classification_failed"]
    assert table["text"].to_pylist() == [None, BILLING, None, None]
    assert table["label"].to_pylist() == [None, "billing", None, None]


def test_a_table_without_a_valid_row_needs_no_answer(classifier: CountingClassifier) -> None:
    table = classify_documents(documents([None, None]), classifier)
    assert classifier.seen == []
    assert table.select(ANSWER).num_rows == 2


def test_what_was_read_badly_or_is_of_a_doubtful_kind_is_escalated(classifier: CountingClassifier) -> None:
    read = {
        "pages_unread": pa.array([None, 0, 1, None, None, None], pa.int32()),
        "ocr_confidence": pa.array([None, 0.95, 0.95, 0.85, 0.95, None], pa.float32()),
        "doubtful_kind": pa.array([False, False, True, True, True, True]),
        "proposed_cuts": pa.nulls(6, CUTS_TYPE),
    }
    table = classify_documents(documents([BILLING] * 6), classifier)
    for name, column in read.items():
        table = table.append_column(name, column)
    bundle = classifier.bundle
    reads_ocr = replace(bundle, policy=replace(bundle.policy, min_ocr_confidence=0.9))
    kind = "doubtful_kind"
    assert route_documents(table, reads_ocr)["route_reason"].to_pylist() == [
        *("certain", "certain", "partly_read", "poorly_read", kind, kind)
    ]
    assert route_documents(table, bundle)["route_reason"].to_pylist() == [
        *("certain", "poorly_read", "partly_read", "poorly_read", "poorly_read", kind)
    ]
    assert set(route_documents(table, bundle)["route"].to_pylist()[1:]) == {"escalated"}
    cuts = pa.array([[{"page": 2, "probability": 0.5}]] * 3 + [None] * 3, CUTS_TYPE)
    table = table.set_column(table.schema.get_field_index("proposed_cuts"), "proposed_cuts", cuts)
    assert route_documents(table, reads_ocr)["route_reason"].to_pylist() == [
        *["doubtful_pages"] * 3,
        "poorly_read",
        kind,
        kind,
    ]
