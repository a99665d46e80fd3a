"""`docyard compare`: two bundles on labelled rows, or on the documents of a published run."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from models.bundle import ModelBundle, load_bundle
from models.classifier import Classifier
from models.evaluation.comparison import Answers, compare_answers, routed
from models.labelled import Columns, read_evaluation_data
from models.trained_rows import FILE_NAME as TRAINING_ROWS
from models.trained_rows import parse_trained_rows
from pipelines.promotion import load_standing
from pipelines.runs import existing_warehouse
from pipelines.source_texts import texts_of_shard
from schemas.configuration import read_values
from schemas.errors import BundleError, ConfigError, InputError, VerificationError
from schemas.fields import parse_text_template
from schemas.run_config import STANDING, RunConfig
from schemas.tables import CLASSIFICATIONS
from transforms.plan_shards import plan_shards
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.manifest import read_manifest
from warehouse.register import read_register


@dataclass(frozen=True)
class Rows:
    """Texts for both bundles.

    Attributes:
        source: their origin, in words.
        old_texts: (n,) as the old bundle reads them.
        new_texts: (n,) as the new one does.
        right: (n,) their right labels; None where nobody knows them.
        facts: further keys of the result.
    """

    source: str
    old_texts: Sequence[str]
    new_texts: Sequence[str]
    right: Sequence[Sequence[str]] | None
    facts: dict[str, Any]


def load_pair(old: Path, new: Path, warehouse: str) -> tuple[ModelBundle, ModelBundle]:
    """Both bundles; "standing" for the old one is the warehouse's standing bundle of the new one's document type.

    Raises:
        BundleError: one cannot be loaded, or they are for different document types.
    """
    new_bundle = load_bundle(new)
    if str(old) == STANDING:
        place = existing_warehouse(warehouse)
        old_bundle = load_standing(place, read_register(place), new_bundle.document_type)
    else:
        old_bundle = load_bundle(old)
    if old_bundle.document_type != new_bundle.document_type:
        raise BundleError(
            f"{old} is made for documents of type {old_bundle.document_type!r}, {new} for "
            f"{new_bundle.document_type!r}; compare bundles of one type"
        )
    return old_bundle, new_bundle


def labelled_rows(data: Path, columns: Columns, old: ModelBundle, new: ModelBundle) -> Rows:
    """Labelled rows; each bundle's template makes its texts, unless a text column is named.

    Raises:
        InputError: the file cannot be read, or a row of it.
        ConfigError: a column is not there.
    """
    found = [read_evaluation_data(data, _with_texts(columns, bundle)) for bundle in (old, new)]
    right = found[0].right_labels or tuple((label,) for label in found[0].labels)
    sha256 = hashlib.sha256(data.read_bytes()).hexdigest()
    facts = {
        "data_sha256": sha256,
        "rows_trained_on": {"old": _trained_on(old, found[0].texts), "new": _trained_on(new, found[1].texts)},
        "rows_certified_by": {"old": _certified_by(old, sha256), "new": _certified_by(new, sha256)},
    }
    return Rows(data.name, found[0].texts, found[1].texts, right, facts)


def _with_texts(columns: Columns, bundle: ModelBundle) -> Columns:
    if columns.text:
        return columns
    if bundle.reading.template:
        return dataclasses.replace(columns, template=parse_text_template(bundle.reading.template))
    return dataclasses.replace(columns, text="text")


def _trained_on(bundle: ModelBundle, texts: Sequence[str]) -> int | None:
    """Rows that trained the bundle; None where it does not know them, or not by their texts alone."""
    if TRAINING_ROWS not in bundle.manifest.files:
        return None
    known = parse_trained_rows(bundle.read(TRAINING_ROWS), str(bundle.folder / TRAINING_ROWS))
    return None if known.by_id else int(known.holds(texts, None).sum())


def _certified_by(bundle: ModelBundle, sha256: str) -> bool:
    """True where the bundle's policy was chosen and proven on the file with this hash."""
    return bundle.certificate is not None and bundle.certificate.data_sha256 == sha256


