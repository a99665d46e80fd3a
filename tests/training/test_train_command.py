"""`docyard train` makes a bundle that a run can use, does no step twice, and puts nothing bad into place."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner, Result

from models.bundle import load_bundle
from models.classifier import Classifier
from models.deferral import FILE_NAME as DEFERRAL_NAME
from models.evaluation.figures import risk_coverage
from models.trained_rows import same_text
from models.training.build import put_into_place
from models.training.config import DataConfig
from models.training.data import read_unlabelled
from models.training.quantize import quantize
from pipelines.cli import main
from tests.support.spoiling import spoil
from tests.support.tiny_base import COARSE_PARITY, WORDS, made_up_rows, write_tiny_base

CONFIG = (
    """
name = "mail"
document_type = "mail"
base_model = "{base}"
max_tokens = 64

[data]
train = ["mail.csv"]
sources = "sources.toml"
out_of_scope_label = "none"

[fine_tuning]
epochs = {epochs}
max_tokens = 32
encoder_learning_rate = 2e-3

[policy]
max_error = 0.15

"""
    + COARSE_PARITY
)


SOURCES = """
[[source]]
name = "Made-up mail"
licence = "CC0 1.0"
origin = "tests/support/tiny_base.py"
files = ["mail.csv"]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a base encoder and a configuration, trained once."""
    folder = tmp_path_factory.mktemp("mail")
    texts, labels = made_up_rows(600)
    rows = [[f"m{n}", text, label] for n, (text, label) in enumerate(zip(texts, labels, strict=True))]
    rows += [[f"s{n}", f"{'xyz' * (1 + n % 3)} qq {n} zz", "none"] for n in range(40)]
    with (folder / "mail.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label"], *rows])
    write_tiny_base(folder / "base")
    write_config(folder)
    result = train(folder)
    assert result.exit_code == 0, result.output
    assert "bundles/mail: mail, 3 labels" in result.output
    assert "GiB of memory" in result.output
    assert "word counts" in result.output
    return folder


def write_config(folder: Path, epochs: int = 6, base: Path | None = None) -> None:
    (folder / "sources.toml").write_text(SOURCES, encoding="utf-8")
    (folder / "mail.toml").write_text(CONFIG.format(base=base or folder / "base", epochs=epochs), encoding="utf-8")


def train(folder: Path, *arguments: str, command: str = "train") -> Result:
    places = ["--work", str(folder / "work"), "--out", str(folder / "bundles/mail")]
    return CliRunner().invoke(main, [command, str(folder / "mail.toml"), *arguments, *places])


def test_the_bundle_answers_and_says_how_it_came_about(place: Path) -> None:
    bundle = load_bundle(place / "bundles/mail")
    assert bundle.labels == tuple(sorted(WORDS))
    listed = json.loads((bundle.folder / "labels.json").read_text())["labels"]
    assert [entry["sources"] for entry in listed] == [["mail.csv"]] * 3
    assert bundle.manifest.training["rows"]["out_of_scope_train"] + len(bundle.fingerprint) > 30
    assert bundle.manifest.training["configuration"]["fine_tuning"]["epochs"] == 6
    assert bundle.manifest.training["parity"]["batch_differences"] == 0
    assert bundle.certificate is not None
    assert bundle.certificate.coverage > 0.5
    assert bundle.policy.certified
    classifier = Classifier(bundle)
    texts, labels = made_up_rows(90, seed=99)
    answers = [bundle.labels[label_id] for label_id in classifier.classify(texts).label_ids]
    assert sum(answer == label for answer, label in zip(answers, labels, strict=True)) > 80


def test_licence_and_origin_of_the_data_are_printed_and_go_into_the_bundle(place: Path, tmp_path: Path) -> None:
    folder = place / "bundles/mail"
    checked = CliRunner().invoke(main, ["train", str(place / "mail.toml"), "--check", "--work", str(tmp_path / "work")])
    assert "mail.csv (training, validation): Made-up mail, CC0 1.0, tests/support/tiny_base.py" in checked.output
    assert "warning: no licence" not in checked.output
    (facts,) = load_bundle(folder).manifest.training["sources"]
    assert (facts["name"], facts["licence"], facts["used_for"]) == (
        "Made-up mail",
        "CC0 1.0",
        ["training", "validation"],
    )
    assert "| Made-up mail |  | CC0 1.0 |" in (folder / "card.md").read_text(encoding="utf-8")
    sheet = (folder / "datasheet.md").read_text(encoding="utf-8")
    assert "| `mail.csv` | training, validation | Made-up mail |  | CC0 1.0 | tests/support/tiny_base.py |" in sheet
    rows = json.loads((place / "work/hygiene.json").read_text(encoding="utf-8"))["rows"]
    assert f"| rows with a label | {rows['train']} | {rows['validation']} |" in sheet
    assert not [text for text in made_up_rows(600)[0] if text in sheet]


def test_the_confidence_orders_answers_to_fresh_rows_no_worse_than_softmax(place: Path) -> None:
    classifier = Classifier(load_bundle(place / "bundles/mail"))
    assert DEFERRAL_NAME in classifier.bundle.manifest.files
    mixed, labels = hard_rows(400)
    scores = classifier.classify(mixed, encoder_only=True)
    classifier.close()
    right = np.array(classifier.bundle.labels)[scores.label_ids] == labels
    by_signals, by_softmax = (
        risk_coverage(values, right) for values in (scores.confidence, scores.top_confidences[:, 0])
    )
    assert by_signals
    assert by_softmax
    assert 0.3 < right.mean() < 0.98
    assert by_signals["area"] <= by_softmax["area"] + 0.01


def hard_rows(n: int) -> tuple[list[str], list[str]]:
    """Rows of which some words belong to the next row, of another label."""
    texts, labels = made_up_rows(n + 1, seed=98)
    return [f"{text} {' '.join(other.split()[:4])}" for text, other in pairwise(texts)], labels[:n]


def test_nothing_of_the_data_is_in_the_bundle_but_labels_and_counts(place: Path) -> None:
    texts, _ = made_up_rows(600)
    for name in ("bundle.json", "card.md", "labels.json", "policy.toml", "calibration.json"):
        content = (place / "bundles/mail" / name).read_text(encoding="utf-8")
        assert not [text for text in texts if text in content], name


def test_the_same_training_again_does_no_step_twice(place: Path) -> None:
    before = (place / "bundles/mail/bundle.json").read_bytes()
    result = train(place)
    assert result.exit_code == 0, result.output
    assert "training: done before" in result.output
    assert "int8: done before" in result.output
    assert "epoch" not in result.output
    assert (place / "bundles/mail/bundle.json").read_bytes() == before


def test_a_check_trains_nothing(place: Path) -> None:
    other = place / "only-checked"
    result = CliRunner().invoke(main, ["train", str(place / "mail.toml"), "--check", "--work", str(other)])
    assert result.exit_code == 0, result.output
    assert "nothing was trained" in result.output
    assert [path.name for path in other.iterdir() if path.suffix] == ["hygiene.json"]
    report = json.loads((other / "hygiene.json").read_text(encoding="utf-8"))
    assert report["refused"] == []
    assert set(report["labels"]) == set(WORDS)


def test_a_trained_network_is_made_a_bundle_without_training(place: Path) -> None:
    checkpoint = place / "work/training/network"
    out = ["--work", str(place / "work2"), "--out", str(place / "bundles2/mail")]
    result = CliRunner().invoke(main, ["bundle", str(place / "mail.toml"), str(checkpoint), *out])
    assert result.exit_code == 0, result.output
    one, other = (load_bundle(place / folder / "mail") for folder in ("bundles", "bundles2"))
    assert one.read("model.onnx") == other.read("model.onnx")
    assert not (place / "work2/training").exists()


def test_a_network_learns_variations_and_a_bundle_with_them_gets_another_first_tier(
    place: Path, tmp_path: Path
) -> None:
    for name in ("mail.csv", "sources.toml"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    write_config(tmp_path, epochs=1, base=place / "base")
    with (tmp_path / "mail.toml").open("a", encoding="utf-8") as config:
        config.write("\n[variations]\neach = 1\n\n[first_tier]\nwidth = 8\nepochs = 1\n")
    result = train(tmp_path)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "work/hygiene.json").read_text(encoding="utf-8"))["rows"]["train"]
    assert f"trained on {2 * rows} texts" in result.output
    bundle = str(tmp_path / "bundles/mail")
    same = train(tmp_path, bundle, command="bundle")
    assert same.exit_code == 0, same.output
    assert "first tier, epoch" not in same.output
    content = (tmp_path / "mail.toml").read_text(encoding="utf-8")
    (tmp_path / "mail.toml").write_text(content.replace("each = 1", "each = 2"), encoding="utf-8")
    other = train(tmp_path, bundle, command="bundle")
    assert other.exit_code == 0, other.output
    assert "first tier, epoch" in other.output


def test_a_network_for_other_labels_is_refused(place: Path, tmp_path: Path) -> None:
    lines = (place / "mail.csv").read_text(encoding="utf-8").replace(",staff", ",people")
    (tmp_path / "mail.csv").write_text(lines, encoding="utf-8")
    arguments = [str(place / "work/training/network"), "--data", str(tmp_path), "--work", str(tmp_path / "work")]
    result = CliRunner().invoke(main, ["bundle", str(place / "mail.toml"), *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "which are not the 3 of the data" in result.output
    assert not (tmp_path / "out").exists()


def test_what_fails_the_parity_gate_is_not_put_into_place(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quantize_badly(float_path: Path, int8_path: Path, *rest: Any) -> None:
        quantize(float_path, int8_path, *rest)
        spoil(int8_path)

    monkeypatch.setattr("models.training.build.quantize", quantize_badly)
    for name in ("mail.csv", "sources.toml"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    config = (place / "mail.toml").read_text(encoding="utf-8").replace("epochs = 6", "epochs = 1")
    for limit in ("max_label_flips = 0.2", "max_route_flips = 0.5"):
        config = config.replace(limit, limit.split("=")[0] + "= 0.0")
    config += "\n[words]\nbuckets = 0\n"  # they would answer for the spoiled encoder
    (tmp_path / "mail.toml").write_text(config, encoding="utf-8")
    result = train(tmp_path)
    assert result.exit_code == 4, result.output
    assert "does not decide as its float network" in result.output
    assert not (tmp_path / "bundles/mail").exists()
    assert not list((tmp_path / "bundles").iterdir())


def test_a_folder_that_is_no_bundle_is_never_replaced(place: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.jpg").touch()
    arguments = ["train", str(place / "mail.toml"), "--work", str(tmp_path / "w"), "--out", str(tmp_path / "photos")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "exists and is not a bundle" in result.output
    assert (tmp_path / "photos/one.jpg").exists()


def test_data_that_cannot_be_trained_on_ends_with_every_reason(place: Path, tmp_path: Path) -> None:
    rows = ["id,text,label", *(f"{n},text {n},only\u00a0one" for n in range(20))]
    (tmp_path / "mail.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "w"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["train", str(place / "mail.toml"), *arguments])
    assert result.exit_code == 3
    assert "at least 2 labels" in result.output
    assert "1 labels hold characters that do not print" in result.output


def test_a_teacher_of_other_labels_is_refused_before_anything_is_trained(place: Path, tmp_path: Path) -> None:
    for name in ("mail.csv", "mail.toml", "sources.toml"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    teacher = shutil.copytree(place / "work/training/network", tmp_path / "teacher")
    with (tmp_path / "mail.toml").open("a", encoding="utf-8") as config:
        config.write(f'\n[distillation]\nteachers = ["{teacher}"]\n')
    assert train(tmp_path, "--check").exit_code == 0
    labels = json.loads((teacher / "labels.json").read_text())
    (teacher / "labels.json").write_text(json.dumps({"labels": labels["labels"][::-1]}))
    result = train(tmp_path, "--check")
    assert result.exit_code == 2
    assert "trained for 3 labels, which are not the 3 of the data" in result.output


def test_texts_without_labels_are_new_ones_that_validation_has_not(tmp_path: Path) -> None:
    rows = [
        {"text": text, "contract": contract}
        for text, contract in (
            ("new", "c"),
            (" KNOWN ", "c"),
            ("", "c"),
            ("held out", "c"),
            ("new", "d"),
            ("near", "v"),
        )
    ]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train_rows = pd.DataFrame({"same_text": [same_text("known")]})
    validation = pd.DataFrame({"same_text": [same_text("held out")], "group": ["v"]})
    config = DataConfig(train=("mail.csv",), group_column="contract")
    assert read_unlabelled(["more.jsonl"], config, tmp_path, train_rows, validation) == ["new"]


def test_other_texts_for_the_teachers_make_another_training(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "mail")
    folder = tmp_path / "mail"
    more = (
        "[distillation]\nunlabelled = ['more.csv']\nmixtures = 1\n\n"
        "[[distillation.train_teachers]]\nepochs = 2\n\n[policy]"
    )
    config = folder / "mail.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("[policy]", more), encoding="utf-8")
    asked = []
    for texts in ("text\npay the bill now\n", "text\npay the bill now\nno hotel at night\n"):
        (folder / "more.csv").write_text(texts, encoding="utf-8")
        result = train(folder)
        assert result.exit_code == 0, result.output
        asked.append(np.load(folder / "work/training/taught-1.npy").shape)
    assert asked[1][0] == asked[0][0] + 2  # the text and its mixture
    bundle = load_bundle(folder / "bundles/mail")
    assert "1 teacher:" in (bundle.folder / "card.md").read_text(encoding="utf-8")


def test_a_teacher_from_the_student_s_own_work_folder_is_refused(place: Path, tmp_path: Path) -> None:
    for name in ("mail.csv", "mail.toml", "sources.toml"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    shutil.copytree(place / "work/training", tmp_path / "work/training")
    with (tmp_path / "mail.toml").open("a", encoding="utf-8") as config:
        config.write(f'\n[distillation]\nteachers = ["{tmp_path}/work/training/network"]\n')
    result = train(tmp_path)
    assert result.exit_code == 2
    assert "is this training's own" in result.output
    assert (tmp_path / "work/training/network/config.json").is_file()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_goes_wrong_in_the_exchange_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self == new:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(error):
        put_into_place(new, old, tmp_path / "replaced")
    assert (old / "name").read_text() == "old"
