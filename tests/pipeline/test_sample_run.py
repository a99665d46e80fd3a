"""A run over a sample of all four kinds: every record that is announced as broken is rejected so, and no other."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from models.bundle_manifest import ReadingRules
from pipelines.classify import classify
from pipelines.run_descriptions import describe_run
from pipelines.sampling.export import SampleSummary
from pipelines.sampling.samples import RUN_FILE, WRITERS, write_samples
from pipelines.verification import verify_run
from schemas.run_config import load_config
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.small_runs import read_published
from warehouse.folder import FolderWarehouse
from warehouse.manifest import Manifest

RUN_DATE = "2026-11-22"
READING = {
    "transaction": ReadingRules(template="{merchant} | {amount:.2f} | {vat} | {cost_centre} | {directorate}"),
    "contract": ReadingRules(split="paragraphs"),
    "receipt": ReadingRules(window_overlap=8),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample_run")


@pytest.fixture(scope="module")
def summaries(folder: Path) -> dict[str, SampleSummary]:
    return write_samples(folder / "documents", WRITERS, 300, 5)


@pytest.fixture(scope="module")
def manifest(folder: Path, summaries: dict[str, SampleSummary], tiny_bundle_unchanged: Path) -> Manifest:
    """The run of the sample's own configuration, by the tiny bundle made for each kind."""
    for kind in WRITERS:
        bundle = Path(shutil.copytree(tiny_bundle_unchanged, folder / "bundles" / kind))
        reading = READING.get(kind, ReadingRules())
        write_certified_manifest(
            bundle, name=kind, created=RUN_DATE, document_type=kind, max_tokens=32, reading=reading
        )
    config = load_config(folder / "documents" / RUN_FILE, {"warehouse": str(folder / "warehouse")})
    inputs = (replace(item, bundle=str(folder / "bundles" / item.document_type)) for item in config.inputs)
    return classify(replace(config, inputs=tuple(inputs)), ())


@pytest.fixture(scope="module")
def rejections(folder: Path, manifest: Manifest) -> pd.DataFrame:
    return read_published(folder / "warehouse", "rejections", RUN_DATE)


def truth_of(summary: SampleSummary) -> list[dict[str, str]]:
    with summary.truth.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", list(WRITERS))
def test_what_is_announced_as_broken_is_rejected_and_nothing_else(
    kind: str, summaries: dict[str, SampleSummary], rejections: pd.DataFrame
) -> None:
    own = rejections[rejections["document_type"] == kind]
    found = Counter((Path(uri).name, reason) for uri, reason in zip(own["source_uri"], own["reason_code"], strict=True))
    announced = Counter((row["file"], row["label"]) for row in truth_of(summaries[kind]) if row["outcome"] == "broken")
    assert found == announced
    assert len(own) == summaries[kind].n_broken


def test_every_good_record_is_classified(folder: Path, manifest: Manifest, summaries: dict[str, SampleSummary]) -> None:
    rows = read_published(folder / "warehouse", "classifications", RUN_DATE)
    rows["document"] = rows["parent_id"].fillna(rows["document_id"])
    for kind, summary in summaries.items():
        good = {row["document_id"] for row in truth_of(summary) if row["outcome"] != "broken"}
        assert set(rows.loc[rows["document_type"] == kind, "document"]) == good
    assert manifest.counts["read"] == sum(summary.n_documents for summary in summaries.values())


def test_every_kind_is_counted_and_said_by_itself(
    folder: Path, manifest: Manifest, summaries: dict[str, SampleSummary], rejections: pd.DataFrame
) -> None:
    rows = read_published(folder / "warehouse", "classifications", RUN_DATE)
    said = describe_run(manifest, folder / "warehouse").splitlines()
    for kind, summary in summaries.items():
        counts = manifest.counts["by_document_type"][kind]
        routes = rows.loc[rows["document_type"] == kind, "route"].value_counts()
        assert counts["read"] == summary.n_documents
        assert counts["read"] + counts["split_off"] == counts["classified"] + counts["rejected"]
        assert (counts["accepted"], counts["escalated"]) == (routes.get("accepted", 0), routes.get("escalated", 0))
        assert counts["rejected"] == (rejections["document_type"] == kind).sum()
        shown = [f"{counts[name]:,}" for name in ("read", "classified", "accepted", "escalated", "rejected")]
        assert [kind, *shown] in [line.split() for line in said]
    verify_run(FolderWarehouse(folder / "warehouse"), manifest.run_id)
