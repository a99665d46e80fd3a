from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.bundle import ModelBundle, load_bundle
from models.classifier import Classifier
from models.evaluation.measurement import evaluate
from models.training.card import render_card

TEXTS = ["please refund my card swordfish", "the parcel did not arrive", "the app does crash", "my crash"]
GOLD = ["billing", "delivery", "technical", "account"]


@pytest.fixture(scope="module")
def bundle(tiny_bundle_unchanged: Path) -> ModelBundle:
    return load_bundle(tiny_bundle_unchanged)


@pytest.fixture(scope="module")
def result(bundle: ModelBundle) -> Iterator[dict[str, Any]]:
    classifier = Classifier(bundle, threads=1)
    yield evaluate(classifier, TEXTS, GOLD, columns={"source": ["one", "one", "two", "two"]})
    classifier.close()


def card(bundle: ModelBundle, results: dict[str, dict[str, Any]], *facts: Any) -> str:
    return render_card(bundle, "# Model card: tiny\n\nBy hand.\n", results, *facts)


def test_the_card_begins_with_what_was_written_by_hand_and_holds_every_part(
    bundle: ModelBundle, result: dict[str, Any]
) -> None:
    results = {"all": result, "one": result, "two": result}
    facts = ["Fine-tuned.", "Pruned."], {"label_flips": 3, "accuracy_lost": 0.0012, "interval": None}
    text = card(bundle, results, *facts)
    assert text.startswith("# Model card: tiny\n\nBy hand.\n\n## Measured on the validation split, int8 model\n")
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "Measured on the validation split, int8 model",
        "Policy",
        "How it was made",
        "Int8 against its float parent",
        "Slices",
        "Calibration",
        "Most frequent confusions",
        "Labels (4)",
    ]
    assert "| two | 4 | 75.0% [30.1%, 95.4%] |" in text
    assert "| label flips | 3 |\n| accuracy lost | 0.0012 |\n| interval | - |" in text
    assert "- Fine-tuned.\n- Pruned." in text
    assert "| `account` | `technical` | 1 |" in text
    assert "confidence of at least 0.8" in text
    assert card(bundle, results, *facts) == text


def test_the_card_holds_no_text_of_the_data(bundle: ModelBundle, result: dict[str, Any]) -> None:
    assert "swordfish" not in card(bundle, {"all": result})


def test_a_single_data_set_is_shown_once_and_parts_without_figures_are_left_out(
    bundle: ModelBundle, result: dict[str, Any]
) -> None:
    text = card(bundle, {"all": result, "only": result})
    assert "| only |" not in text
    assert "How it was made" not in text
    assert "float parent" not in text


def test_figures_that_only_some_labels_have_are_told(bundle: ModelBundle) -> None:
    classifier = Classifier(bundle, threads=1)
    figures = evaluate(classifier, TEXTS, GOLD, right_labels=[[]] * 4, none_label="technical", positive_label="billing")
    classifier.close()
    text = card(bundle, {"all": figures})
    assert "- Rows that are not `technical`: 66.7% [20.8%, 93.9%] of 3 are right; with that answer" in text
    assert "- Rows with several right labels: 0." in text
    assert "- Average precision for `billing`, which 25.0% of the rows are: 1.000." in text


def test_labels_that_were_not_measured_are_named(bundle: ModelBundle) -> None:
    classifier = Classifier(bundle, threads=1)
    figures = evaluate(classifier, TEXTS[:2], GOLD[:2])
    classifier.close()
    text = card(bundle, {"all": figures})
    assert "Neither a label nor an answer of these rows: `account`, `technical`." in text


def test_a_label_cannot_break_the_tables(bundle: ModelBundle, result: dict[str, Any]) -> None:
    odd = "a|b`c"
    figures = result | {"labels": [result["labels"][0] | {"label": odd}]}
    text = card(replace(bundle, labels=(odd, "x")), {"all": figures})
    assert "| `` a\\|b`c `` | 1 |" in text


def test_the_card_shows_word_counts_beside_the_bundle_and_says_when_they_win(
    bundle: ModelBundle, result: dict[str, Any]
) -> None:
    words = {"rows": 4, "accuracy": 0.5, "macro_f1": 0.4, "gain": 0.25, "gain_interval_95": [-0.1, 0.6]}
    text = card(bundle, {"all": result | {"word_counts": words}})
    assert "50.0% right, macro-F1 40.0%. The bundle is right in 25.0 [-10.0, 60.0] points more" in text
    assert "Word counts win" not in text
    assert "Word counts win" in card(bundle, {"all": result | {"word_counts": words | {"gain": -0.25}}})
