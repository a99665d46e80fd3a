from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation.intervals import wilson_interval
from models.evaluation.measurement import evaluate
from schemas.errors import ConfigError
from tests.support.made_up_certificate import write_certified_manifest

SHARES = ("accuracy", "accuracy_interval_95", "macro_f1", "accepted_share", "expected_calibration_error")
EASY = {
    "please refund my card, the invoice is not paid": "billing",
    "the parcel and the package did not arrive": "delivery",
    "my password and my login do not work, reset the account": "account",
    "the app does crash and the screen is slow": "technical",
}


@pytest.fixture(scope="module")
def classifier(tiny_bundle_unchanged: Path) -> Iterator[Classifier]:
    opened = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    yield opened
    opened.close()


def test_right_answers_are_counted_and_the_values_are_strict_json(classifier: Classifier) -> None:
    result = evaluate(classifier, list(EASY), list(EASY.values()))
    assert json.loads(json.dumps(result, allow_nan=False))["rows"] == 4
    assert result["bundle"] == classifier.bundle.reference
    assert (result["accuracy"], result["macro_f1"], result["failed_rows"]) == (1.0, 1.0, 0)
    assert result["accuracy_interval_95"] == wilson_interval(4, 4)
    assert result["accepted_share"] + result["escalated_share"] == pytest.approx(1.0)
    assert sum(result["route_reasons"].values()) == 4
    assert result["route_reasons"].get("certain", 0) == result["accepted_rows"] > 0
    assert result["unknown_labels"] == {}
    assert result["out_of_scope_escalated_share"] is None


def test_wrong_answers_lower_accuracy_and_accuracy_of_the_accepted(classifier: Classifier) -> None:
    texts = list(EASY) * 2
    gold = [*EASY.values(), *["technical"] * 4]
    result = evaluate(classifier, texts, gold)
    assert result["accuracy"] == 5 / 8
    labels = classifier.bundle.labels
    answers = np.array([labels[label_id] for label_id in classifier.classify(texts).label_ids])
    expected = []
    for label in labels:
        hits = sum(1 for a, g in zip(answers, gold, strict=True) if a == g == label)
        expected.append(2 * hits / ((answers == label).sum() + gold.count(label)))
    assert result["macro_f1"] == pytest.approx(np.mean(expected))
    assert result["accuracy_accepted"] < 1.0


def test_rows_out_of_scope_are_counted_apart(classifier: Classifier) -> None:
    strangers = ["xyzzy plugh", "qwerty zxcvb asdf", "please refund my card, the invoice is not paid"]
    in_scope = evaluate(classifier, list(EASY), list(EASY.values()))
    result = evaluate(classifier, [*EASY, *strangers], [*EASY.values(), "oos", "oos", "weather"])
    assert (result["rows"], result["in_scope_rows"], result["out_of_scope_rows"]) == (7, 4, 3)
    assert result["unknown_labels"] == {"oos": 2, "weather": 1}
    # Two strangers are escalated; the third looks like billing and is, wrongly, accepted.
    assert result["out_of_scope_escalated_share"] == pytest.approx(2 / 3)
    of_all = ("rows", "out_of_scope_rows", "out_of_scope_escalated_share", "unknown_labels")
    assert {key: result[key] for key in in_scope if key not in of_all} == {
        key: in_scope[key] for key in in_scope if key not in of_all
    }


def test_nothing_in_scope_gives_none_instead_of_a_number(classifier: Classifier) -> None:
    result = evaluate(classifier, ["xyzzy"], ["oos"])
    for key in (*SHARES, "macro_f1_interval_95", "risk_coverage", "brier_score"):
        assert result[key] is None
    assert evaluate(classifier, [], [])["rows"] == 0


def test_a_text_the_model_fails_on_counts_as_wrong_and_escalated(
    tiny_bundle: Path, model_that_fails_on_poison: bytes
) -> None:
    (tiny_bundle / "model.onnx").write_bytes(model_that_fails_on_poison)
    bundle = write_certified_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32
    )
    texts = [*EASY, "please refund my card, the invoice is not paid poison"]
    result = evaluate(Classifier(bundle, threads=1), texts, [*EASY.values(), "billing"])
    assert (result["failed_rows"], result["accuracy"]) == (1, 0.8)
    assert sum(result["route_reasons"].values()) == 4
    assert result["escalated_share"] >= 0.2
    assert result["expected_calibration_error"] is not None


def test_texts_and_labels_of_different_number_are_a_defect(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="one gold label per text"):
        evaluate(classifier, ["a"], [])


def test_the_figures_of_two_measurements_are_the_same_but_for_the_speed(classifier: Classifier) -> None:
    texts, gold = [*EASY, "xyzzy the crash"], [*EASY.values(), "billing"]
    timed = evaluate(classifier, texts, gold, with_speed=True)
    speed = timed.pop("speed")
    again = evaluate(classifier, texts, gold)
    assert again.pop("speed") is None
    assert json.dumps(timed) == json.dumps(again)
    assert (speed["documents"], speed["singles"]) == (5, 5)
    assert 0.0 < speed["single_p50_ms"] <= speed["single_p95_ms"]
    assert speed["documents_per_second"] == pytest.approx(5 / speed["seconds"])
    assert speed["peak_memory_bytes"] > 10_000_000
    assert timed["model_bytes"] == (classifier.bundle.folder / "model.onnx").stat().st_size


