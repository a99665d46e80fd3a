"""Policy: decides which of the model's answers hold by themselves and which are escalated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.scores import Scores
from schemas.codes import FIRST_TIER_CRITERIA, RouteReason
from schemas.configuration import parse_toml
from schemas.errors import BundleError

FAILED = "failed"  # stands among the route reasons for a text that the model failed on
# From the best to the gravest.
_REASONS = np.array(
    [
        RouteReason.CERTAIN.value,
        RouteReason.LOW_CONFIDENCE.value,
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
        thresholds: (n,) float32, the least confidence that was accepted.
    """

    accepted: npt.NDArray[np.bool_]
    reasons: npt.NDArray[np.str_]
    thresholds: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Policy:
    """The thresholds of one ModelBundle, chosen on labelled data and never by feel.

    Attributes:
        labels: the bundle's, in the order of the model's outputs.
        min_confidence: least calibrated confidence that is accepted, in [0, 1].
        min_familiarity: least log-sum-exp of the logits that is accepted, in nats; -inf for no such guard.
        label_min_confidence: label -> its own least confidence, instead of `min_confidence`.
        max_windows: most windows that a text may have been read in, at least 1; a longer one is escalated.
        first_tier: criterion -> least confidence at which the first tier answers instead of the encoder; empty for a
            bundle without one.
        selection: on what, how and when the thresholds were chosen; recorded, never read by a run.
    """

    labels: tuple[str, ...]
    min_confidence: float
    min_familiarity: float
    label_min_confidence: Mapping[str, float] = field(default_factory=dict)
    max_windows: int = 1
    first_tier: Mapping[str, float] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)

    def thresholds(self) -> npt.NDArray[np.float32]:
        """The least confidence accepted for each label: (n_labels,) float32."""
        own = self.label_min_confidence
        return np.array([own.get(label, self.min_confidence) for label in self.labels], dtype=np.float32)

    def route(self, scores: Scores, criterion: str = "strict") -> Routing:
        """Decides which answers are accepted, and why the others are not.

        Where several reasons hold, the gravest is given: failed, then truncated, too_long, unfamiliar, low_confidence.
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
                scores.first_tier,
                scores.truncated,
                scores.n_windows > self.max_windows,
                ~(scores.familiarity >= np.float32(self.min_familiarity)),
                ~(scores.confidence >= thresholds),
            ],
            [5, 0, 4, 3, 2, 1],
            default=0,
        )
        return Routing(codes == 0, _REASONS[codes], thresholds)


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
    tables = _table(values, ("acceptance", "labels", "first_tier", "selection"), where, "")
    acceptance = _table(
        tables.get("acceptance"), ("min_confidence", "min_familiarity", "max_windows"), where, "acceptance"
    )
    own = {}
    for label, overrides in _table(tables.get("labels", {}), None, where, "labels").items():
        if label not in labels:
            raise BundleError(f"{where}: [labels] names {label!r}, which labels.json does not hold; correct it")
        override = _table(overrides, ("min_confidence",), where, f"labels.{label!r}")
        own[label] = _confidence(override, where, f"labels.{label!r}")
    return Policy(
        labels=tuple(labels),
        min_confidence=_confidence(acceptance, where, "acceptance"),
        min_familiarity=_familiarity(acceptance, where),
        label_min_confidence=own,
        max_windows=_max_windows(acceptance, where),
        first_tier=_first_tier(tables.get("first_tier", {}), where),
        selection=_table(tables.get("selection", {}), None, where, "selection"),
    )


def _table(value: Any, known: tuple[str, ...] | None, where: str, name: str) -> dict[str, Any]:
    """Checks that `value` is a table with keys among `known`; None stands for any keys."""
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise BundleError(f"{where}: expected a table [{name}], found {found}; add it")
    for key in value if known is not None else ():
        if key not in (known or ()):
            raise BundleError(f"{where}: unknown key {key!r} in [{name}]; known keys here: {', '.join(known or ())}")
    return value


def _number(table: dict[str, Any], key: str, where: str, name: str) -> float:
    value = table.get(key)
    if type(value) not in (int, float):
        found = "nothing" if value is None else type(value).__name__
        raise BundleError(f"{where}: expected a number at {key!r} in [{name}], found {found}; set it")
    return float(value)  # type: ignore[arg-type]


def _confidence(table: dict[str, Any], where: str, name: str) -> float:
    value = _number(table, "min_confidence", where, name)
    if not 0.0 <= value <= 1.0:
        raise BundleError(f"{where}: 'min_confidence' in [{name}] must lie in 0 to 1, found {value}; correct it")
    return value


def _first_tier(value: Any, where: str) -> dict[str, float]:
    tables = _table(value, FIRST_TIER_CRITERIA, where, "first_tier")
    thresholds = {}
    for name, table in tables.items():
        _table(table, None, where, f"first_tier.{name}")
        thresholds[name] = _confidence(table, where, f"first_tier.{name}")
    return thresholds


def _familiarity(table: dict[str, Any], where: str) -> float:
    value = _number(table, "min_familiarity", where, "acceptance")
    if math.isnan(value):
        raise BundleError(f"{where}: 'min_familiarity' in [acceptance] is not a number; set it, or -inf for no guard")
    return value


def _max_windows(table: dict[str, Any], where: str) -> int:
    value = table.get("max_windows", 1)
    if type(value) is not int or value < 1:
        raise BundleError(
            f"{where}: 'max_windows' in [acceptance] must be a whole number of at least 1, found {value!r}; correct it"
        )
    return value
