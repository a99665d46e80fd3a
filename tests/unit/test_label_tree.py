"""Labels are a tree where a bundle declares a separator: checked when it is loaded, and rolled up in figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation.measurement import evaluate
from models.evaluation.report import evaluation_page
from models.label_tree import all_parents, below, parents_of, tree_fault
from models.training.card import render_card
from schemas.errors import BundleError
from tests.support.made_up_certificate import write_certified_manifest

FACTS = {"name": "tiny", "created": "2026-11-22", "document_type": "ticket", "max_tokens": 32}
RENAMED = {"billing": "money/billing", "account": "user/account", "technical": "user/technical/app", "delivery": "post"}
TEXTS = ["please refund my card", "my password and my login", "the app does crash", "the parcel did not arrive"]


def with_tree(folder: Path, separator: str = "/", names: dict[str, str] = RENAMED) -> Path:
    path = folder / "labels.json"
    values = json.loads(path.read_text())
    for label in values["labels"]:
        label["name"] = names[label["name"]]
    path.write_text(json.dumps(values | {"tree_separator": separator}))
    policy = folder / "policy.toml"
    policy.write_text(policy.read_text().replace('"billing"', json.dumps(names["billing"])))
    write_certified_manifest(folder, **FACTS)
    return folder


def test_a_label_names_its_ancestors_the_highest_first_and_none_without_a_separator() -> None:
    assert parents_of("a/b/c", "/") == ("a", "a/b")
    assert parents_of("a", "/") == parents_of("a/b", "") == ()


def test_a_parent_holds_all_labels_below_it_and_a_label_of_its_own_name() -> None:
    labels = ["a", "a/b", "a/c/d", "ab/x"]
    assert all_parents(labels, "/") == ["a", "a/c", "ab"]
    assert below(labels, "a", "/") == [0, 1, 2]
    assert below(labels, "a/c", "/") == [2]


@pytest.mark.parametrize("label", ["a//b", "/a", "a/", "a / b"])
def test_a_label_with_an_empty_part_makes_no_tree(label: str) -> None:
    assert repr(label) in tree_fault(["a/b", label], "/")
    assert tree_fault(["a/b", label], "") == "", "without a separator any label will do"


def test_a_bundle_with_a_faulty_tree_is_refused_with_the_label(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"labels\.json.*'money//billing' has an empty part"):
        with_tree(tiny_bundle, names=RENAMED | {"billing": "money//billing"})


def test_an_answer_is_right_for_a_parent_where_it_lies_anywhere_below_it(tiny_bundle: Path) -> None:
    classifier = Classifier(load_bundle(with_tree(tiny_bundle)), threads=1)
    try:
        gold = ["money/billing", "user/technical/app", "user/account", "post"]  # the second and third are exchanged
        result = evaluate(classifier, TEXTS, gold)
    finally:
        classifier.close()
    assert result["accuracy"] == 0.5
    parents = {entry["label"]: entry for entry in result["parents"]}
    assert sorted(parents) == ["money", "user", "user/technical"]
    assert (parents["user"]["rows"], parents["user"]["precision"], parents["user"]["recall"]) == (2, 1.0, 1.0)
    assert parents["user/technical"]["f1"] == 0.0
    page = evaluation_page(result, "made up")
    assert "Parents" in page
    card = render_card(load_bundle(tiny_bundle), "# Tiny", {"all": result})
    assert "## Parents in the tree of labels" in card
    assert "| `user` | 2 |" in card


def test_labels_with_the_sign_are_no_tree_unless_it_is_declared(tiny_bundle: Path) -> None:
    classifier = Classifier(load_bundle(with_tree(tiny_bundle, separator="")), threads=1)
    try:
        assert evaluate(classifier, TEXTS, list(RENAMED.values()))["parents"] == []
    finally:
        classifier.close()