def test_rows_are_measured_by_length_by_reason_and_by_the_columns_named(classifier: Classifier) -> None:
    texts = [*EASY, "xyzzy", "the parcel"]
    gold = [*EASY.values(), "billing", "delivery"]
    result = evaluate(classifier, texts, gold, columns={"channel": ["app", "app", "app", "mail", "", "mail"]})
    slices = {by: [e for e in result["slices"] if e["by"] == by] for by in ("tokens", "route_reason", "channel")}
    for entries in slices.values():
        assert sum(entry["rows"] for entry in entries) == 6
        hits = sum(entry["rows"] * entry["accuracy"] for entry in entries)
        assert hits == pytest.approx(6 * result["accuracy"])
        assert sum(entry["accepted_rows"] for entry in entries) == result["accepted_rows"]
    assert [(e["value"], e["rows"]) for e in slices["channel"]] == [("app", 3), ("mail", 2), ("", 1)]
    assert slices["tokens"][0]["value"].startswith("3")  # the shortest text: a word and two special tokens
    assert {e["value"]: e["rows"] for e in slices["route_reason"]} == result["route_reasons"]


def test_rows_out_of_scope_are_in_no_slice(classifier: Classifier) -> None:
    result = evaluate(classifier, ["where is my parcel", "xyzzy"], ["delivery", "oos"], columns={"c": ["a", "b"]})
    assert [e["value"] for e in result["slices"] if e["by"] == "c"] == ["a"]


def test_rows_with_the_label_for_nothing_can_be_left_out(classifier: Classifier) -> None:
    texts = [*EASY, "refund my payment", "refund the invoice"]
    gold = [*EASY.values(), "technical", "technical"]  # the last two are wrong, and "technical" means none here
    result = evaluate(classifier, texts, gold, none_label="technical")
    positives = result["positives_only"]
    assert (positives["none_label"], positives["rows"], positives["accuracy"]) == ("technical", 3, 1.0)
    assert result["accuracy"] == 4 / 6
    assert evaluate(classifier, texts, gold)["positives_only"] is None


def test_with_the_label_for_nothing_struck_out_the_next_answer_counts(classifier: Classifier) -> None:
    text = "the app does crash and the screen is slow"  # "technical", which means none here
    next_best = classifier.bundle.labels[classifier.classify([text]).top_label_ids[0, 1]]
    last = classifier.bundle.labels[classifier.classify([text]).top_label_ids[0, -1]]
    positives = evaluate(classifier, [text, text], [next_best, last], none_label="technical")["positives_only"]
    assert (positives["accuracy"], positives["accuracy_without_none"]) == (0.0, 0.5)
    assert positives["accuracy_without_none_interval_95"] == wilson_interval(1, 2)


def test_a_row_with_several_right_labels_counts_any_of_them(classifier: Classifier) -> None:
    texts = list(EASY)
    gold = ["delivery", "delivery", "account", "technical"]  # the first is answered "billing"
    right = [["billing", "delivery"], ["delivery"], [], ["technical", "unheard of"]]
    several = evaluate(classifier, texts, gold, right_labels=right)["several_labels"]
    assert several["rows_with_several"] == 2
    assert several["any_right_share"] == 1.0
    assert (several["top_labels"], several["right_labels"]) == (4, 6)
    assert several["found_in_top_share"] == 5 / 6  # all four labels are among the top, the unheard one is not
    assert several["given_labels"] == 4, "a bundle of single labels gives one per row"
    assert (several["labels_precision"], several["labels_recall"]) == (1.0, 4 / 6)
    assert several["micro_f1"] == pytest.approx(2 * 4 / (4 + 6))
    assert several["macro_f1"] == pytest.approx((1 + 2 / 3 + 1 + 1) / 4)  # one of two deliveries is missed
    assert several["micro_f1_interval_95"][0] <= several["micro_f1"] <= several["micro_f1_interval_95"][1]


def test_a_positive_label_is_ranked_by_its_own_probability(classifier: Classifier) -> None:
    texts = [*EASY, "the crash and the refund", "xyzzy"]
    gold = ["billing", "delivery", "account", "technical", "billing", "billing"]
    result = evaluate(classifier, texts, gold, positive_label="billing")["positive_label"]
    scores = classifier.classify(texts)
    billing = classifier.bundle.labels.index("billing")
    chances = scores.top_confidences[scores.top_label_ids == billing]
    order = sorted(range(6), key=lambda row: -chances[row])
    positive = [gold[row] == "billing" for row in order]
    expected = np.mean([np.mean(positive[: place + 1]) for place in range(6) if positive[place]])
    assert (result["label"], result["rows"], result["share"]) == ("billing", 3, 0.5)
    assert result["average_precision"] == pytest.approx(expected)


@pytest.mark.parametrize("option", ["none_label", "positive_label"])
def test_a_label_that_the_bundle_does_not_have_is_refused(classifier: Classifier, option: str) -> None:
    with pytest.raises(ConfigError, match=r"'fraud' is none of the 4 labels of tiny@.*billing, "):
        evaluate(classifier, ["a"], ["billing"], **{option: "fraud"})  # type: ignore[arg-type]


def test_a_column_of_another_length_is_a_defect(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="channel"):
        evaluate(classifier, ["a"], ["billing"], columns={"channel": []})
