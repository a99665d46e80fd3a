"""The parity gate: an int8 bundle has to decide as the float network it was made of.

A graph can be close to its parent in every logit and still give other answers. So the decisions are compared: the
label, its acceptance, and the number that are right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bundle import ModelBundle, bundle_in_memory
from models.certificate import FILE_NAME as CERTIFICATE_NAME
from models.classifier import Classifier
from models.evaluation.intervals import paired_loss_interval
from models.scores import Scores
from models.training.config import ParityLimits
from models.training.quantize import int8_products
from schemas.errors import BundleError

_ALWAYS_ALLOWED = 3  # flips: of fewer than 300 rows, one in a hundred is chance
_TEXTS_ALONE = 64
_OTHER_BATCH_TOKENS = 300


@dataclass(frozen=True)
class ParityReport:
    """The int8 bundle against its float parent, on the same rows, windows, temperature and policy.

    Attributes:
        rows: compared.
        in_scope_rows: those with a right label; accuracy is of these.
        label_flips: rows with another label.
        route_flips: rows accepted by one and escalated by the other.
        float_accuracy: share in [0, 1]; None without rows in scope, like the next three.
        int8_accuracy: likewise.
        accuracy_loss: `float_accuracy` - `int8_accuracy`; negative for a gain.
        accuracy_loss_interval_95: see `paired_loss_interval`.
        mean_confidence_difference: mean of the absolute differences.
        batch_differences: texts whose int8 answer changed in any bit when they were run alone, or in reverse in
            batches of another size.
        int8_products: matrix products that the runtime computes in integers.
    """

    rows: int
    in_scope_rows: int
    label_flips: int
    route_flips: int
    float_accuracy: float | None
    int8_accuracy: float | None
    accuracy_loss: float | None
    accuracy_loss_interval_95: tuple[float, float] | None
    mean_confidence_difference: float
    batch_differences: int
    int8_products: int

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> ParityReport:
        """The report whose `figures` these are."""
        values = {item.name: figures[item.name] for item in dataclasses.fields(cls)}
        interval = values["accuracy_loss_interval_95"]
        return cls(**values | {"accuracy_loss_interval_95": tuple(interval) if interval else None})

    def figures(self) -> dict[str, Any]:
        """The report as JSON values, with the flips as shares as well."""
        values = dataclasses.asdict(self)
        interval = self.accuracy_loss_interval_95
        return values | {
            "label_flip_share": self.label_flips / self.rows,
            "route_flip_share": self.route_flips / self.rows,
            "accuracy_loss_interval_95": list(interval) if interval else None,
        }


def measure_parity(
    bundle: ModelBundle, float_model: Path, texts: Sequence[str], label_ids: npt.NDArray[np.integer]
) -> ParityReport:
    """Compares a bundle with the float graph it was quantized from.

    Both read the same windows and are judged by the bundle's temperature and policy. `export_float` has compared the
    float graph with the checkpoint itself.

    Args:
        bundle: with its final temperature and policy.
        float_model: graph that `export_float` wrote.
        texts: (n_rows,), at least one, none of which was trained on.
        label_ids: (n_rows,) the right labels; -1 for texts that belong to none.

    Raises:
        BundleError: the bundle or the float graph cannot be run.
    """
    files = {name: bundle.read(name) for name in bundle.manifest.files if name != CERTIFICATE_NAME}
    files["model.onnx"] = float_model.read_bytes()
    unquantized = bundle_in_memory(
        files, name=bundle.name, created=bundle.manifest.created, document_type=bundle.document_type,
        max_tokens=bundle.max_tokens, reading=bundle.reading,
    )  # fmt: skip
    parent = Classifier(unquantized, first_tier="off")
    expected = parent.classify(texts)
    parent.close()
    classifier = Classifier(bundle, first_tier="off")
    found = classifier.classify(texts)
    differing = _batch_differences(classifier, texts, found)
    classifier.close()

    known = label_ids >= 0
    right_before, right = (scores.label_ids[known] == label_ids[known] for scores in (expected, found))
    lost, gained = int((right_before & ~right).sum()), int((~right_before & right).sum())
    n_known = int(known.sum())
    return ParityReport(
        rows=len(texts),
        in_scope_rows=n_known,
        label_flips=int((expected.label_ids != found.label_ids).sum()),
        route_flips=int((bundle.policy.route(expected).accepted != bundle.policy.route(found).accepted).sum()),
        float_accuracy=float(right_before.mean()) if n_known else None,
        int8_accuracy=float(right.mean()) if n_known else None,
        accuracy_loss=(lost - gained) / n_known if n_known else None,
        accuracy_loss_interval_95=paired_loss_interval(lost, gained, n_known) if n_known else None,
        mean_confidence_difference=float(np.abs(np.nan_to_num(expected.confidence - found.confidence)).mean()),
        batch_differences=differing,
        int8_products=int8_products(bundle.read("model.onnx")),
    )


def check_parity(report: ParityReport, limits: ParityLimits) -> None:
    """Refuses a bundle that decides otherwise than its float parent.

    Raises:
        BundleError: naming every figure that is beyond its limit.
    """
    faults = []
    for flips, limit, what in (
        (report.label_flips, limits.max_label_flips, "get another label"),
        (report.route_flips, limits.max_route_flips, "change between accepted and escalated"),
    ):
        if flips > max(_ALWAYS_ALLOWED, limit * report.rows):
            faults.append(f"{flips} of {report.rows} rows ({flips / report.rows:.2%}) {what}, at most {limit:.2%} may")
    loss, interval = report.accuracy_loss, report.accuracy_loss_interval_95
    if loss is not None and interval is not None and loss > limits.max_accuracy_loss and interval[0] > 0:
        faults.append(
            f"accuracy falls by {loss:.2%} (95% interval {interval[0]:.2%} to {interval[1]:.2%}), at most "
            f"{limits.max_accuracy_loss:.2%} is allowed"
        )
    if report.batch_differences:
        faults.append(f"{report.batch_differences} answers change with the batch, none may")
    if not report.int8_products:
        faults.append("no matrix product is integer, so that nothing was gained")
    if faults:
        raise BundleError(
            f"the int8 bundle does not decide as its float network: {'; '.join(faults)}. It is not put into place: "
            "try other activation_percentiles or more calibration_texts under [export], or train otherwise; [parity] "
            "has the limits"
        )


def _batch_differences(classifier: Classifier, texts: Sequence[str], expected: Scores) -> int:
    """The number of texts that are answered otherwise when they are batched otherwise."""
    reverse = np.arange(len(texts))[::-1]
    other = Classifier(classifier.bundle, batch_tokens=_OTHER_BATCH_TOKENS, first_tier="off")
    differing = _changed(other.classify([texts[row] for row in reverse]), expected, reverse)
    other.close()
    for row in np.unique(np.linspace(0, len(texts) - 1, _TEXTS_ALONE).astype(np.intp)):
        differing |= _changed(classifier.classify([texts[row]]), expected, row[None])
    return len(differing)


def _changed(scores: Scores, expected: Scores, rows: npt.NDArray[np.intp]) -> set[int]:
    """The rows, of those that `scores` answers, whose answer is not `expected`'s to the last bit."""
    changed = np.zeros(len(rows), dtype=np.bool_)
    for name in ("label_ids", "confidence", "familiarity"):
        one, other = getattr(scores, name), getattr(expected, name)[rows]
        changed |= one.view(np.int32) != other.view(np.int32)
    return set(rows[changed].tolist())
