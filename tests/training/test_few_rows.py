"""A training on few rows: a usable bundle, honest about what it cannot prove."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner, Result

from models.bundle import load_bundle
from models.classifier import Classifier
from models.training.config import DataConfig, FineTuning
from models.training.data import is_description, read_labelled
from models.training.recipe import with_enough_steps
from pipelines.cli import main
from tests.support.tiny_base import COARSE_PARITY, made_up_rows, write_tiny_base

CONFIG = """
name = "mail"
document_type = "mail"
base_model = "base"
max_tokens = 64

[data]
train = ["mail.csv"]
{data}

[fine_tuning]
max_tokens = 32

[few_rows]
{few_rows}

[policy]
max_error = 0.15
"""


def write_rows(path: Path, n_rows: int, seed: int = 1) -> None:
    texts, labels = made_up_rows(n_rows, seed)
    rows = [[f"m{seed}-{n}", text, label] for n, (text, label) in enumerate(zip(texts, labels, strict=True))]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label"], *rows])


def write_case(folder: Path, data: str = "", few_rows: str = "") -> Path:
    write_rows(folder / "mail.csv", 36)
    write_tiny_base(folder / "base")
    config = CONFIG.format(data=data, few_rows=few_rows) + COARSE_PARITY
    (folder / "mail.toml").write_text(config.replace('"base"', f'"{folder / "base"}"'), encoding="utf-8")
    return folder


def docyard(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def train(folder: Path, *more: str) -> Result:
    places = ["--work", folder / "work", "--out", folder / "bundles/mail"]
    return docyard("train", folder / "mail.toml", *places, *more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = write_case(tmp_path_factory.mktemp("mail"))
    return folder, train(folder)


def test_twelve_rows_per_label_all_teach_and_make_a_bundle(trained: tuple[Path, Result]) -> None:
    folder, result = trained
    assert result.exit_code == 0, result.output
    assert "39 rows to learn from, 0 to validate with (cross-fitting instead)" in result.output
    assert "by cross-fitting, 36 rows, 36 of them in scope" in result.output
    bundle = load_bundle(folder / "bundles/mail")
    assert set(bundle.manifest.training["few_rows"]["right_when_not_learned"]) == {
        "frozen encoder",
        "fine-tuned encoder",
    }
    texts, labels = made_up_rows(150, seed=2)
    scores = Classifier(bundle).classify(texts)
    right = np.mean([bundle.labels[answer] == label for answer, label in zip(scores.label_ids, labels, strict=True)])
    assert right > 0.6


def test_what_cannot_be_certified_accepts_nothing_and_says_how_many_rows_would_do(
    trained: tuple[Path, Result],
) -> None:
    folder, result = trained
    bundle = load_bundle(folder / "bundles/mail")
    scores = Classifier(bundle).classify(made_up_rows(60, seed=2)[0])
    assert not bundle.policy.route(scores).accepted.any()
    assert re.search(r"it takes at least 19 more, all right", result.output)
    card = (folder / "bundles/mail/card.md").read_text(encoding="utf-8")
    assert "Measured by cross-fitting" in card
    assert "it takes at least 19 more" in card
    assert "Word counts (TF-IDF" in card


def test_rows_labelled_later_certify_the_bundle_as_it_is(trained: tuple[Path, Result]) -> None:
    folder, _ = trained
    before = load_bundle(folder / "bundles/mail").manifest.files["model.onnx"]
    write_rows(folder / "later.csv", 400, seed=3)
    result = docyard(
        "certify", folder / "bundles/mail", "--data", folder / "later.csv", "--max-error", "0.4"
    )  # a random encoder of width 32 knows no more
    assert result.exit_code == 0, result.output
    bundle = load_bundle(folder / "bundles/mail")
    assert bundle.manifest.files["model.onnx"] == before
    assert bundle.policy.route(Classifier(bundle).classify(made_up_rows(60, seed=4)[0])).accepted.any()


def test_few_validation_rows_certify_while_cross_fitting_calibrates(tmp_path: Path) -> None:
    write_case(tmp_path, 'validation = ["validation.csv"]', 'encoder = "freeze"')
    write_rows(tmp_path / "validation.csv", 30, seed=5)
    result = train(tmp_path)
    assert result.exit_code == 0, result.output
    assert "30 to validate with (too few to calibrate with: cross-fitting does)" in result.output
    assert "on the validation rows, 30 rows" in result.output
    calibration = json.loads((tmp_path / "bundles/mail/calibration.json").read_bytes())
    assert calibration["method"] == "temperature scaling by cross-fitting"
    assert calibration["rows"] == 36


def test_without_cross_fitting_too_few_rows_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path, few_rows='cross_fit = "never"')
    result = train(tmp_path, "--check")
    assert result.exit_code == 3
    assert "expected at least 50 validation rows" in result.output


def test_a_description_or_else_the_name_of_a_label_is_one_more_row_to_learn(tmp_path: Path) -> None:
    write_rows(tmp_path / "mail.csv", 36)
    config = DataConfig(train=("mail.csv",), descriptions={"staff": "who works here"})
    rows = read_labelled(config, tmp_path, keep_all=lambda _: True, names_up_to=12).train
    assert rows["text"][is_description(rows)].tolist() == ["invoice", "who works here", "travel"]
    only = read_labelled(config, tmp_path, keep_all=lambda _: True, names_up_to=11).train
    assert only["text"][is_description(only)].tolist() == ["who works here"]


def test_a_label_without_a_word_in_its_name_is_not_described_by_it(tmp_path: Path) -> None:
    (tmp_path / "mail.csv").write_text("text,label\none,7\ntwo,card_lost\nthree,A1\n", encoding="utf-8")
    rows = read_labelled(DataConfig(train=("mail.csv",)), tmp_path, keep_all=lambda _: True, names_up_to=12).train
    assert rows["text"][is_description(rows)].tolist() == ["card lost"]


def test_a_description_of_no_label_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path, '[data.descriptions]\ninvoices = "bills"')
    result = train(tmp_path, "--check")
    assert result.exit_code == 2
    assert "data.descriptions: 'invoices' is not a label of the training rows" in result.output


def test_few_rows_are_trained_for_enough_steps_in_small_batches() -> None:
    tuning = with_enough_steps(FineTuning(epochs=6, batch_documents=64), 64, 120)
    assert (tuning.batch_documents, tuning.epochs) == (16, 30)
    assert with_enough_steps(FineTuning(epochs=6, batch_documents=8), 6400, 120).epochs == 6
