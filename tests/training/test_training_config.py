"""A training's configuration is refused at once where it could only fail after hours."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from models.training.card import describe_method
from models.training.config import DataConfig, TrainingConfig, read_training_config
from models.training.network import find_base_model, folder_digest
from schemas.errors import ConfigError
from tests.support.tiny_base import write_tiny_base

MINIMAL = 'name = "letters"\ndocument_type = "letter"\n\n[data]\ntrain = ["letters.csv"]\n'


def read(tmp_path: Path, content: str) -> TrainingConfig:
    path = tmp_path / "config.toml"
    path.write_text(content, encoding="utf-8")
    return read_training_config(path)


def test_five_lines_are_enough(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL)
    assert config == TrainingConfig(name="letters", document_type="letter", data=DataConfig(train=("letters.csv",)))
    assert config.reading_rules.template == ""
    assert config.reading_rules.window_overlap is None


def test_the_template_and_the_windows_become_the_rules_of_the_bundle(tmp_path: Path) -> None:
    content = MINIMAL + 'template = "{shop} | {amount:.2f}"\n[reading]\nwindow_overlap = 32\n'
    rules = read(tmp_path, content).reading_rules
    assert (rules.template, rules.split, rules.window_overlap) == ("{shop} | {amount:.2f}", "none", 32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('name = "letters"', 'name = "Letters!"'), "name: expected lower-case"),
        (('"letter"', '"Letter"'), "document_type: expected a lower-case"),
        (('["letters.csv"]', "[]"), "data.train: nothing to train on"),
        (("[data]", "epochs = 3\n[data]"), "unknown key 'epochs'"),
        (("[data]", "max_tokens = 2\n[data]"), "max_tokens: expected at least 3, found 2"),
        (('name = "letters"', ""), "'name' is missing"),
        (("[data]", '[card]\nfile = "absent.md"\n[data]'), "absent.md: no such file"),
        (("[data]", '[reading]\nsplit = "pages"\n[data]'), "reading.split: expected 'none' or 'paragraphs'"),
        (("[data]", "[reading]\nwindow_overlap = 200\n[data]"), "window_overlap: expected 0 to"),
        (("[data]", "[data]\nvalidation_share = 1.0"), "data.validation_share"),
        (("[data]", '[data]\ntemplate = "no field"'), "at least one field"),
        (("[data]", "[export]\nactivation_percentiles = [5.0]\n[data]"), "activation_percentiles"),
        (("[data]", "[distillation]\nmixtures = 1\n[data]"), "name teachers or train_teachers"),
        (("[data]", '[distillation]\nteachers = ["t"]\n[data]\nvotes = ["v.csv"]'), "remove one of them"),
        (("[data]", "[data"), "not a readable TOML file"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_the_file(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        read(tmp_path, MINIMAL.replace(*change))
    assert "config.toml" in str(refused.value)


def test_a_folder_serves_as_base_model(tmp_path: Path) -> None:
    folder = write_tiny_base(tmp_path / "base")
    assert find_base_model(str(folder), 128) == folder
    before = folder_digest(folder)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert folder_digest(folder) != before


def test_a_base_model_that_cannot_serve_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = write_tiny_base(tmp_path / "base")
    with pytest.raises(ConfigError, match="reads 128 tokens, max_tokens asks for 256"):
        find_base_model(str(folder), 256)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"bert"', '"gpt2"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="kind 'gpt2'; expected one of bert, mpnet"):
        find_base_model(str(folder), 128)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"has no tokenizer.json"):
        find_base_model(str(folder), 128)
    with pytest.raises(ConfigError, match="neither an installed package"):
        find_base_model("no-such-owner/no-such-model", 128)


def test_the_method_names_every_technique(tmp_path: Path) -> None:
    content = (
        "[lora]\nrank = 8\n[pruning]\nlayers = [0, 2]\nvocabulary = 8000\n"
        "[distillation]\ntrain_teachers = [{ count = 1 }]\nlinear_teacher = true\nteachers = ['t']\n"
        "[hygiene]\nmax_rows_per_label = 900\n"
    )
    sentences = " ".join(describe_method(read(tmp_path, MINIMAL + content), 1000))
    said = (
        "layers, 0, 2 were kept",
        "8,000 were kept",
        "3 teachers",
        "at most 900 rows",
        "LoRA of rank 8",
        "1,000 rows",
    )
    for words in said:
        assert words in sentences


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("fine_tuning.epochs", "0", "at least 1, found 0"),
        ("fine_tuning.batch_documents", "0", "at least 1, found 0"),
        ("fine_tuning.label_smoothing", "1.0", r"a number in \[0, 1\), found 1.0"),
        ("fine_tuning.encoder_learning_rate", "nan", "a finite number"),
        ("distillation.weight", "7.0", r"a number in \[0, 1\], found 7.0"),
        ("distillation.temperature", "0.0", "more than 0, found 0.0"),
        ("lora.rank", "-1", "at least 0, found -1"),
        ("parity.max_label_flips", "2.0", r"a number in \[0, 1\], found 2.0"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_its_name(tmp_path: Path, key: str, value: str, expected: str) -> None:
    table, name = key.split(".")
    with pytest.raises(ConfigError, match=rf"config\.toml: {key}: expected {expected}"):
        read(tmp_path, f"{MINIMAL}[{table}]\n{name} = {value}\n")


def test_a_card_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards/mine.md").write_text("# Mine\n", encoding="utf-8")
    assert read(tmp_path, MINIMAL + "[card]\nfile = 'cards/mine.md'\n").card.file == "cards/mine.md"


def test_the_method_of_a_network_that_was_given_claims_nothing(tmp_path: Path) -> None:
    first, second = describe_method(read(tmp_path, MINIMAL), 1000, trained_here=False)
    assert "not on record" in first
    assert "Quantized" in second
