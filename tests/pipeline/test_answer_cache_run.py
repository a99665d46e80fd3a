"""Runs with the answer cache: the same bytes published, and only what is new answered by the model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.scores import Scores
from pipelines.classify import classify
from schemas.errors import ConfigError
from schemas.run_config import ClassificationConfig, ReadingConfig, RunConfig
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.small_runs import (
    config_of,
    documents,
    docyard,
    flip_byte,
    published_hashes,
    read_published,
    write_jsonl,
)
from warehouse.answers import AnswerCache

pytestmark = pytest.mark.slow

TOMORROW = "2026-02-01"


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a model was asked about since, those of the fingerprint left out."""
    texts: list[str] = []
    whole = Classifier.classify

    def noting(self: Classifier, given: Sequence[str], encoder_only: bool = False) -> Scores:
        if not encoder_only:
            texts.extend(given)
        return whole(self, given, encoder_only)

    monkeypatch.setattr(Classifier, "classify", noting)
    return texts


def numbered(n: int) -> list[dict[str, str]]:
    """Documents of n different texts; every tenth has none."""
    return [{**record, "text": record["text"] and f"{record['text']} {i}"} for i, record in enumerate(documents(n))]


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Path) -> RunConfig:
    source = write_jsonl(tmp_path / "in/a.jsonl", numbered(60)).parent
    return config_of(source, tiny_bundle, tmp_path / "warehouse")


def test_the_same_input_again_asks_no_model_and_publishes_the_same_bytes(
    config: RunConfig, answered: list[str]
) -> None:
    first = classify(config, ())
    before = published_hashes(Path(config.warehouse))
    assert len(answered) == 54
    assert first.counts["cached"] == 0
    answered.clear()
    again = classify(config, ())
    assert answered == []
    assert again.counts["cached"] == 54
    assert published_hashes(Path(config.warehouse)) == before
    without = replace(config, classification=ClassificationConfig(threads=1, cache_megabytes=0))
    assert classify(without, ()).counts["cached"] == 0
    assert len(answered) == 54
    assert published_hashes(Path(config.warehouse)) == before


def test_a_growing_export_pays_for_what_is_new(config: RunConfig, answered: list[str]) -> None:
    classify(config, ())
    answered.clear()
    source = Path(config.inputs[0].paths[0])
    write_jsonl(source / "a.jsonl", numbered(70))
    manifest = classify(replace(config, run_date=TOMORROW), ())
    assert sorted(answered) == sorted(record["text"] for record in numbered(70)[60:] if record["text"])
    assert manifest.counts["cached"] == 54
    fresh = config_of(
        source, Path(config.inputs[0].bundle), Path(config.warehouse).with_name("fresh"), run_date=TOMORROW
    )
    classify(fresh, ())
    for table in ("classifications", "escalations", "rejections"):
        cached, alone = (read_published(Path(each.warehouse), table, TOMORROW) for each in (config, fresh))
        assert cached.equals(alone)


def test_another_bundle_or_policy_answers_for_itself(config: RunConfig, answered: list[str]) -> None:
    classify(config, ())
    answered.clear()
    folder = Path(config.inputs[0].bundle)
    bundle = folder.with_name("other")
    shutil.copytree(folder, bundle)
    loaded = load_bundle(folder)
    policy = (bundle / "policy.toml").read_text()
    (bundle / "policy.toml").write_text(policy + "\n# revised\n")
    write_certified_manifest(
        bundle, name="tiny", created="2026-11-23", document_type="ticket", max_tokens=loaded.max_tokens
    )
    [item] = config.inputs
    manifest = classify(replace(config, inputs=(replace(item, bundle=str(bundle)),)), ())
    assert manifest.counts["cached"] == 0
    assert len(answered) == 54


def test_a_run_that_failed_leaves_its_answers_to_the_next(config: RunConfig, answered: list[str]) -> None:
    strict = replace(config, quality=replace(config.quality, max_rejected_share=0.01))
    with pytest.raises(Exception, match="contract"):
        classify(strict, ())
    assert len(answered) == 54
    answered.clear()
    assert classify(config, ()).counts["cached"] == 54
    assert answered == []


