"""Policy: which answers of the model hold by themselves, and which are escalated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.codes import FIRST_TIER_CRITERIA, Route, RouteReason
from schemas.configuration import parse_toml
from schemas.errors import BundleError

# From the best to the gravest.
_REASONS = (
    RouteReason.CERTAIN,
    RouteReason.LOW_CONFIDENCE,
    RouteReason.UNFAMILIAR,
    RouteReason.TOO_LONG,
    RouteReason.TRUNCATED,
)


@dataclass(frozen=True)
class Policy:
    """The thresholds of one ModelBundle, chosen on labelled data and never by feel.

    Attributes:
        min_confidence: least calibrated confidence that is accepted, in [0, 1].
        min_familiarity: least log-sum-exp of the logits that is accepted, in nats; -inf for no such guard.
        label_min_confidence: label -> its own least confidence, instead of `min_confidence`.
        max_windows: most windows that a text may have been read in, at least 1; a longer one is escalated.
        first_tier: criterion -> least confidence at which the first tier answers instead of the encoder; empty for a
            bundle without one.
        selection: on what, how and when the thresholds were chosen; recorded, never read by a run.
    """

    min_confidence: float
    min_familiarity: float
    label_min_confidence: Mapping[str, float] = field(default_factory=dict)
    max_windows: int = 1
    first_tier: Mapping[str, float] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)

    def thresholds(self, labels: Sequence[str]) -> npt.NDArray[np.float32]:
        """The least confidence accepted for each label, in the order of `labels`: (n_labels,) float32."""
        own = self.label_min_confidence
        return np.array([own.get(label, self.min_confidence) for label in labels], dtype=np.float32)


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
        min_confidence=_confidence(acceptance, where, "acceptance"),
        min_familiarity=_familiarity(acceptance, where),
        label_min_confidence=own,
        max_windows=_max_windows(acceptance, where),
        first_tier=_first_tier(tables.get("first_tier", {}), where),
        selection=_table(tables.get("selection", {}), None, where, "selection"),
    )


def route(
    confidence: npt.NDArray[np.float32],
    familiarity: npt.NDArray[np.float32],
    truncated: npt.NDArray[np.bool_],
    n_windows: npt.NDArray[np.int32],
    thresholds: npt.NDArray[np.float32],
    min_familiarity: float,
    max_windows: int,
    first_tier: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """Decides which answers are accepted, and why the others are not.

    Where several reasons hold, the gravest is given: truncated, then too_long, unfamiliar, low_confidence. A threshold
    is reached by a value equal to it; a value that is not a number reaches none. All is compared as float32, as
    published, so that a reader of the tables comes to the same route.

    Args:
        confidence: (n_documents,) float32 in [0, 1].
        familiarity: (n_documents,) float32, nats.
        truncated: (n_documents,) bool.
        n_windows: (n_documents,) int32, how many windows each was read in.
        thresholds: (n_documents,) float32: `policy.thresholds(labels)[label_ids]`.
        min_familiarity: the policy's, nats.
        max_windows: the policy's.
        first_tier: (n_documents,) bool, which the first tier answered; it does so only where the policy lets its
            answer hold, so these are accepted.

    Returns:
        Values of `Route` and of `RouteReason`, both (n_documents,) str.
    """
    confident = confidence.astype(np.float32) >= thresholds.astype(np.float32)
    familiar = familiarity.astype(np.float32) >= np.float32(min_familiarity)
    codes = np.select([truncated, n_windows > max_windows, ~familiar, ~confident], [4, 3, 2, 1], default=0)
    if first_tier is not None:
        codes[first_tier] = 0
    reasons = np.array([reason.value for reason in _REASONS])[codes]
    routes = np.where(codes == 0, Route.ACCEPTED.value, Route.ESCALATED.value)
    return routes, reasons


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
