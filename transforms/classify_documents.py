"""ClassifyDocuments: the bundle's model answers every valid document."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.classifier import Classifier, cached_classifier
from models.scores import Scores
from schemas.codes import Reason
from schemas.shards import Shard
from schemas.system_errors import describe
from schemas.tables import TOP_LABELS_TYPE
from transforms.result_cache.answering import classify_with_cache
from transforms.result_cache.cache import ResultCache
from transforms.result_cache.identity import answers_identity
from transforms.result_cache.segments import keys_of
from transforms.run_plan import RunPlan, leave_warning, reporting_failures

# The part of the bundle that answered.
ENCODER, FIRST_TIER = "encoder", "first_tier"


def classify_documents(
    table: pa.Table,
    classifier: Classifier,
    cache: ResultCache | None = None,
    stem: str = "",
    on_cache_failure: Callable[[OSError], None] = lambda _: None,
) -> pa.Table:
    """Adds the model's answers to every valid row; a row that the model fails on by itself becomes a rejection.

    Rows with the same text are answered once, and those that the cache knows not at all.

    Args:
        table: validated documents, rejected rows among them.
        classifier: of the bundle that answers for this document type.
        cache: earlier answers, if they are kept; answers are added to it.
        stem: names the run and the part of its input; what is added is named after it.
        on_cache_failure: hears of it when the cache cannot keep new answers, which changes none of them.

    Returns:
        The table with `label_id`, `label`, `confidence`, `familiarity`, `top_labels`, `n_tokens`, `truncated`,
        `n_windows`, `tier` and `cached`; null on rejected rows.
    """
    valid = np.flatnonzero(pc.is_null(table["reason_code"]).to_numpy(zero_copy_only=False))
    texts = table["text"].take(pa.array(valid)).combine_chunks().dictionary_encode()
    answers_of = texts.indices.to_numpy()
    from_cache = np.zeros(len(texts.dictionary), dtype=np.bool_)
    if cache is None:
        scores = classifier.classify(texts.dictionary.to_pylist())
    else:
        _, first_rows = np.unique(answers_of, return_index=True)
        keys = keys_of(table["content_hash"].take(pa.array(valid[first_rows])))
        scores, from_cache = classify_with_cache(
            classifier, texts.dictionary.to_pylist(), keys, cache, stem, on_cache_failure
        )
    labels = pa.array(classifier.bundle.labels, pa.string())
    seats = _seats(len(table), valid, answers_of, ~scores.failed)
    answers = {
        "label_id": pa.array(scores.label_ids, pa.int32()),
        "label": labels.take(pa.array(scores.label_ids, mask=scores.failed)),
        "confidence": pa.array(scores.confidence, pa.float32()),
        "familiarity": pa.array(scores.familiarity, pa.float32()),
        "top_labels": _top_labels(scores, labels),
        "n_tokens": pa.array(scores.n_tokens, pa.int32()),
        "truncated": pa.array(scores.truncated, pa.bool_()),
        "n_windows": pa.array(scores.n_windows, pa.int32()),
        "tier": pa.array(np.where(scores.first_tier, FIRST_TIER, ENCODER), pa.string()),
        "cached": pa.array(from_cache),
    }
    for name, column in answers.items():
        table = table.append_column(name, column.take(seats))
    return _reject_failed(table, valid, answers_of, scores)


def _seats(n_rows: int, valid: np.ndarray, answers_of: np.ndarray, answered: np.ndarray) -> pa.Array:
    """For every row of the table, which answer is its own; null where there is none.

    Args:
        n_rows: of the table.
        valid: (n_valid,) row numbers.
        answers_of: (n_valid,) the answer of each valid row.
        answered: (n_answers,) bool, False where the model failed.
    """
    seats = np.full(n_rows, -1, dtype=np.int64)
    seats[valid] = np.where(answered[answers_of], answers_of, -1)
    return pa.array(seats, mask=seats < 0)


def _top_labels(scores: Scores, labels: pa.Array) -> pa.Array:
    n_rows, k = scores.top_label_ids.shape
    ids = pa.array(np.maximum(scores.top_label_ids, 0).ravel())
    confidences = pa.array(np.nan_to_num(scores.top_confidences).ravel(), pa.float32())
    values = pa.StructArray.from_arrays([labels.take(ids), confidences], fields=list(TOP_LABELS_TYPE.value_type))
    return pa.ListArray.from_arrays(pa.array(np.arange(n_rows + 1) * k, pa.int32()), values, type=TOP_LABELS_TYPE)


def _reject_failed(table: pa.Table, valid: np.ndarray, answers_of: np.ndarray, scores: Scores) -> pa.Table:
    if not scores.failed.any():
        return table
    stage = Reason.CLASSIFICATION_FAILED.stage
    columns = {name: table[name].to_pylist() for name in ("stage", "reason_code", "detail", "text")}
    for row, answer in zip(valid.tolist(), answers_of.tolist(), strict=True):
        if not scores.failed[answer]:
            continue
        columns["stage"][row] = stage.value
        columns["reason_code"][row] = Reason.CLASSIFICATION_FAILED.value
        columns["detail"][row] = scores.failures[answer]
        columns["text"][row] = None
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return table


def classifier_of(plan: RunPlan, input_index: int) -> Classifier:
    """This process's classifier for one input of the run, loaded at the first call."""
    bundle, settings = plan.bundles[input_index], plan.config.classification
    return cached_classifier(bundle.folder, settings.batch_tokens, settings.threads, settings.first_tier, bundle.digest)


def cache_of(plan: RunPlan, input_index: int) -> ResultCache | None:
    """This process's view of the answers that one input's bundle gave before this run, opened at the first call."""
    settings = plan.config.classification
    if not settings.cache_megabytes:
        return None
    key = plan.run_id, plan.bundles[input_index].digest
    with _caches_lock:
        if key not in _caches:
            for other in [other for other in _caches if other[0] != plan.run_id]:
                del _caches[other]  # of a run that this process is done with
            identity = answers_identity(classifier_of(plan, input_index), settings.first_tier)
            day = (datetime.datetime.fromisoformat(plan.started_at).date() - datetime.date(1970, 1, 1)).days
            _caches[key] = ResultCache(plan.warehouse.cache / identity, day)
        return _caches[key]


_caches: dict[tuple[str, str], ResultCache] = {}
_caches_lock = threading.Lock()


def _warn_of_cache(plan: RunPlan, error: OSError) -> None:
    found = describe(OSError(error.errno, ""), plan.warehouse.cache)
    leave_warning(plan, "cache", f"the result cache cannot be written, and the run went on without it: {found}")


class _ClassifyShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def process(self, element: Shard) -> Iterator[Shard]:
        assert element.table is not None
        with reporting_failures(self._plan):
            classifier = classifier_of(self._plan, element.input_index)
            cache = cache_of(self._plan, element.input_index)
            started = time.perf_counter()  # loading the model is not this shard's time
            stem = f"{self._plan.run_id}.{element.name}"
            table = classify_documents(element.table, classifier, cache, stem, partial(_warn_of_cache, self._plan))
        yield element.with_table(table, "classify", time.perf_counter() - started)


@dataclass
class ClassifyDocuments(beam.PTransform):  # type: ignore[misc]
    """Answers with each input's bundle; a bundle is loaded once per process."""

    plan: RunPlan

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Shards in, shards out."""
        return shards | "Classify" >> beam.ParDo(_ClassifyShard(self.plan))
