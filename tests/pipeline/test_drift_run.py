"""Drift of a run's documents from the rows that certified the bundle: found, published, and heeded."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle, write_bundle_manifest
from models.classifier import Classifier
from models.drift import drift_reference
from pipelines.classify import classify
from pipelines.run_descriptions import describe_run
from pipelines.runs import list_runs, published_run
from pipelines.verification import verify_run
from schemas.codes import DriftFigure
from schemas.errors import ContractError
from schemas.run_config import QualityConfig, RunConfig
from tests.support.made_up_certificate import made_up_certificate
from tests.support.small_runs import config_of, docyard, opened, published_hashes, read_published, write_jsonl

_WORDS = {
    "billing": "please refund my card payment twice invoice",
    "delivery": "where is my parcel courier late address",
    "technical": "the app crash error screen broken",
    "account": "i cannot login password reset email",
}
_CERTIFYING = 400


def _texts(n: int, seed: int, subjects: tuple[str, ...] = tuple(_WORDS)) -> list[str]:
    """Texts of 4 to 10 words of a subject each, drawn alike for every seed."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(_WORDS[draw.choice(subjects)].split(), k=draw.randint(4, 10))) for _ in range(n)]


def _gibberish(n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("qzxjkvw0123", k=9)) + " " + "".join(draw.choices("zqxj", k=12)) for _ in range(n)]


