"""Rows with several right labels, in a tree, become a bundle that gives label sets and is certified for any of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from click.testing import CliRunner, Result

from models.bundle import load_bundle
from models.classifier import Classifier
from models.label_sets import given_labels
from pipelines.cli import main
from tests.support.tiny_base import COARSE_PARITY, made_up_rows, write_tiny_base

CONFIG = (
    """
name = "mail"
document_type = "mail"
base_model = "{base}"
max_tokens = 64

[data]
train = ["mail.jsonl"]
labels_column = "labels"
tree_separator = "/"

[fine_tuning]
epochs = 6
max_tokens = 32
encoder_learning_rate = 2e-3

[policy]
max_error = 0.15

"""
    + COARSE_PARITY
)
NAMES = {"invoice": "money/invoice", "travel": "money/travel", "staff": "staff"}


def rows_with_several(n: int, seed: int = 1) -> list[dict[str, object]]:
    """Every fourth text is about two things, the first of which is its label."""
    texts, labels = made_up_rows(2 * n, seed)
    rows: list[dict[str, object]] = []
    for row in range(n):
        text, right = texts[row], [NAMES[labels[row]]]
        if row % 4 == 0:
            text, right = f"{text} {texts[n + row + 1]}", [*right, NAMES[labels[n + row + 1]]]
        right = list(dict.fromkeys(right))
        rows.append({"id": f"m{seed}-{row}", "text": text, "label": min(right), "labels": right})
    return rows


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def docyard(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_several_labels_in_a_tree_are_learned_given_measured_and_certified(tmp_path: Path) -> None:
    write(tmp_path / "mail.jsonl", rows_with_several(900))
    write_tiny_base(tmp_path / "base")
    config = tmp_path / "mail.toml"
    config.write_text(CONFIG.format(base=tmp_path / "base"), encoding="utf-8")
    folder = tmp_path / "bundles/mail"
    result = docyard("train", config, "--work", tmp_path / "work", "--out", folder)
    assert result.exit_code == 0, result.output
    bundle = load_bundle(folder)
    assert bundle.tree_separator == "/"
    assert bundle.further_labels is not None
    assert bundle.certificate is not None
    assert bundle.certificate.any_right_label
    card = (folder / "card.md").read_text()
    assert "micro-F1" in card
    assert "| `money` |" in card

    fresh = write(tmp_path / "fresh.jsonl", rows_with_several(600, seed=2))
    rows = rows_with_several(600, seed=2)
    classifier = Classifier(bundle)
    scores = classifier.classify([str(row["text"]) for row in rows])
    classifier.close()
    flags = given_labels(scores, bundle.labels, bundle.further_labels)
    sets = [{bundle.labels[i] for i in ids[kept]} for ids, kept in zip(scores.top_label_ids, flags, strict=True)]
    several = [len(row["labels"]) == 2 for row in rows]  # type: ignore[arg-type]
    found = [one == set(row["labels"]) for one, row, two in zip(sets, rows, several, strict=True) if two]  # type: ignore[call-overload]
    assert sum(found) > 0.5 * len(found), "most texts about two things are given both labels"
    measured = json.loads(docyard("evaluate", folder, fresh, "--labels-column", "labels", "--json").stdout)
    assert measured["several_labels"]["micro_f1"] > 0.9
    assert [entry["label"] for entry in measured["parents"]] == ["money"]

    again = docyard("bundle", config, folder, "--work", tmp_path / "work2", "--out", tmp_path / "bundles/again")
    assert again.exit_code == 0, again.output
    assert load_bundle(tmp_path / "bundles/again").further_labels == bundle.further_labels

    any_label = docyard("certify", folder, "--data", fresh, "--max-error", "0.15")
    assert "any of a document's right labels" in any_label.output, any_label.output
    strict = docyard("certify", folder, "--data", fresh, "--max-error", "0.15", "--labels-column", "")
    assert "any of a document's right labels" not in strict.output
    assert strict.exit_code == 0, strict.output


def test_a_label_with_an_empty_part_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    rows = rows_with_several(200)
    write(tmp_path / "mail.jsonl", [row | {"label": str(row["label"]).replace("money/", "money//")} for row in rows])
    write_tiny_base(tmp_path / "base")
    config = tmp_path / "mail.toml"
    config.write_text(CONFIG.format(base=tmp_path / "base"), encoding="utf-8")
    result = docyard("train", config, "--check", "--work", tmp_path / "work")
    assert result.exit_code != 0
    assert "data.tree_separator: 'money//invoice' has an empty part" in result.output
