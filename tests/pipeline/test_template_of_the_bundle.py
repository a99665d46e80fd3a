from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from models.bundle_manifest import ReadingRules
from pipelines.classify import prepare
from schemas.errors import ConfigError
from schemas.run_config import InputConfig, load_config
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.small_runs import check_refused, classify_arguments, config_of, docyard, read_published

_TEMPLATE = "{request} | {amount:.2f}"


@pytest.fixture
def bundle(tiny_bundle: Path) -> Path:
    """The tiny bundle, trained on texts of a template."""
    old = load_bundle(tiny_bundle)
    write_certified_manifest(
        tiny_bundle,
        name=old.name,
        created=old.manifest.created,
        document_type=old.document_type,
        max_tokens=old.max_tokens,
        fingerprint=old.fingerprint,
        reading=ReadingRules(template=_TEMPLATE),
    )
    return tiny_bundle


@pytest.fixture
def source(tmp_path: Path) -> Path:
    lines: list[dict[str, Any]] = [
        {"id": "1", "request": "please refund my card payment twice", "amount": 94.93, "ready": "refund | 94.93"},
        {"id": "2", "request": None, "amount": None},
        {"id": "3", "request": "refund", "amount": "swordfish"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "in.csv").write_text("id,request,amount\n4,please refund my card payment twice,94.930\n")
    return tmp_path / "in.*"


def _resolved(bundle: Path, tmp_path: Path, source: Path, **mapping: Any) -> InputConfig:
    item = InputConfig((str(source),), "ticket", str(bundle), **mapping)
    plan, _ = prepare(config_of((item,), bundle, tmp_path / "warehouse"))
    return plan.config.inputs[0]


def test_an_input_takes_the_template_of_its_bundle_unless_it_has_one(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    assert _resolved(bundle, tmp_path, source).text_template == _TEMPLATE
    assert _resolved(bundle, tmp_path, source, text_template="{ready}").text_template == "{ready}"


def test_without_a_template_the_text_field_counts(tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    item = _resolved(tiny_bundle, tmp_path, source, text_field="ready")
    assert (item.text_template, item.text_field) == ("", "ready")


def test_a_text_field_against_the_bundles_template_is_refused_and_says_what_to_write(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    arguments = [*classify_arguments(source, bundle, tmp_path / "warehouse"), "--text-field", "ready"]
    check_refused(docyard(*arguments), 2, "text_field 'ready'", _TEMPLATE, 'text_template = "{ready}"')
    assert not (tmp_path / "warehouse").exists()


def test_a_run_classifies_the_texts_that_the_template_makes(bundle: Path, source: Path, tmp_path: Path) -> None:
    result = docyard(*classify_arguments(source, bundle, tmp_path / "warehouse"))
    assert result.exit_code == 0, result.output
    classified = read_published(tmp_path / "warehouse", "classifications").set_index("document_id")
    assert sorted(classified.index) == ["1", "4"]
    assert classified.loc["1", "content_hash"] == classified.loc["4", "content_hash"]  # 94.93 and "94.930"
    rejected = read_published(tmp_path / "warehouse", "rejections").set_index("document_id")
    assert rejected["reason_code"].to_dict() == {"2": "missing_text", "3": "wrong_type"}
    assert "swordfish" not in str(rejected["detail"].to_list())


def test_the_flag_gives_a_template(tiny_bundle: Path, source: Path, tmp_path: Path) -> None:
    arguments = classify_arguments(source, tiny_bundle, tmp_path / "warehouse")
    result = docyard(*arguments, "--text-template", "{request}")
    assert result.exit_code == 0, result.output
    assert len(read_published(tmp_path / "warehouse", "classifications")) == 3
    check_refused(docyard(*arguments, "--text-template", "{request"), 2, "text_template", "character 0")


def test_a_template_and_a_text_field_in_one_input_are_refused() -> None:
    item = {"paths": ["a"], "document_type": "t", "bundle": "b", "text_template": "{a}", "text_field": "body"}
    with pytest.raises(ConfigError, match=r"text_template and text_field 'body'.*remove one"):
        load_config(None, {"run_date": "2026-01-31", "warehouse": "w", "inputs": [item]})
