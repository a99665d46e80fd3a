"""Evaluates a Classifier on labelled text: its errors, its confidence, and what its policy accepts."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bundle import ModelBundle
from models.classifier import Classifier
from models.evaluation.figures import (
    average_precision,
    brier_score,
    confusions,
    expected_calibration_error,
    label_set_figures,
    label_table,
    macro_f1,
    reliability,
    risk_coverage,
)
from models.evaluation.intervals import bootstrap_interval, wilson_interval
from models.label_sets import given_labels, right_flags
from models.label_tree import all_parents, below
from models.scores import Scores
from schemas.errors import ConfigError

COLUMN_VALUES = 20  # values of a column that get a slice of their own
SINGLES = 200
_SINGLES_SECONDS = 10.0  # bounds the singles where a document takes long


def evaluate(
    classifier: Classifier,
    texts: Sequence[str],
    gold: Sequence[str],
    *,
    right_labels: Sequence[Sequence[str]] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    none_label: str = "",
    positive_label: str = "",
    with_speed: bool = False,
) -> dict[str, Any]:
    """Classifies labelled text and compares; the values are plain and fit for strict JSON.

    A row is out of scope when its gold label is none of the bundle's ("oos", say): no answer to it is right, so that
    it counts only in `out_of_scope_*`. A row the model fails on counts as wrong, as escalated and with confidence 0.
    Figures over no rows are None. But for `speed`, the same bundle and rows give the same values. docs/evaluation.md
    explains every key.

    Args:
        classifier: of the bundle as deployed.
        texts: (n_rows,).
        gold: (n_rows,) the right labels.
        right_labels: (n_rows,) every right label of each row, where it may have several; `gold` remains the one that
            accuracy is measured by.
        columns: name -> (n_rows,) values to slice by.
        none_label: the label that says "none of these"; given it, the rows with another gold label are measured apart.
        positive_label: the label to look for, in a bundle of at most five labels.
        with_speed: True to take the time, which classifies up to 200 of the texts once more.

    Raises:
        ConfigError: `none_label` or `positive_label` is none of the bundle's, or the bundle has too many labels.
        ValueError: sequences differ in length.
    """
    scores, speed = (
        classify_timed(classifier, texts) if with_speed and len(texts) else (classifier.classify(texts), None)
    )
    return evaluate_scores(
        classifier.bundle, scores, gold, right_labels=right_labels, columns=columns, none_label=none_label,
        positive_label=positive_label, has_first_tier=classifier.has_first_tier,
    ) | {"speed": speed}  # fmt: skip


def evaluate_scores(
    bundle: ModelBundle,
    scores: Scores,
    gold: Sequence[str],
    *,
    right_labels: Sequence[Sequence[str]] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    none_label: str = "",
    positive_label: str = "",
    has_first_tier: bool = False,
) -> dict[str, Any]:
    """`evaluate` of answers that were given before, without `speed`.

    Args:
        bundle: whose answers they are; its policy routes them.
        scores: (n_rows,) the answers.
        gold: as for `evaluate`, like all others.
        right_labels: likewise.
        columns: likewise.
        none_label: likewise.
        positive_label: likewise.
        has_first_tier: True where a first tier gave some of them.

    Raises:
        ConfigError: `none_label` or `positive_label` is none of the bundle's, or the bundle has too many labels.
        ValueError: sequences differ in length.
    """
    n_rows = len(scores.label_ids)
    for name, values in {"label": gold, "list of right labels": right_labels, **(columns or {})}.items():
        if values is not None and len(values) != n_rows:
            raise ValueError(f"expected one gold {name} per text, found {n_rows} texts and {len(values)}")
    positive_id, none_id = _label_id(positive_label, bundle), _label_id(none_label, bundle)
    position = {label: index for index, label in enumerate(bundle.labels)}
    all_gold_ids = np.array([position.get(label, -1) for label in gold], dtype=np.int32)
    in_scope = all_gold_ids >= 0
    all_accepted, all_reasons, _ = bundle.policy.route(scores)

    # From here on, only rows in scope.
    gold_ids, label_ids, accepted = all_gold_ids[in_scope], scores.label_ids[in_scope], all_accepted[in_scope]
    answered, reasons = ~scores.failed[in_scope], all_reasons[in_scope]
    confidence = np.where(answered, scores.confidence[in_scope], np.float32(0))
    right = gold_ids == label_ids
    overall = group_figures(right, accepted)
    rows = np.flatnonzero(in_scope).tolist()
    measured_by = {"route_reason": reasons.tolist()}
    measured_by |= {name: [values[row] for row in rows] for name, values in (columns or {}).items()}
    return {
        "bundle": bundle.reference,
        "rows": n_rows,
        "in_scope_rows": overall.pop("rows"),
        "out_of_scope_rows": int((~in_scope).sum()),
        "failed_rows": int(scores.failed.sum()),
        **overall,
        "escalated_share": share(~accepted),
        "macro_f1": macro_f1(gold_ids, label_ids),
        "macro_f1_interval_95": bootstrap_interval(
            lambda chosen: macro_f1(gold_ids[chosen], label_ids[chosen]), len(gold_ids)
        ),
        "expected_calibration_error": expected_calibration_error(confidence[answered], right[answered]),
        "brier_score": brier_score(confidence[answered], right[answered]),
        "reliability": reliability(confidence[answered], right[answered]),
        "risk_coverage": risk_coverage(confidence, right),
        "route_reasons": dict(sorted(Counter(reasons[answered].tolist()).items())),
        "out_of_scope_escalated_share": share(~all_accepted[~in_scope]),
        "unknown_labels": dict(sorted(Counter(label for label in gold if label not in position).items())),
        "positives_only": None
        if none_id is None
        else _positives_only(none_id, gold_ids, scores.top_label_ids[in_scope], accepted, bundle),
        "several_labels": None
        if right_labels is None
        else _several_labels(
            [right_labels[row] for row in rows], gold_ids, scores.take(in_scope), accepted, none_id, bundle
        ),
        "positive_label": None
        if positive_id is None
        else _positive_label(positive_id, gold_ids == positive_id, scores, in_scope, bundle),
        "first_tier": _first_tier(right, accepted, scores.first_tier, in_scope) if has_first_tier else None,
        "slices": [
            *length_slices(scores.n_tokens[in_scope], bundle.max_tokens, right, accepted),
            *(entry for by, values in measured_by.items() for entry in slices(by, values, right, accepted)),
        ],
        "labels": label_table(gold_ids, label_ids, accepted, bundle.labels),
        "parents": _parents(gold_ids, label_ids, accepted, bundle),
        "confusions": confusions(gold_ids, label_ids, bundle.labels),
        "model_bytes": bundle.manifest.files["model.onnx"].bytes,
        "speed": None,
    }


def _label_id(label: str, bundle: ModelBundle) -> int | None:
    """The label's place; None for the label "", which was not given."""
    if not label:
        return None
    if label not in bundle.labels:
        raise ConfigError(
            f"{label!r} is none of the {len(bundle.labels)} labels of {bundle.reference}, which are "
            f"{', '.join(bundle.labels[:5])}{' and others' if len(bundle.labels) > 5 else ''}; name one of them"
        )
    return bundle.labels.index(label)


