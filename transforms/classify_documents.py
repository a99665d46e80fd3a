"""The bundle's model answers every valid document, and its policy decides which answers hold."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.bundle import ModelBundle
from models.classifier import Classifier, cached_classifier
from models.label_sets import given_labels
from models.machine import int8_products
from models.policy import Policy
from models.scores import Scores
from schemas.codes import Reason, Route, RouteReason
from schemas.errors import describe_system_error
from schemas.tables import TOP_LABELS_TYPE
from transforms.run_plan import RunPlan
from warehouse.answers import AnswerCache, compact_caches, text_keys

# The part of the bundle that answered.
ENCODER, FIRST_TIER = "encoder", "first_tier"

# To be raised with every change of the answer that the same bundle gives to the same text, or of the columns kept.
ANSWERS_VERSION = 3
_KEPT = (
    "top_label_ids", "top_confidences", "confidence", "familiarity", "n_tokens", "n_windows", "truncated", "first_tier",
)  # fmt: skip
_ANSWERS = {
    "label_id": pa.int32(),
    "label": pa.string(),
    "labels": pa.list_(pa.string()),
    "confidence": pa.float32(),
    "familiarity": pa.float32(),
    "top_labels": TOP_LABELS_TYPE,
    "n_tokens": pa.int32(),
    "truncated": pa.bool_(),
    "n_windows": pa.int32(),
    "tier": pa.string(),
    "cached": pa.bool_(),
}
_ROUTES = {"route": pa.string(), "route_reason": pa.string(), "threshold": pa.float32()}
_PROBE = "machines that answer this alike, to the last bit, may share their answers"
_PACKAGES = ("docyard", "numpy", "onnxruntime", "tokenizers")


def has_documents(table: pa.Table) -> bool:
    """True where at least one row is not rejected."""
    return bool(table["reason_code"].null_count)


def without_answers(table: pa.Table) -> pa.Table:
    """The columns that `classify_documents` adds, for a table of which every row is rejected."""
    return _with_nulls(table, _ANSWERS)


def without_routes(table: pa.Table) -> pa.Table:
    """The columns that `route_documents` adds, for a table of which every row is rejected."""
    return _with_nulls(table, _ROUTES)


def _with_nulls(table: pa.Table, columns: Mapping[str, pa.DataType]) -> pa.Table:
    for name, kind in columns.items():
        table = table.append_column(name, pa.nulls(len(table), kind))
    return table


def classify_documents(table: pa.Table, classifier: Classifier, cache: AnswerCache | None = None) -> pa.Table:
    """Adds the model's answers to every valid row; a row that the model fails on by itself becomes a rejection.

    Equal texts are answered once; those in the cache are not answered again.

    Args:
        table: validated documents, rejected rows among them.
        classifier: of the bundle that answers for this document type.
        cache: earlier answers of that bundle, if they are kept; new ones are added to it.

    Returns:
        The table with `label_id`, `label`, `labels`, `confidence`, `familiarity`, `top_labels`, `n_tokens`,
        `truncated`, `n_windows`, `tier` and `cached`; null on rejected rows.
    """
    valid = np.flatnonzero(pc.is_null(table["reason_code"]).to_numpy(zero_copy_only=False))
    texts = table["text"].take(pa.array(valid)).combine_chunks().dictionary_encode()
    answer_index = texts.indices.to_numpy()
    from_cache = np.zeros(len(texts.dictionary), dtype=np.bool_)
    if cache is None:
        scores = classifier.classify(texts.dictionary.to_pylist())
    else:
        _, first_rows = np.unique(answer_index, return_index=True)
        keys = text_keys(table["content_hash"].take(pa.array(valid[first_rows])))
        scores, known = _classify_unknown(texts.dictionary.to_pylist(), keys, classifier, cache)
        from_cache[known] = True
    labels = pa.array(classifier.bundle.labels, pa.string())
    answers = {
        "label_id": pa.array(scores.label_ids, pa.int32()),
        "label": labels.take(pa.array(scores.label_ids, mask=scores.failed)),
        "labels": _given_labels(scores, labels, classifier.bundle),
        "confidence": pa.array(scores.confidence, pa.float32()),
        "familiarity": pa.array(scores.familiarity, pa.float32()),
        "top_labels": _top_labels(scores, labels),
        "n_tokens": pa.array(scores.n_tokens, pa.int32()),
        "truncated": pa.array(scores.truncated, pa.bool_()),
        "n_windows": pa.array(scores.n_windows, pa.int32()),
        "tier": pa.array(np.where(scores.first_tier, FIRST_TIER, ENCODER), pa.string()),
        "cached": pa.array(from_cache),
    }
    answer_of_row = np.full(len(table), -1, dtype=np.int64)
    answer_of_row[valid] = np.where(scores.failed[answer_index], -1, answer_index)
    places = pa.array(answer_of_row, mask=answer_of_row < 0)
    for name, column in answers.items():
        table = table.append_column(name, column.take(places))
    if scores.failed.any():
        failures = {
            row: scores.failures[answer]
            for row, answer in zip(valid.tolist(), answer_index.tolist(), strict=True)
            if scores.failed[answer]
        }
        table = _reject(table, failures)
    return table


def _classify_unknown(
    texts: Sequence[str], keys: npt.NDArray[np.uint64], classifier: Classifier, cache: AnswerCache
) -> tuple[Scores, npt.NDArray[np.intp]]:
    """Classifies texts, each given once, except those in the cache, and adds the new answers to it.

    Returns:
        The scores, to the bit as the classifier itself gives them, and the rows that came from the cache.
    """
    rows, known = cache.find(keys)
    unknown = np.delete(np.arange(len(texts)), rows)
    scores = classifier.classify([texts[row] for row in unknown.tolist()])
    good = np.flatnonzero(~scores.failed)
    cache.add(keys[unknown[good]], {name: getattr(scores, name)[good] for name in _KEPT})
    return (_with_known(scores, unknown, rows, known) if len(rows) else scores), rows


def _with_known(
    scores: Scores, unknown: npt.NDArray[np.intp], rows: npt.NDArray[np.intp], known: Mapping[str, npt.NDArray[Any]]
) -> Scores:
    columns = {}
    for name, old in known.items():
        new = getattr(scores, name)
        columns[name] = np.empty((len(unknown) + len(rows), *new.shape[1:]), dtype=new.dtype)
        columns[name][unknown] = new
        columns[name][rows] = old
    return replace(scores, **columns, failures={int(unknown[row]): why for row, why in scores.failures.items()})


def _given_labels(scores: Scores, labels: pa.Array, bundle: ModelBundle) -> pa.Array:
    """Lists of strings: the label, then the further ones, best first; empty where there is no answer."""
    given = given_labels(scores, bundle.labels, bundle.further_labels)
    ends = np.concatenate([[0], np.cumsum(given.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), labels.take(pa.array(scores.top_label_ids[given])))


def _top_labels(scores: Scores, labels: pa.Array) -> pa.Array:
    n_rows, k = scores.top_label_ids.shape
    ids = pa.array(np.maximum(scores.top_label_ids, 0).ravel())
    confidences = pa.array(np.nan_to_num(scores.top_confidences).ravel(), pa.float32())
    values = pa.StructArray.from_arrays([labels.take(ids), confidences], fields=list(TOP_LABELS_TYPE.value_type))
    return pa.ListArray.from_arrays(pa.array(np.arange(n_rows + 1) * k, pa.int32()), values, type=TOP_LABELS_TYPE)


def _reject(table: pa.Table, failures: Mapping[int, str]) -> pa.Table:
    reason = Reason.CLASSIFICATION_FAILED
    columns = {name: table[name].to_pylist() for name in ("stage", "reason_code", "detail", "text")}
    for row, why in failures.items():
        columns["stage"][row] = reason.stage.value
        columns["reason_code"][row] = reason.value
        columns["detail"][row] = why
        columns["text"][row] = None
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return table


def route_documents(
    table: pa.Table,
    bundle: ModelBundle,
    first_tier: str = "strict",
    withheld: bool = False,
    demoted: Collection[str] = (),
) -> pa.Table:
    """Adds `route`, `route_reason` and `threshold` to every classified row; null on rejected rows.

    Args:
        table: classified documents.
        bundle: the one that classified them.
        first_tier: the criterion by which its first tier answered.
        withheld: True to accept nothing, because its certificate is stale for these documents.
        demoted: labels whose answers the warehouse's register lets no run accept.
    """
    rejected = pc.is_valid(table["reason_code"]).to_numpy(zero_copy_only=False)
    scores = Scores(
        top_label_ids=pc.fill_null(table["label_id"], -1).to_numpy()[:, None],
        top_confidences=pc.fill_null(table["confidence"], 0.0).to_numpy()[:, None],
        confidence=pc.fill_null(table["confidence"], 0.0).to_numpy(),
        familiarity=pc.fill_null(table["familiarity"], 0.0).to_numpy(),
        n_tokens=pc.fill_null(table["n_tokens"], 0).to_numpy(),
        truncated=pc.fill_null(table["truncated"], False).to_numpy(zero_copy_only=False),
        n_windows=pc.fill_null(table["n_windows"], 1).to_numpy(),
        first_tier=pc.fill_null(pc.equal(table["tier"], FIRST_TIER), False).to_numpy(zero_copy_only=False),
    )
    accepted, reasons, thresholds = bundle.policy.route(scores, first_tier)
    if withheld:
        reasons = np.where(accepted, RouteReason.STALE.value, reasons)
        accepted = np.zeros_like(accepted)
    for reason, withheld_rows in _withheld_for_their_reading(table, bundle.policy):
        reasons = np.where(accepted & withheld_rows, reason.value, reasons)
        accepted = accepted & ~withheld_rows
    if demoted:
        by_demotion = accepted & pc.is_in(table["label"], pa.array(sorted(demoted), pa.string())).to_numpy(False)
        accepted, reasons = accepted & ~by_demotion, np.where(by_demotion, RouteReason.DEMOTED.value, reasons)
    packets = pc.is_valid(table["proposed_cuts"]).to_numpy(zero_copy_only=False)  # which no other reason may hide
    accepted, reasons = accepted & ~packets, np.where(packets, RouteReason.DOUBTFUL_PAGES.value, reasons)
    routes = np.where(accepted, Route.ACCEPTED.value, Route.ESCALATED.value)
    table = table.append_column("route", pa.array(routes, pa.string(), mask=rejected))
    table = table.append_column("route_reason", pa.array(reasons, pa.string(), mask=rejected))
    return table.append_column("threshold", pa.array(thresholds, pa.float32(), mask=rejected))


def _withheld_for_their_reading(table: pa.Table, policy: Policy) -> Iterator[tuple[RouteReason, npt.NDArray[np.bool_]]]:
    """Reasons, the gravest first, not to accept an answer because of the text or the kind, with the rows they hold for.

    A text read by OCR is accepted only by a policy that was measured on such texts.
    """
    unread = pc.fill_null(table["pages_unread"], 0).to_numpy() > 0
    yield RouteReason.PARTLY_READ, unread
    ocr_confidence = pc.fill_null(table["ocr_confidence"], np.inf).to_numpy()
    yield (
        RouteReason.POORLY_READ,
        ~np.isposinf(ocr_confidence) & (ocr_confidence < np.float32(policy.min_ocr_confidence)),
    )
    yield RouteReason.DOUBTFUL_KIND, table["doubtful_kind"].to_numpy()


def classifier_for(plan: RunPlan, input_index: int) -> Classifier:
    """This process's classifier for one input of the run, loaded at the first call."""
    bundle, settings = plan.bundles[input_index], plan.config.classification
    folder = str(plan.bundle_folder(bundle))
    return cached_classifier(folder, settings.batch_tokens, settings.threads, settings.first_tier, bundle.digest)


