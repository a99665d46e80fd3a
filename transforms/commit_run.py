"""Checks that everything balances and holds, then publishes the run, all or nothing."""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from operator import attrgetter

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_quality.contracts import QualityReport, RejectedGroup, check_contracts
from models.label_tree import parents_of
from schemas.codes import Reason, Route, Stage
from schemas.errors import BalanceError, ContractError, InputError
from schemas.run_config import AUTO_TYPE, RunConfig
from schemas.tables import DOCUMENT_TABLES, DRIFT, PUBLISHED_TABLES
from transforms.check_drift import Currency, check_drift, drift_table
from transforms.deduplicate import published_name, reject_duplicates
from transforms.redo import take_over
from transforms.run_plan import RunPlan
from transforms.stage_shard import Receipt, RejectedExample, stage_table, total
from warehouse.manifest import Manifest, RunStatus, ShardTime, TableFile, is_published, read_manifest, record_name

QUALITY_FILE = "quality.json"
SLOWEST_SHARDS = 10
_AFTER_SPLIT = (Stage.CLASSIFY, Stage.COMMIT)

logger = logging.getLogger(__name__)


def commit_run(receipts: list[Receipt], plan: RunPlan) -> Manifest:
    """Publishes what the receipts name, or nothing. Calling it again after a kill at any point is safe.

    Raises:
        InputError: no record was read at all.
        BalanceError: a shard is missing, or records and outcomes do not add up.
        ContractError: the data contract failed.
        LockedError: a later run took a partition over.
    """
    warehouse = plan.warehouse
    if is_published(warehouse, plan.run_id):
        return read_manifest(warehouse, plan.run_id)
    started = time.perf_counter()
    receipts = sorted(receipts, key=attrgetter("position"))
    check_complete(receipts, plan.n_shards)
    receipts += take_over(plan, receipts)
    if not any(receipt.read for receipt in receipts):
        paths = ", ".join(path for item in plan.config.inputs for path in item.paths)
        raise InputError(
            f"no record in any input file of {paths}: CSV needs rows below its header, JSON Lines a line that is not "
            "blank; nothing is published"
        )
    rows = sum(receipt.read + receipt.unpacked + receipt.split_off for receipt in receipts)
    receipts = reject_duplicates(plan, receipts)
    check_balance(receipts, rows)
    warehouse.check_staged(plan.run_id, [file for receipt in receipts for file in receipt.files])
    quality = plan.config.quality
    currencies = check_drift(receipts, plan)
    drift = {document_type: drift_table(document_type, found, plan) for document_type, found in currencies.items()}
    samples = _samples(plan, receipts, quality.sample_rows) | {DRIFT.name: _drift_sample(drift)}
    detected_types = {name for group in plan.kind_groups for name in group.document_types}
    report = check_contracts(count_frame(receipts, detected_types), samples, quality, rejected_groups(receipts))
    _write_quality(plan, report, currencies)
    for group in report.rejected:
        logger.info("%s rejected: %s", group.document_type, group.words())
    if not report.passed:
        raise ContractError(
            f"the data contract failed: {report.explanation()} Nothing is published; see "
            f"{warehouse.location(record_name(plan.run_id, QUALITY_FILE))}"
        )
    _heed(currencies, plan)
    logger.info(
        "%d receipts balance, the contract holds; publishing %s", len(receipts), ", ".join(map(str, plan.partitions))
    )
    sources = {published_name(file.path): file for file in _files_to_publish(receipts, drift, plan)}
    manifest = replace(
        _manifest(receipts, plan, time.perf_counter() - started),
        drift={document_type: found.to_dict() for document_type, found in currencies.items()},
        files=tuple(replace(file, path=path, e_tag="") for path, file in sources.items()),
    )
    return warehouse.publish(manifest, {path: file.path for path, file in sources.items()})


def check_complete(receipts: list[Receipt], n_shards: int) -> None:
    """Makes sure every planned shard came back once, with all of its parts.

    Raises:
        BalanceError: one is missing, twice there or cut short.
    """
    parts: dict[int, list[Receipt]] = {}
    for receipt in receipts:
        parts.setdefault(receipt.shard_index, []).append(receipt)
    for index in range(n_shards):
        found = parts.pop(index, [])
        numbers = [receipt.part for receipt in found]
        ends = [receipt.is_last for receipt in found]
        if numbers != list(range(len(found))) or ends != [False] * (len(found) - 1) + [True]:
            raise BalanceError(f"shard {index} of {n_shards} came back with parts {numbers}; nothing is published")
    if parts:
        raise BalanceError(f"shards {sorted(parts)} came back but were never planned; nothing is published")