def _positives_only(
    none_id: int,
    gold_ids: npt.NDArray[np.int32],
    top_label_ids: npt.NDArray[np.int32],
    accepted: npt.NDArray[np.bool_],
    bundle: ModelBundle,
) -> dict[str, Any]:
    """Figures of the rows that are something: as answered, and with the label for nothing struck from the answers.

    Args:
        none_id: the label that stands for none of the others.
        gold_ids: (n,) int32.
        top_label_ids: (n, k) int32, best first; k >= 2 unless there is no other label.
        accepted: (n,) bool.
        bundle: whose labels the ids are of.
    """
    positive = gold_ids != none_id
    gold, top = gold_ids[positive], top_label_ids[positive]
    without_none = np.where(top[:, 0] == none_id, top[:, min(1, top.shape[1] - 1)], top[:, 0])
    told_apart = gold == without_none
    return {
        "none_label": bundle.labels[none_id],
        **group_figures(gold == top[:, 0], accepted[positive]),
        "accuracy_without_none": share(told_apart),
        "accuracy_without_none_interval_95": wilson_interval(int(told_apart.sum()), len(told_apart)),
    }


def _first_tier(
    right: npt.NDArray[np.bool_],
    accepted: npt.NDArray[np.bool_],
    first_tier: npt.NDArray[np.bool_],
    in_scope: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """The first tier's answers; `right` and `accepted` are (n in scope,) bool, the others (n,) bool."""
    easy = first_tier[in_scope]
    return {
        "share": share(easy),
        "out_of_scope_share": share(first_tier[~in_scope]),
        **group_figures(right[easy], accepted[easy]),
    }


def _several_labels(
    right_labels: Sequence[Sequence[str]],
    gold_ids: npt.NDArray[np.int32],
    scores: Scores,
    accepted: npt.NDArray[np.bool_],
    none_id: int | None,
    bundle: ModelBundle,
) -> dict[str, Any]:
    """The worth of the best, the given and the top answers where a row may have several right labels.

    Args:
        right_labels: (n,) the right labels of each row; its gold label is one whether named or not.
        gold_ids: (n,) int32.
        scores: of these rows.
        accepted: (n,) bool.
        none_id: the label that stands for none of the others; by default, the one of the bundle's further labels.
        bundle: whose labels the ids are of.
    """
    if none_id is None and bundle.further_labels is not None:
        none_id = _label_id(bundle.further_labels.none_label, bundle)
    n_rows, known = len(gold_ids), set(bundle.labels)
    right = right_flags(right_labels, bundle.labels)
    right[np.arange(n_rows), gold_ids] = True
    unknown = np.array([len({*also} - known) for also in right_labels], dtype=np.int64)
    given, top = np.zeros_like(right), np.zeros_like(right)
    answered = ~scores.failed
    for matrix, flags in (
        (given, given_labels(scores, bundle.labels, bundle.further_labels)),
        (top, np.repeat(answered[:, None], scores.top_label_ids.shape[1], axis=1)),
    ):
        matrix[np.nonzero(flags)[0], scores.top_label_ids[flags]] = True
    any_right = answered & right[np.arange(n_rows), scores.label_ids]
    wanted = int(right.sum() + unknown.sum())
    hits_accepted, accepted_rows = int(any_right[accepted].sum()), int(accepted.sum())
    return {
        "rows_with_several": int((right.sum(axis=1) + unknown > 1).sum()),
        "any_right_share": share(any_right),
        "any_right_interval_95": wilson_interval(int(any_right.sum()), n_rows),
        "accepted_any_right_share": share(any_right[accepted]),
        "accepted_any_right_interval_95": wilson_interval(hits_accepted, accepted_rows),
        "top_labels": scores.top_label_ids.shape[1],
        "right_labels": wanted,
        "found_in_top_share": float((right & top).sum() / wanted) if wanted else None,
        **label_set_figures(right, given, unknown, none_id),
    }


def _parents(
    gold_ids: npt.NDArray[np.int32],
    label_ids: npt.NDArray[np.int32],
    accepted: npt.NDArray[np.bool_],
    bundle: ModelBundle,
) -> list[dict[str, Any]]:
    """Figures of each parent in the tree of labels: right is an answer anywhere below the parent of the right label."""
    entries = []
    for parent in all_parents(bundle.labels, bundle.tree_separator):
        inside = below(bundle.labels, parent, bundle.tree_separator)
        entries += label_table(
            np.where(np.isin(gold_ids, inside), 0, 1).astype(np.int32),
            np.where(label_ids < 0, -1, np.where(np.isin(label_ids, inside), 0, 1)).astype(np.int32),
            accepted,
            [parent, ""],
        )
    return [entry for entry in entries if entry["label"]]


def _positive_label(
    positive_id: int,
    positive: npt.NDArray[np.bool_],
    scores: Scores,
    in_scope: npt.NDArray[np.bool_],
    bundle: ModelBundle,
) -> dict[str, Any]:
    """Figures of the rows' order by the label's probability; `positive` is (n in scope,) bool."""
    if len(bundle.labels) > scores.top_label_ids.shape[1]:
        raise ConfigError(
            f"{bundle.reference} has {len(bundle.labels)} labels, and of each row only the probabilities of "
            f"the best {scores.top_label_ids.shape[1]} are kept; a positive label needs a bundle of at most that many"
        )
    of_label = np.where(scores.top_label_ids[in_scope] == positive_id, scores.top_confidences[in_scope], 0)
    return {
        "label": bundle.labels[positive_id],
        "rows": int(positive.sum()),
        "share": share(positive),
        "average_precision": average_precision(of_label.sum(axis=1), positive),
    }


def group_figures(right: npt.NDArray[np.bool_], accepted: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Shares of a group's rows that are right and accepted; both (n,) bool. Shares of no rows are None."""
    accepted_rows, hits_accepted = int(accepted.sum()), int(right[accepted].sum())
    return {
        "rows": len(right),
        "accuracy": share(right),
        "accuracy_interval_95": wilson_interval(int(right.sum()), len(right)),
        "accepted_rows": accepted_rows,
        "accepted_share": share(accepted),
        "accuracy_accepted": share(right[accepted]),
        "accuracy_accepted_interval_95": wilson_interval(hits_accepted, accepted_rows),
    }


def share(flags: npt.NDArray[np.bool_]) -> float | None:
    """The share that is set; None of nothing."""
    return float(flags.mean()) if len(flags) else None


def length_slices(
    n_tokens: npt.NDArray[np.int32], max_tokens: int, right: npt.NDArray[np.bool_], accepted: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Figures by ranges of length, the shortest first: quarters of the rows, cut at `max_tokens` as well.

    Args:
        n_tokens: (n,) int32.
        max_tokens: number of tokens that the model reads at once.
        right: (n,) bool.
        accepted: (n,) bool.

    Returns:
        As `slices` gives them, by "tokens", with values such as "9 to 14".
    """
    if not len(n_tokens):
        return []
    edges = np.unique([*np.quantile(n_tokens, [0.25, 0.5, 0.75], method="lower"), max_tokens])
    groups = np.searchsorted(edges, n_tokens, side="left")
    entries = []
    for group in np.unique(groups).tolist():
        rows = groups == group
        low, high = n_tokens[rows].min(), n_tokens[rows].max()
        entries.append(_slice("tokens", str(low) if low == high else f"{low} to {high}", rows, right, accepted))
    return entries


def slices(
    by: str, values: Sequence[str], right: npt.NDArray[np.bool_], accepted: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Figures for each of the 20 most frequent values, and for the rows of all others together under the value None.

    Args:
        by: what the values are of.
        values: (n,) the value of each row.
        right: (n,) bool.
        accepted: (n,) bool.

    Returns:
        Entries of by, value and the figures of `group_figures`; most rows first, equals by their value.
    """
    ranked = sorted(Counter(values).items(), key=_most_rows_first)
    column = np.array(values, dtype=object)
    entries = [_slice(by, value, column == value, right, accepted) for value, _ in ranked[:COLUMN_VALUES]]
    if others := {value for value, _ in ranked[COLUMN_VALUES:]}:
        entries.append(_slice(by, None, np.array([value in others for value in values]), right, accepted))
    return entries


def _slice(
    by: str,
    value: str | None,
    rows: npt.NDArray[np.bool_],
    right: npt.NDArray[np.bool_],
    accepted: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    return {"by": by, "value": value} | group_figures(right[rows], accepted[rows])


def _most_rows_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


def classify_timed(classifier: Classifier, texts: Sequence[str]) -> tuple[Scores, dict[str, Any]]:
    """Classifies all texts at once, then up to 200 of them one by one, with the clock running.

    Args:
        classifier: of the bundle as deployed.
        texts: (n,) at least one.

    Returns:
        The scores of all texts, and:
        documents: n.
        seconds, cpu_seconds: of all texts at once; the second counts every core.
        documents_per_second, documents_per_cpu_second: likewise.
        singles: number of texts that were classified one by one, evenly spread; fewer than 200 where 10 s were over.
        single_p50_ms, single_p95_ms: milliseconds for a single text, median and 95th percentile.
        peak_memory_bytes: most memory this process ever held, data and libraries included.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    scores = classifier.classify(texts)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    milliseconds = _singles(classifier, texts)
    median, high = np.quantile(milliseconds, [0.5, 0.95])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return scores, {
        "documents": len(texts),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "documents_per_second": len(texts) / max(seconds, 1e-9),
        "documents_per_cpu_second": len(texts) / max(cpu_seconds, 1e-9),
        "singles": len(milliseconds),
        "single_p50_ms": float(median),
        "single_p95_ms": float(high),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,  # Linux counts in KiB
    }


def _singles(classifier: Classifier, texts: Sequence[str]) -> list[float]:
    milliseconds: list[float] = []
    begun = time.perf_counter()
    for row in np.unique(np.linspace(0, len(texts) - 1, SINGLES).round().astype(np.intp)).tolist():
        started = time.perf_counter()
        classifier.classify([texts[row]])
        milliseconds.append(1000 * (time.perf_counter() - started))
        if time.perf_counter() - begun > _SINGLES_SECONDS:
            break
    return milliseconds