def test_a_damaged_cache_costs_time_and_no_answer(config: RunConfig, answered: list[str]) -> None:
    classify(config, ())
    before = published_hashes(Path(config.warehouse))
    [base] = Path(config.warehouse).glob("_cache/*/base.*.arrow")
    flip_byte(base)
    answered.clear()
    assert classify(config, ()).counts["cached"] == 0
    assert len(answered) == 54
    assert published_hashes(Path(config.warehouse)) == before


def test_a_cache_that_cannot_be_compacted_ends_no_run(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transforms.classify_documents.compact_caches", full)
    manifest = classify(config, ())
    assert manifest.counts["classified"] == 54
    [warning] = manifest.warnings
    assert "cannot be compacted" in warning
    assert "No space left on device: the disk of " in warning
    assert caplog.text.count("cannot be compacted") == 1


@pytest.mark.parametrize("place", ["_cache", "_cache/*", "_cache/*/new"])
def test_a_cache_that_cannot_be_written_ends_no_run_and_is_said_once(
    config: RunConfig, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    classify(config, ())
    [folder] = Path(config.warehouse).glob(place)
    shutil.rmtree(folder)
    folder.touch()  # a file, which keeps everybody from writing there, even root
    others = [{**record, "text": f"{record['text']} other"} for record in numbered(60)]
    write_jsonl(Path(config.inputs[0].paths[0]) / "a.jsonl", others)
    manifest = classify(replace(config, reading=ReadingConfig(shard_rows=10)), ())
    assert manifest.counts["classified"] == 60
    [warning] = manifest.warnings
    assert "the result cache cannot be written, and the run went on without it: " in warning
    assert "/_cache: " in warning
    assert caplog.text.count(warning) == 1


def test_a_machine_that_launches_no_run_finds_its_own_answers_again(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.classify._compact", lambda plan: "")  # the launcher has another disk
    assert [classify(config, ()).counts["cached"] for _ in range(2)] == [0, 54]
    [base] = Path(config.warehouse).glob("_cache/*/base.*.arrow")
    assert len(AnswerCache(base.parent, "", 0)) == 54
    assert [*Path(config.warehouse).glob("_cache/*/new/*")] == []


def test_a_text_the_model_fails_on_is_asked_again(
    config: RunConfig, answered: list[str], model_that_fails_on_poison: bytes
) -> None:
    folder = Path(config.inputs[0].bundle)
    (folder / "model.onnx").write_bytes(model_that_fails_on_poison)
    write_certified_manifest(folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32)
    write_jsonl(
        Path(config.inputs[0].paths[0]) / "a.jsonl", [{"id": "a", "text": "poison"}, {"id": "b", "text": "refund"}]
    )
    for _ in range(2):
        manifest = classify(config, ())
        assert manifest.counts["reasons"] == {"classification_failed": 1}
    assert answered == ["poison", "refund", "poison"]


def test_several_workers_fill_one_cache(config: RunConfig) -> None:
    source = Path(config.inputs[0].paths[0])
    for name in "bcd":
        write_jsonl(source / f"{name}.jsonl", [{**record, "id": name + record["id"]} for record in numbered(50)])
    options = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    classify(config, options)
    manifest = classify(config, options)
    assert manifest.counts["cached"] == manifest.counts["classified"] == 54 + 3 * 45


def test_the_report_says_what_came_from_the_cache(config: RunConfig) -> None:
    arguments = [
        *("classify", "--input", config.inputs[0].paths[0], "--document-type", "ticket"),
        *("--bundle", config.inputs[0].bundle, "--warehouse", config.warehouse, "--run-date", TOMORROW),
    ]
    assert "from cache" not in docyard(*arguments).stdout
    assert "from cache          54" in docyard(*arguments).stdout


def test_a_size_below_zero_is_refused(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="cache_megabytes: expected at least 0, found -1"):
        replace(config, classification=ClassificationConfig(cache_megabytes=-1))


def test_the_cache_holds_neither_text_nor_id(config: RunConfig) -> None:
    classify(config, ())
    [base] = Path(config.warehouse).glob("_cache/*/base.*.arrow")
    content = base.read_bytes()
    assert len(AnswerCache(base.parent, "", 0)) == 54
    for record in numbered(60):
        if record["text"]:
            assert record["text"].encode() not in content
    assert b"d10" not in content