def cache_for(plan: RunPlan, input_index: int) -> AnswerCache | None:
    """This process's view of the answers that one input's bundle gave before this run, opened at the first call."""
    settings = plan.config.classification
    if not settings.cache_megabytes:
        return None
    key = plan.run_id, plan.bundles[input_index].digest
    with _caches_lock:
        if key not in _caches:
            for other in [other for other in _caches if other[0] != plan.run_id]:
                del _caches[other]  # of a run that this process is done with
            identity = answers_identity(classifier_for(plan, input_index), settings.first_tier)
            if trouble := compact_answers(plan, under_way=plan.run_id):  # nobody else does it on a worker's machine
                plan.leave_warning("cache", trouble)
            day = (datetime.datetime.fromisoformat(plan.started_at).date() - datetime.date(1970, 1, 1)).days
            _caches[key] = AnswerCache(plan.warehouse.cache / identity, plan.run_id, day)
        return _caches[key]


def compact_answers(plan: RunPlan, under_way: str = "") -> str:
    """Compacts this machine's caches; returns why that failed, or "". No published table depends on them.

    Args:
        plan: of the run.
        under_way: as of `compact_caches`.
    """
    try:
        compact_caches(plan.warehouse.cache, plan.config.classification.cache_megabytes * 10**6, under_way)
    except OSError as error:
        return f"the result cache cannot be compacted: {describe_system_error(error, plan.warehouse.cache)}"
    return ""


_caches: dict[tuple[str, str], AnswerCache] = {}
_caches_lock = threading.Lock()


def answers_identity(classifier: Classifier, first_tier: str) -> str:
    """Names everything that the answers depend on besides the text: 32 hexadecimal digits.

    That is the bundle with its policy, the criterion of its first tier, the packages that compute, and the way this
    machine computes: saturation of its int8 products, which only some texts show, and the encoder's scores for some
    texts, to the last bit. A cache belongs to one identity and is useless to any other.
    """
    texts = [_PROBE, *(row.text for row in classifier.bundle.fingerprint)]
    parts = {
        "version": ANSWERS_VERSION,
        "bundle": classifier.bundle.digest,
        "first_tier": first_tier if classifier.has_first_tier else "off",
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "int8_saturates": int8_products().used.saturates,
        "machine": hashlib.sha256(classifier.logits(texts).tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
