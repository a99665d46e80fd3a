"""Policy: decides which of the model's answers hold by themselves and which are escalated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, AllowInfNan

from models.scores import Scores
from schemas.codes import RouteReason
from schemas.configuration import Within, parse_toml, read_values, validated
from schemas.errors import BundleError

_ACCEPTANCE = ("min_confidence", "min_familiarity", "max_windows")
FAILED = "failed"  # stands among the route reasons for a text that the model failed on
# From the best to the gravest.
_REASONS = np.array(
    [
        RouteReason.CERTAIN.value,
        RouteReason.LOW_CONFIDENCE.value,
        RouteReason.UNCERTIFIED.value,
        RouteReason.UNFAMILIAR.value,
        RouteReason.TOO_LONG.value,
        RouteReason.TRUNCATED.value,
        FAILED,
    ]
)


class Routing(NamedTuple):
    """A policy's decisions, one row per text.

    Attributes:
        accepted: (n,) bool, False where the text is escalated.
        reasons: (n,) str, values of `RouteReason`; "failed" where there is no answer.
        thresholds: (n,) float32, the least confidence that was accepted; 1 where none was.
    """

    accepted: npt.NDArray[np.bool_]
    reasons: npt.NDArray[np.str_]
    thresholds: npt.NDArray[np.float32]


def _a_threshold(value: float) -> float:
    if not (0.0 <= value <= 1.0 or value == math.inf):
        raise ValueError(f"expected a number in [0, 1], or inf, found {value}")
    return value


_Confidence = Annotated[float, AllowInfNan(True), AfterValidator(_a_threshold)]


def _a_number(value: float) -> float:
    if math.isnan(value):
        raise ValueError("expected a number, or -inf for no guard, found nan, which is not a number")
    return value


def _with_confidence(value: dict[str, Any]) -> dict[str, Any]:
    confidence: Any = value.get("min_confidence")
    if type(confidence) not in (int, float) or not 0.0 <= float(confidence) <= 1.0:
        raise ValueError(f"expected min_confidence, a number in [0, 1], found {confidence}")
    return value


@validated
class _Acceptance:
    min_confidence: _Confidence
    min_familiarity: Annotated[float, AllowInfNan(True), AfterValidator(_a_number)]
    max_windows: Annotated[int, Within("[1, inf)")] = 1
    min_ocr_confidence: _Confidence = math.inf


@validated
class _LabelThreshold:
    min_confidence: _Confidence


@validated
class _PolicyFile:
    acceptance: _Acceptance
    labels: Mapping[str, _LabelThreshold] = field(default_factory=dict)
    first_tier: Mapping[
        Literal["strict", "equal_average", "near_average"], Annotated[dict[str, Any], AfterValidator(_with_confidence)]
    ] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """The thresholds of one ModelBundle, chosen on labelled data and never by feel.

    Attributes:
        labels: the bundle's, in the order of the model's outputs.
        min_confidence: least calibrated confidence that is accepted, in [0, 1]; infinite where none is.
        min_familiarity: least log-sum-exp of the logits that is accepted, in nats; -inf for no such guard.
        label_min_confidence: label -> its own least confidence, instead of `min_confidence`.
        max_windows: most windows that a text may have been read in, at least 1; a longer one is escalated.
        first_tier: criterion -> least confidence at which the first tier answers instead of the encoder; empty for a
            bundle without one.
        selection: on what, how and when the thresholds were chosen; recorded, never read by a run.
        certified: True where a certificate proves these thresholds; without one no answer is accepted.
        min_ocr_confidence: least confidence of OCR in a text that it read, in [0, 1]; infinite where no such text is
            accepted, because the policy was not measured on any.
    """

    labels: tuple[str, ...]
    min_confidence: float
    min_familiarity: float
    label_min_confidence: Mapping[str, float] = field(default_factory=dict)
    max_windows: int = 1
    first_tier: Mapping[str, float] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    certified: bool = False
    min_ocr_confidence: float = math.inf

    def thresholds(self) -> npt.NDArray[np.float32]:
        """The least confidence accepted for each label: (n_labels,) float32."""
        own = self.label_min_confidence
        return np.array([own.get(label, self.min_confidence) for label in self.labels], dtype=np.float32)

    def finite_thresholds(self) -> tuple[float, ...]:
        """Every threshold that lets an answer stand."""
        own = (self.min_confidence, *self.label_min_confidence.values(), *self.first_tier.values())
        own = (*own, self.min_ocr_confidence)
        return tuple(value for value in own if math.isfinite(value))

    def route(self, scores: Scores, criterion: str = "strict") -> Routing:
        """Decides which answers are accepted, and why the others are not.

        Where several reasons hold, the gravest is given: failed, then truncated, too_long, unfamiliar, uncertified,
        low_confidence.
        A threshold is reached by a value equal to it. All is compared as float32, as published, so that a reader of
        the tables comes to the same route. The first tier answers only where the policy lets its answer hold, so that
        its answers are accepted.

        Args:
            scores: of any texts.
            criterion: the one by which the first tier answered.
        """
        label_ids = np.maximum(scores.label_ids, 0)
        own = np.float32(self.first_tier.get(criterion, 1.0))
        thresholds = np.where(scores.first_tier, own, self.thresholds()[label_ids])
        codes = np.select(
            [
                scores.failed,
                scores.first_tier & self.certified,
                scores.first_tier,
                scores.truncated,
                scores.n_windows > self.max_windows,
                ~(scores.familiarity >= np.float32(self.min_familiarity)),
                np.isinf(thresholds) | (not self.certified),
                ~(scores.confidence >= thresholds),
            ],
            [6, 0, 2, 5, 4, 3, 2, 1],
            default=0,
        )
        return Routing(codes == 0, _REASONS[codes], np.minimum(thresholds, np.float32(1.0)))


def parse_policy(content: bytes, labels: Sequence[str], where: str) -> Policy:
    """Reads the content of a `policy.toml`.

    Args:
        content: the file's bytes.
        labels: the bundle's labels; only these may have a threshold of their own.
        where: names the file in errors.

    Raises:
        BundleError: no TOML, an unknown or missing key, a value out of range, or a label the bundle does not have.
    """
    try:
        values = parse_toml(content)
    except ValueError as error:
        raise BundleError(f"{where}: not a readable TOML file: {error}; restore it or build the bundle again") from None
    found = read_values(_PolicyFile, values, where, BundleError, "correct it or build the bundle again")
    for label in found.labels:
        if label not in labels:
            raise BundleError(f"{where}: [labels] names {label!r}, which labels.json does not hold; correct it")
    return Policy(
        labels=tuple(labels),
        min_confidence=found.acceptance.min_confidence,
        min_familiarity=found.acceptance.min_familiarity,
        label_min_confidence={label: own.min_confidence for label, own in found.labels.items()},
        max_windows=found.acceptance.max_windows,
        min_ocr_confidence=found.acceptance.min_ocr_confidence,
        first_tier={criterion: float(own["min_confidence"]) for criterion, own in found.first_tier.items()},
        selection=values.get("selection", {}),
    )


def policy_toml(policy: Policy) -> str:
    """The content of a bundle's `policy.toml`: `parse_policy` reads the same policy from it."""
    lines = ["[acceptance]", *(f"{key} = {getattr(policy, key)}" for key in _ACCEPTANCE)]
    if math.isfinite(policy.min_ocr_confidence):  # else left out, so that certificates of given texts stay as they are
        lines.append(f"min_ocr_confidence = {policy.min_ocr_confidence}")
    for label, threshold in policy.label_min_confidence.items():
        lines += ["", f"[labels.{json.dumps(label, ensure_ascii=False)}]", f"min_confidence = {threshold}"]
    for criterion, threshold in policy.first_tier.items():
        lines += ["", f"[first_tier.{criterion}]", f"min_confidence = {threshold}"]
    lines += ["", "[selection]"]
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in policy.selection.items()]
    return "\n".join(lines) + "\n"