def run_rows(warehouse_folder: str, run_date: str, most: int, old: ModelBundle, new: ModelBundle) -> Rows:
    """Documents of the published run of a date, read again where the run found them: its tables hold no such texts.

    Args:
        warehouse_folder: the warehouse.
        run_date: of the run.
        most: documents to take; of more, those with the least hashes of their ids, always the same ones.
        old: both bundles, of one document type and with one way to read.
        new: likewise.

    Raises:
        VerificationError: no run of the date has documents of that type.
        InputError: the input files are gone, or none of the documents is in them any more.
        BundleError: the bundles read documents in different ways.
    """
    if (old.reading.template, old.reading.split) != (new.reading.template, new.reading.split):
        raise BundleError(
            f"{old.reference} and {new.reference} make different texts of a document (template, split); compare them "
            "with --data"
        )
    warehouse, kind = existing_warehouse(warehouse_folder), old.document_type
    partition = Partition(run_date, kind)
    run_id = warehouse.published_by(CLASSIFICATIONS, partition)
    if run_id is None:
        raise VerificationError(
            f"no run of {run_date} with documents of type {kind!r} in {warehouse_folder}; `docyard runs` lists them"
        )
    wanted, n_published = _sample(warehouse, partition, most)
    config = read_values(RunConfig, read_manifest(warehouse, run_id).config, f"manifest of {run_id}", VerificationError)
    texts = _read_again(_inputs_of(config, kind, old), wanted, warehouse)
    if not texts:
        raise InputError(
            f"none of the {len(wanted):,} documents of run {run_id} is where the run read it any more; put its files "
            "back, or compare with --data"
        )
    facts = {"run_id": run_id, "published": n_published, "sampled": len(wanted), "not_found": len(wanted) - len(texts)}
    return Rows(f"run {run_id}", texts, texts, None, facts)


def _sample(warehouse: Warehouse, partition: Partition, most: int) -> tuple[set[tuple[str, str]], int]:
    """Id and content hash of a sample of the published documents, and how many are published."""
    keys = []
    for name in warehouse.files(CLASSIFICATIONS, partition):
        with warehouse.open(name) as content:
            table = pq.ParquetFile(content).read(["document_id", "content_hash"])
        keys += list(zip(table["document_id"].to_pylist(), table["content_hash"].to_pylist(), strict=True))
    drawn = sorted(keys, key=lambda key: hashlib.sha256(key[0].encode("utf-8", "surrogatepass")).digest())[:most]
    return set(drawn), len(keys)


def _inputs_of(config: RunConfig, document_type: str, bundle: ModelBundle) -> RunConfig:
    inputs = tuple(
        dataclasses.replace(item, split=item.split or bundle.reading.split)
        for item in config.inputs
        if item.document_type == document_type
    )
    return dataclasses.replace(config, inputs=inputs)


def _read_again(config: RunConfig, wanted: set[tuple[str, str]], warehouse: Warehouse) -> list[str]:
    """The texts of the wanted documents that are unchanged, in the order of their ids."""
    found: dict[tuple[str, str], str] = {}
    ids = [document_id for document_id, _ in wanted]
    for shard in plan_shards(config):
        for document_id, content_hash, text in texts_of_shard(shard, config, warehouse, ids):
            if (document_id, content_hash) in wanted:
                found.setdefault((document_id, content_hash), text)
    return [found[key] for key in sorted(found)]


def compare_bundles(old: ModelBundle, new: ModelBundle, rows: Rows, first_tier: str) -> dict[str, Any]:
    """Answers the rows with both bundles; the result as plain values.

    Raises:
        BundleError: this machine does not answer as a bundle records.
    """
    before = _answers(old, rows.old_texts, first_tier)
    after = _answers(new, rows.new_texts, first_tier)
    return {
        "old": old.reference,
        "new": new.reference,
        "document_type": old.document_type,
        "source": rows.source,
        **rows.facts,
        **compare_answers(before, after, rows.right),
    }


def _answers(bundle: ModelBundle, texts: Sequence[str], first_tier: str) -> Answers:
    classifier = Classifier(bundle, first_tier=first_tier)
    try:
        return routed(classifier.classify(texts), bundle.policy, first_tier)
    finally:
        classifier.close()


def check_source(data: Path | None, run_date: str | None) -> None:
    """Refuses a command line that names no rows, or rows twice.

    Raises:
        ConfigError: likewise.
    """
    if (data is None) == (run_date is None):
        raise ConfigError("give either --data FILE with labelled rows, or --run-date with the date of a published run")
