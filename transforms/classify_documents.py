"""ClassifyDocuments: the bundle's model answers every valid document."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.classifier import Classifier, cached_classifier
from models.scores import Scores
from schemas.reasons import REASON_DESCRIPTIONS, Reason
from schemas.shards import Shard
from schemas.tables import TOP_LABELS_TYPE
from transforms.run_plan import RunPlan, reporting_failures

# Which part of the bundle answered.
ENCODER, FIRST_TIER = "encoder", "first_tier"


def classify_documents(table: pa.Table, classifier: Classifier) -> pa.Table:
    """Adds the model's answers to every valid row; a row the model fails on alone becomes a rejection.

    Rows with the same text are answered once.

    Args:
        table: validated documents, rejected rows among them.
        classifier: of the bundle that answers for this document type.

    Returns:
        The table with `label_id`, `label`, `confidence`, `familiarity`, `top_labels`, `n_tokens`, `truncated`,
        `n_windows` and `tier`; null on rejected rows.
    """
    valid = np.flatnonzero(pc.is_null(table["reason_code"]).to_numpy(zero_copy_only=False))
    texts = table["text"].take(pa.array(valid)).combine_chunks().dictionary_encode()
    answers_of = texts.indices.to_numpy()
    scores = classifier.classify(texts.dictionary.to_pylist())
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
    stage = REASON_DESCRIPTIONS[Reason.CLASSIFICATION_FAILED][0]
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


class _ClassifyShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def process(self, element: Shard) -> Iterator[Shard]:
        assert element.table is not None
        with reporting_failures(self._plan):
            classifier = classifier_of(self._plan, element.input_index)
            started = time.perf_counter()  # loading the model is not this shard's time
            table = classify_documents(element.table, classifier)
        yield element.with_table(table, "classify", time.perf_counter() - started)


@dataclass
class ClassifyDocuments(beam.PTransform):  # type: ignore[misc]
    """Answers with each input's bundle; a bundle is loaded once per process."""

    plan: RunPlan

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Shards in, shards out."""
        return shards | "Classify" >> beam.ParDo(_ClassifyShard(self.plan))