def check_balance(receipts: list[Receipt], expected: int) -> None:
    """Law 1: all that was read, unpacked or split off was classified or rejected; only what was classified, escalated.

    Args:
        receipts: as they are to be published.
        expected: rows that were read, unpacked and split off, counted before anything was moved.

    Raises:
        BalanceError: the counts differ, per shard or per run.
    """
    for receipt in receipts:
        rows = {kind.name: getattr(receipt.file(kind.name), "rows", 0) for kind in DOCUMENT_TABLES}
        counted = {
            "classifications": receipt.classified,
            "escalations": receipt.escalated,
            "rejections": receipt.rejected,
        }
        if rows != counted:
            raise BalanceError(f"{receipt.name}: counted {counted}, staged {rows}; nothing is published")
        came = receipt.read + receipt.unpacked + receipt.split_off
        if came != receipt.classified + receipt.rejected or receipt.escalated > receipt.classified:
            raise BalanceError(
                f"{receipt.name}: read {receipt.read}, unpacked {receipt.unpacked}, split off {receipt.split_off}, "
                f"classified {receipt.classified}, rejected {receipt.rejected}, escalated {receipt.escalated}; nothing "
                "is published"
            )
    outcomes = sum(receipt.classified + receipt.rejected for receipt in receipts)
    if outcomes != expected:
        raise BalanceError(
            f"read, unpacked and split off {expected} rows, but {outcomes} are classified or rejected; nothing is "
            "published"
        )


def count_frame(receipts: list[Receipt], detected_types: Collection[str] = ()) -> pd.DataFrame:
    """One row per document type: what the documents suite judges; the types that were detected are one together.

    The rejected share is of the records that were read, where one of n paragraphs counts as an n-th of a record: a
    record that is lost whole must not seem small beside the many rows of the others.
    """
    rows = []
    groups: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        group = AUTO_TYPE if receipt.document_type in detected_types else receipt.document_type
        groups.setdefault(group, []).append(receipt)
    for document_type, own in sorted(groups.items()):
        read, split_off, rejected = (
            sum(getattr(receipt, name) for receipt in own) for name in ("read", "split_off", "rejected")
        )
        read += sum(receipt.unpacked for receipt in own)
        after_split = sum(count for code, count in total(own, "reasons").items() if _stage(code) in _AFTER_SPLIT)
        whole = rejected - after_split
        cut = read - whole
        lost = whole + (after_split * cut / (cut + split_off) if after_split else 0)
        rows.append((document_type, read, read + split_off - rejected, lost / read if read else 0.0))
    return pd.DataFrame(rows, columns=["document_type", "read", "documents", "rejected_share"])


def rejected_groups(receipts: list[Receipt]) -> list[RejectedGroup]:
    """Rejected records in groups, by document type and reason code.

    Args:
        receipts: in the order of the plan, which decides the example that a group gives.
    """
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], RejectedExample] = {}
    for receipt in receipts:
        for code, count in receipt.reasons.items():
            counts[receipt.document_type, code] += count
        for code, example in receipt.examples.items():
            first.setdefault((receipt.document_type, code), example)
    return [
        RejectedGroup(document_type, Reason(code), count, example.source_uri, example.place, example.detail)
        for (document_type, code), count in counts.items()
        for example in [first[document_type, code]]
    ]


def _stage(reason_code: str) -> Stage:
    return Reason(reason_code).stage


