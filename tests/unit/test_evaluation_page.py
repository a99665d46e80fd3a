from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation.measurement import evaluate
from models.evaluation.report import describe_evaluation, evaluation_page

TEXTS = ["please refund my card", "the parcel did not arrive", "my password does not work", "the app does crash"] * 3
GOLD = ["billing", "delivery", "account", "technical"] * 2 + ["delivery", "billing", "account", "technical"]
VOID = {"meta", "br", "img", "link", "input", "hr"}


class WellFormed(HTMLParser):
    """Insists that every element is closed in its turn, and collects what the page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name == "aria-labelledby":
                self.references += (value or "").split()
            assert not name.startswith("on")
            assert name not in ("src", "href", "xlink:href", "action", "data", "poster")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def result(tiny_bundle_unchanged: Path) -> Iterator[dict[str, Any]]:
    classifier = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    yield evaluate(
        classifier,
        [*TEXTS, "xyzzy"],
        [*GOLD, "oos"],
        right_labels=[["billing"]] * 13,
        columns={"channel": ["app", "mail"] * 6 + ["app"]},
        none_label="technical",
        positive_label="billing",
        with_speed=True,
    )
    classifier.close()


@pytest.fixture(scope="module")
def empty(tiny_bundle_unchanged: Path) -> Iterator[dict[str, Any]]:
    classifier = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    yield evaluate(classifier, ["xyzzy"], ["oos"])
    classifier.close()


def test_the_page_is_well_formed_and_names_every_part(result: dict[str, Any]) -> None:
    page = WellFormed(evaluation_page(result, "validation.parquet"))
    assert page.seen.count("h1") == 1
    for heading in ("Slices", "Confusions", "Labels", "Out of scope", "Size and speed"):
        assert heading in page.text
    for figure in ("Accuracy where not technical", "Any right label", "Average precision", "validation.parquet"):
        assert figure in page.text
    assert f"{100 * result['accuracy']:.2f}%" in page.text


def test_the_page_loads_nothing_and_runs_nothing(result: dict[str, Any]) -> None:
    page = evaluation_page(result, "validation.parquet")
    for forbidden in ("http", "//", "url(", "@import", "<script", "<link", "<img", "<iframe"):
        assert forbidden not in page


def test_every_plot_can_be_read_without_seeing_it(result: dict[str, Any]) -> None:
    page = WellFormed(evaluation_page(result, "x"))
    assert page.seen.count("figure") == 3
    assert len(page.ids) == len(set(page.ids))
    assert len(page.references) == 6
    assert set(page.references) <= set(page.ids)


def test_the_same_figures_give_the_same_page_and_other_speed_changes_only_its_table(result: dict[str, Any]) -> None:
    again = json.loads(json.dumps(result))
    assert evaluation_page(again, "x") == evaluation_page(result, "x")
    slower = result | {"speed": result["speed"] | {"documents_per_second": 1.0}}
    one, other = (evaluation_page(figures, "x").splitlines() for figures in (result, slower))
    assert sum(a != b for a, b in zip(one, other, strict=True)) == 1


def test_names_of_labels_slices_and_files_cannot_break_out_of_the_page(result: dict[str, Any]) -> None:
    hostile = "</td><script>alert(1)</script>\"'&<b>"
    figures = copy.deepcopy(result)
    figures["bundle"] = figures["positives_only"]["none_label"] = figures["positive_label"]["label"] = hostile
    figures["unknown_labels"] = {hostile: 1}
    for entry in figures["labels"]:
        entry["label"] = hostile
    for entry in figures["slices"]:
        entry["by"] = entry["value"] = hostile
    for entry in figures["confusions"]:
        entry["gold"] = entry["answer"] = hostile
    page = evaluation_page(figures, hostile)
    assert "<script" not in page
    assert "<b>" not in page
    assert hostile in WellFormed(page).text


def test_a_file_without_a_row_in_scope_still_makes_a_page(empty: dict[str, Any]) -> None:
    page = WellFormed(evaluation_page(empty, "x"))
    assert "svg" not in page.seen
    assert "Out of scope" in page.text


def with_curve(result: dict[str, Any], curve: list[dict[str, float]], accuracy: float | None) -> str:
    figures = result["risk_coverage"] | {"curve": curve}
    return evaluation_page(
        result | {"risk_coverage": figures, "accepted_share": 0.5, "accuracy_accepted": accuracy}, "x"
    )


def test_the_policy_stands_where_it_works_on_the_curve(result: dict[str, Any]) -> None:
    curve = [{"coverage": 0.5, "error": 0.0}, {"coverage": 1.0, "error": 0.04}]
    page = with_curve(result, curve, 0.98)
    # The axis ends at 5%: 0.02 lies 2/5 of the way up, 0.04 four fifths.
    assert '<circle class="point" cx="238.0" cy="157.2"' in page
    assert 'points="238.0,254.0 418.0,60.4"' in page
    assert "accepts 50.0% of the rows with an error of 2.00%" in page
    without = with_curve(result, curve, None)
    assert without.count("<circle") == page.count("<circle") - 1
    WellFormed(with_curve(result, [{"coverage": 1.0, "error": 0.0}], 1.0))


def test_plots_hold_without_a_right_or_without_a_wrong_answer(result: dict[str, Any]) -> None:
    entry = {"above": 14 / 15, "up_to": 1.0, "rows": 3, "confidence": 0.97, "accuracy_interval_95": (0.0, 1.0)}
    for accuracy in (0.0, 1.0):
        page = evaluation_page(result | {"reliability": [entry | {"accuracy": accuracy}]}, "x")
        WellFormed(page)
    assert "3 of the 3 right answers and 0 of the 0 wrong ones" in page


def test_the_summary_names_what_was_measured(result: dict[str, Any], empty: dict[str, Any]) -> None:
    said = describe_evaluation(result)
    for name in ("accuracy", "macro-F1", "positives only", "any right label", "average precision", "out of scope"):
        assert f"  {name}" in said
    assert "documents/s" in said
    short = describe_evaluation(empty)
    assert "no label of the data is one of the bundle's: oos" in short
    assert "accuracy" not in short