@pytest.fixture(scope="module")
def bundle(tiny_bundle_unchanged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, certified on made-up counts with the spread of real answers as its reference."""
    return _certified(tiny_bundle_unchanged, tmp_path_factory.mktemp("bundle") / "tiny")


def _certified(source: Path, folder: Path, last_date: str | None = None) -> Path:
    shutil.copytree(source, folder)
    texts = _texts(_CERTIFYING, seed=1)
    loaded = load_bundle(folder)
    classifier = Classifier(loaded)
    reference = drift_reference(classifier.classify(texts), loaded.policy, [len(text) for text in texts])
    classifier.close()
    (folder / "certificate.json").unlink()
    made_up_certificate(folder, reference=reference, last_date=last_date)
    one = loaded.manifest
    write_bundle_manifest(
        folder, name=one.name, created=one.created, document_type=one.document_type, max_tokens=one.max_tokens,
        training=one.training, fingerprint=one.fingerprint, reading=one.reading,
    )  # fmt: skip
    return folder


def _config(folder: Path, bundle: Path, texts: list[str], **quality: Any) -> RunConfig:
    documents = [{"id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    source = write_jsonl(folder / "documents.jsonl", documents)
    return config_of(source, bundle, folder / "warehouse", quality=QualityConfig(**quality))


@pytest.mark.parametrize("n_documents", [30, 300])
def test_a_run_like_the_certifying_rows_is_not_flagged(tmp_path: Path, bundle: Path, n_documents: int) -> None:
    manifest = classify(_config(tmp_path, bundle, _texts(n_documents, seed=2)), ())
    assert manifest.drift["ticket"]["stale"] is False
    table = read_published(tmp_path / "warehouse", "drift")
    assert sorted(table["figure"]) == sorted(figure.value for figure in DriftFigure)
    assert not table["drifted"].any()
    assert set(table["rows"]) == {n_documents}
    assert set(table["reference_rows"]) == {_CERTIFYING}
    assert "stale" not in describe_run(manifest, tmp_path / "warehouse")
    verify_run(opened(tmp_path / "warehouse"), manifest.run_id)


@pytest.mark.parametrize(
    ("texts", "figures"),
    [
        pytest.param(_texts(300, 3, ("billing", "delivery")), {"label_psi", "label_js"}, id="another mix of labels"),
        pytest.param(_gibberish(300, 3), {"vocabulary", "familiarity", "strangers"}, id="gibberish"),
        pytest.param(
            [f"{a} {b}" for a, b in zip(_texts(300, 3), _texts(300, 3), strict=True)], {"length"}, id="longer"
        ),
    ],
)
def test_planted_drift_is_found_and_shown(tmp_path: Path, bundle: Path, texts: list[str], figures: set[str]) -> None:
    manifest = classify(_config(tmp_path, bundle, texts), ())
    found = manifest.drift["ticket"]
    assert found["stale"]
    assert figures <= {name for name, figure in found["figures"].items() if figure["drifted"]}
    table = read_published(tmp_path / "warehouse", "drift")
    assert figures <= set(table["figure"][table["drifted"]])
    assert table["stale"].all()
    quality = json.loads((tmp_path / "warehouse" / "runs" / manifest.run_id / "quality.json").read_bytes())
    assert quality["drift"] == manifest.drift
    assert list_runs(tmp_path / "warehouse")[0]["stale"] == ["ticket"]
    assert "stale       the certificate of ticket" in docyard("show", "--warehouse", tmp_path / "warehouse").stdout


def test_figures_do_not_depend_on_the_shards(tmp_path: Path, bundle: Path) -> None:
    texts = [*_texts(50, 4), *_gibberish(40, 4)]
    whole = _config(tmp_path / "whole", bundle, texts)
    parts = _config(tmp_path / "parts", bundle, texts)
    parts = replace(parts, reading=replace(parts.reading, shard_rows=7))
    assert classify(whole, ()).drift == classify(parts, ()).drift


def test_documents_that_came_twice_count_once(tmp_path: Path, bundle: Path) -> None:
    texts = _texts(40, 5)
    once = classify(_config(tmp_path / "once", bundle, texts), ())
    config = _config(tmp_path / "twice", bundle, texts)
    source = Path(config.inputs[0].paths[0])
    source.write_text(source.read_text() * 2)
    assert classify(config, ()).drift == once.drift


def test_a_stale_run_accepts_nothing_where_the_configuration_escalates(tmp_path: Path, bundle: Path) -> None:
    texts = _texts(200, 3, ("billing", "delivery"))
    assert classify(_config(tmp_path / "reported", bundle, texts), ()).counts["accepted"] > 50
    config = _config(tmp_path, bundle, texts, on_drift="escalate")
    manifest = classify(config, ())
    assert manifest.counts["accepted"] == 0
    assert manifest.counts["route_reasons"]["stale"] > 50
    classified = read_published(tmp_path / "warehouse", "classifications")
    assert set(classified["route"]) == {"escalated"}
    assert len(read_published(tmp_path / "warehouse", "escalations")) == len(classified) == 200
    verify_run(opened(tmp_path / "warehouse"), manifest.run_id)
    assert [run["status"] for run in list_runs(tmp_path / "warehouse")] == ["published", "failed"]


def test_a_run_like_the_certifying_rows_is_accepted_where_the_configuration_escalates(
    tmp_path: Path, bundle: Path
) -> None:
    manifest = classify(_config(tmp_path, bundle, _texts(200, 6), on_drift="escalate"), ())
    assert manifest.counts["accepted"] > 50
    assert len(list_runs(tmp_path / "warehouse")) == 1


def test_a_stale_run_publishes_nothing_where_the_configuration_says_so(tmp_path: Path, bundle: Path) -> None:
    config = _config(tmp_path, bundle, _gibberish(200, 3), on_drift="fail")
    with pytest.raises(ContractError, match=r"ticket: .*exceeds its limit .*Nothing is published"):
        classify(config, ())
    assert published_hashes(tmp_path / "warehouse") == {}


@pytest.mark.parametrize(("days", "stale"), [(30, True), (31, False), (0, False)])
def test_a_certificate_ends_some_days_after_its_last_row(
    tmp_path: Path, tiny_bundle_unchanged: Path, days: int, stale: bool
) -> None:
    dated = _certified(tiny_bundle_unchanged, tmp_path / "bundle", last_date="2025-12-31")  # the run is of 2026-01-31
    config = _config(tmp_path, dated, _texts(60, 6), certificate_days=days, on_drift="escalate")
    manifest = classify(config, ())
    assert manifest.drift["ticket"]["stale"] is stale
    assert (manifest.counts["accepted"] == 0) is stale
    assert len(list_runs(tmp_path / "warehouse")) == 1  # known before the first document


def test_a_certificate_without_a_reference_compares_nothing(tmp_path: Path, tiny_bundle_unchanged: Path) -> None:
    manifest = classify(_config(tmp_path, tiny_bundle_unchanged, _gibberish(20, 1)), ())
    assert manifest.drift["ticket"]["figures"] == {}
    assert len(read_published(tmp_path / "warehouse", "drift")) == 0
    assert published_run(tmp_path / "warehouse", None).run_id == manifest.run_id