def _samples(plan: RunPlan, receipts: list[Receipt], sample_rows: int) -> dict[str, pd.DataFrame]:
    """The first rows of every staged file, as many of each as the configured sample allows; only they are decoded."""
    samples = {}
    for kind in DOCUMENT_TABLES:
        names = [column.name for column in kind.flat_columns]
        files = [file for receipt in receipts if (file := receipt.file(kind.name))]
        rows_each = -(-sample_rows // max(1, len(files)))
        tables = [kind.schema().empty_table().select(names)]
        for file in files:
            with plan.warehouse.staged(plan.run_id, file.path) as content:
                batch = next(pq.ParquetFile(content).iter_batches(batch_size=rows_each, columns=names))
                tables.append(pa.Table.from_batches([batch]))
        samples[kind.name] = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    return samples


def _drift_sample(drift: Mapping[str, pa.Table]) -> pd.DataFrame:
    names = [column.name for column in DRIFT.flat_columns]
    tables = [table.select(names) for table in (DRIFT.schema().empty_table(), *drift.values())]
    frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    return frame


def _write_quality(plan: RunPlan, report: QualityReport, currencies: Mapping[str, Currency]) -> None:
    values = report.to_dict() | {"drift": {name: found.to_dict() for name, found in currencies.items()}}
    content = (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
    plan.warehouse.write(record_name(plan.run_id, QUALITY_FILE), content)


def _heed(currencies: Mapping[str, Currency], plan: RunPlan) -> None:
    """Ends a run over documents that its certificates do not hold for, where its configuration asks for that."""
    on_drift = plan.config.quality.on_drift
    told = [
        f"{document_type}: {'; '.join(found.reasons)}"
        for document_type, found in currencies.items()
        if found.stale and (on_drift == "fail" or (on_drift == "escalate" and document_type not in plan.withheld))
    ]
    if told:
        raise ContractError(
            f"the certificate is stale: {' | '.join(told)}. Nothing is published (quality.on_drift is {on_drift!r}); "
            "certify the bundle again on rows like these documents"
        )


def _files_to_publish(receipts: list[Receipt], drift: Mapping[str, pa.Table], plan: RunPlan) -> list[TableFile]:
    """Every staged file; a table without a row gets a file too, so that it can be read."""
    staged = [file for receipt in receipts for file in receipt.files]
    for partition in plan.partitions:
        if partition.document_type in drift:
            path = f"{DRIFT.name}/{partition.path}/part-00000-0000.parquet"
            staged.append(stage_table(plan, path, DRIFT, drift[partition.document_type]))
    for kind in PUBLISHED_TABLES:
        for partition in plan.partitions:
            place = f"{kind.name}/{partition.path}/"
            if not any(file.path.startswith(place) for file in staged):
                empty = kind.schema().empty_table()
                staged.append(stage_table(plan, f"{place}part-00000-0000.parquet", kind, empty))
    return sorted(staged, key=attrgetter("path"))


def _manifest(receipts: list[Receipt], plan: RunPlan, commit_seconds: float) -> Manifest:
    now = datetime.datetime.now(datetime.UTC)
    wall_seconds = (now - datetime.datetime.fromisoformat(plan.started_at)).total_seconds()
    tallies = _tallies(receipts)
    tallies["skipped"] = total(receipts, "skipped")
    tallies["parents"] = _accepted_by_parent(receipts, plan)
    tallies["absent_fields"] = absent_fields(receipts, plan.config)
    by_type = {
        document_type: _amounts(own) | _tallies(own)
        for document_type in plan.document_types
        for own in [[receipt for receipt in receipts if receipt.document_type == document_type]]
    }
    seconds = total(receipts, "seconds") | {"commit": commit_seconds, "wall": wall_seconds}
    return replace(
        plan.manifest(),
        status=RunStatus.PUBLISHED,
        finished_at=now.isoformat(timespec="seconds"),
        counts=_amounts(receipts) | {"by_document_type": by_type} | tallies,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        slowest_shards=slowest_shards(receipts),
        warnings=plan.left_warnings(),
    )


def _tallies(receipts: list[Receipt]) -> dict[str, object]:
    tallies: dict[str, object] = {name: total(receipts, name) for name in ("reasons", "route_reasons", "labels")}
    confidences: dict[str, Counter[str]] = {route.value: Counter() for route in Route}
    for receipt in receipts:
        for route, counts in receipt.confidences.items():
            confidences[route].update(counts)
    return tallies | {"confidences": {route: dict(sorted(counts.items())) for route, counts in confidences.items()}}


def slowest_shards(receipts: list[Receipt]) -> tuple[ShardTime, ...]:
    """The shards that took workers longest, the slowest first."""
    parts: dict[int, list[Receipt]] = {}
    for receipt in receipts:
        parts.setdefault(receipt.shard_index, []).append(receipt)
    times = [
        ShardTime(
            index,
            own[0].source_uri,
            sum(receipt.read + receipt.unpacked + receipt.split_off for receipt in own),
            round(sum(sum(receipt.seconds.values()) for receipt in own), 3),
        )
        for index, own in parts.items()
        if own[0].source_uri  # rows that an earlier run published took no time
    ]
    return tuple(sorted(times, key=lambda time: (-time.seconds, time.shard))[:SLOWEST_SHARDS])


def _accepted_by_parent(receipts: list[Receipt], plan: RunPlan) -> dict[str, dict[str, int]]:
    """Accepted classifications by parent in the tree of labels, by document type; types without a tree are left out."""
    parents: dict[str, dict[str, int]] = {}
    for receipt in receipts:
        separator = plan.bundle_of(receipt.document_type).tree_separator
        for label, count in receipt.labels.items():
            for parent in parents_of(label, separator):
                tally = parents.setdefault(receipt.document_type, {})
                tally[parent] = tally.get(parent, 0) + count
    return {document_type: dict(sorted(tally.items())) for document_type, tally in sorted(parents.items())}


def absent_fields(receipts: list[Receipt], config: RunConfig) -> dict[str, list[str]]:
    """The metadata fields that no classified document has, by document type; a type without any is left out."""
    absent = {}
    for document_type in sorted({receipt.document_type for receipt in receipts if receipt.classified}):
        wanted = (
            name for item in config.inputs if item.document_type == document_type for name in item.metadata_fields
        )
        seen = {
            name for receipt in receipts if receipt.document_type == document_type for name in receipt.metadata_fields
        }
        if missing := [name for name in dict.fromkeys(wanted) if name not in seen]:
            absent[document_type] = missing
    return absent


def _amounts(receipts: list[Receipt]) -> dict[str, int]:
    names = (
        *("read", "unpacked", "split_off", "classified", "rejected", "escalated", "cached", "tokens", "text_bytes"),
    )
    amounts = {name: sum(getattr(receipt, name) for receipt in receipts) for name in names}
    return amounts | {"accepted": amounts["classified"] - amounts["escalated"]}
