"""Documents are given further labels where a bundle learned when to, and one label otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation.figures import label_set_figures
from models.label_sets import FurtherLabels, given_labels
from models.scores import Scores, score_logits
from schemas.errors import BundleError
from schemas.shards import DOCUMENT_SCHEMA
from tests.support.made_up_certificate import write_certified_manifest
from transforms.classify_documents import classify_documents

LABELS = ("a", "b", "c", "none")
FACTS = {"name": "tiny", "created": "2026-11-22", "document_type": "ticket", "max_tokens": 32}
CURVE = FurtherLabels(slope=1.0, intercept=0.0, threshold=0.15, none_label="none")  # the odds are the softmax


def scores_of(*probabilities: list[float]) -> Scores:
    return score_logits(np.log(np.array(probabilities, dtype=np.float32)), 1.0)


def given(scores: Scores, further: FurtherLabels | None = CURVE) -> list[list[str]]:
    flags = given_labels(scores, LABELS, further)
    return [
        [LABELS[label_id] for label_id, is_given in zip(row, kept, strict=True) if is_given]
        for row, kept in zip(scores.top_label_ids.tolist(), flags.tolist(), strict=True)
    ]


def test_labels_from_the_threshold_on_are_given_after_the_first_likeliest_first() -> None:
    found = given(scores_of([0.2, 0.5, 0.25, 0.05], [0.9, 0.05, 0.03, 0.02]))
    assert found == [["b", "c", "a"], ["a"]]


def test_the_label_for_none_stands_by_itself() -> None:
    assert given(scores_of([0.3, 0.1, 0.1, 0.5], [0.4, 0.1, 0.1, 0.4])) == [["none"], ["a"]]


def test_without_a_curve_every_document_has_one_label_and_a_failed_one_has_none() -> None:
    scores = scores_of([0.4, 0.3, 0.2, 0.1], [np.nan, 0.5, 0.3, 0.2])
    assert given(scores, None) == [["a"], []]
    assert given(scores) == [["a", "b", "c"], []]


def test_a_bundle_with_a_curve_publishes_lists_and_one_without_publishes_single_labels(tiny_bundle: Path) -> None:
    import pyarrow as pa

    row = {"document_id": "d", "text": "please refund the parcel", "source_uri": "made up", "reason_code": None}
    table = pa.Table.from_pylist([row, row | {"text": None, "reason_code": "text_missing"}], DOCUMENT_SCHEMA)
    with_one = _classified(tiny_bundle, table)
    assert with_one["labels"].to_pylist() == [[with_one["label"][0].as_py()], None]
    path = tiny_bundle / "calibration.json"
    curve = {"slope": 1.0, "intercept": 50.0, "threshold": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"further_labels": curve}))
    write_certified_manifest(tiny_bundle, **FACTS)
    with_all = _classified(tiny_bundle, table)
    assert with_all["labels"].to_pylist()[0] == [entry["label"] for entry in with_all["top_labels"][0].as_py()]
    assert with_all["labels"].type == with_one["labels"].type == pa.list_(pa.string())


def test_a_curve_that_cannot_be_used_is_refused_with_its_file(tiny_bundle: Path) -> None:
    path = tiny_bundle / "calibration.json"
    plain = json.loads(path.read_text())
    for curve, words in (
        ({"slope": -1.0, "intercept": 0.0, "threshold": 0.5}, "slope"),
        ({"slope": 1.0, "intercept": 0.0, "threshold": 0.5, "none_label": "unheard of"}, "unheard of"),
    ):
        path.write_text(json.dumps(plain | {"further_labels": curve}))
        with pytest.raises(BundleError, match=rf"calibration.json.*{words}"):
            write_certified_manifest(tiny_bundle, **FACTS)


def test_label_sets_are_measured_without_the_label_for_none() -> None:
    right = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], dtype=np.bool_)
    answers = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]], dtype=np.bool_)
    figures = label_set_figures(right, answers, np.zeros(3, dtype=np.int64), none_id=3)
    assert (figures["given_labels"], figures["labels_precision"], figures["labels_recall"]) == (3, 2 / 3, 2 / 3)
    assert figures["micro_f1"] == pytest.approx(2 / 3)
    assert figures["macro_f1"] == pytest.approx((1 + 0 + 1) / 3)


def _classified(bundle: Path, table: object) -> object:
    classifier = Classifier(load_bundle(bundle), threads=1)
    try:
        return classify_documents(table, classifier)  # type: ignore[arg-type]
    finally:
        classifier.close()
