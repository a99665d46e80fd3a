"""Drift: distances between a run's documents and the rows that certified the bundle, each with a limit.

A certificate is about documents drawn as its rows were. The reference keeps how these rows were spread; workers count
their documents into the same cells, so that a run is compared by sums and no step needs all of its rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.bundle_manifest import read_json
from models.policy import Policy
from models.scores import Scores
from schemas.codes import DriftFigure
from schemas.configuration import Within, validated
from schemas.errors import BundleError

FALSE_ALARMS = 0.01  # of a run like the reference, over all figures together
_BINS = 40
_DRAWS = 999
_SEED = 20261128
_MOST_ROWS = 10**8  # the draws hold no more; a limit hardly depends on so many
_LABELS = "labels"

_Count = Annotated[int, Within("[0, inf)")]
_Effect = Annotated[float, Within("[1, inf)")]
_Cells = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float64]

Counts = Mapping[str, Mapping[str, int]]
"""Distribution -> cell -> number of documents: `labels` by label, the others by the number of their bin."""


@validated(error=BundleError)
class Distribution:
    """A value's spread over bins; a value equal to an edge counts above it."""

    edges: tuple[float, ...]
    """The k bounds between the bins, ascending."""
    counts: tuple[_Count, ...]
    """The rows of each of the k + 1 bins."""
    design_effect: _Effect
    """The factor by which clustered rows tell less of these shares than independent ones."""

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError(".edges: expected ascending numbers, one fewer than counts")


@validated(error=BundleError)
class Reference:
    """The spread of the certifying rows, strangers among them."""

    criterion: Literal["strict", "equal_average", "near_average", "off"]
    """By which the first tier answered; a run by another one is not compared by confidence and familiarity."""
    rows: Annotated[int, Within("[1, inf)")]
    """Rows that the model answered."""
    labels: Mapping[str, _Count]
    """Rows by the label that the model gave; labels without any are left out."""
    label_design_effect: _Effect
    """As `design_effect`, of the labels."""
    values: Mapping[Literal["confidence", "familiarity", "length", "vocabulary", "strangers"], Distribution]
    """The spread of each value; `strangers` has the policy's least familiarity as its only edge, or is missing."""

    def __post_init__(self) -> None:
        for name, total in (
            (_LABELS, sum(self.labels.values())),
            *((k, sum(v.counts)) for k, v in self.values.items()),
        ):
            if total != self.rows:
                raise ValueError(f".{name}: expected {self.rows} rows, found {total}")


@dataclass(frozen=True)
class Drift:
    """One figure of a run.

    Attributes:
        figure: its name.
        value: the distance from the reference; 0 where both are spread alike.
        limit: the largest value that is no drift.
        rows: documents of the run.
        reference_rows: certifying rows.
    """

    figure: DriftFigure
    value: float
    limit: float
    rows: int
    reference_rows: int

    @property
    def drifted(self) -> bool:
        """True where the distance exceeds its limit."""
        return self.value > self.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"figure": self.figure.value, "drifted": self.drifted}


def apart(value: float, limit: float) -> tuple[str, str]:
    """Both numbers with three digits after the point, or with as many as show them different."""
    for digits in range(3, 17):
        texts = f"{value:.{digits}f}", f"{limit:.{digits}f}"
        if texts[0] != texts[1] or value == limit:
            break
    return texts


def drift_reference(
    scores: Scores,
    policy: Policy,
    characters: npt.ArrayLike,
    clusters: npt.NDArray[np.integer] | None = None,
    criterion: str = "strict",
) -> dict[str, Any]:
    """The spread of certifying rows, as plain values for certificate.json.

    Args:
        scores: the answers to n rows, as a run gives them; failed rows are left out.
        policy: of the bundle.
        characters: (n,) length of each text in code points.
        clusters: (n,) equal for rows of one document; None where rows are independent.
        criterion: by which the first tier answered.
    """
    answered = ~scores.failed
    clusters = None if clusters is None else np.unique(clusters[answered], return_inverse=True)[1]
    columns = _columns(scores.confidence, scores.familiarity, scores.n_tokens, np.asarray(characters, dtype=np.int64))
    label_ids = scores.label_ids[answered]
    values = {}
    for name, column in columns.items():
        column = column[answered]
        edges = _edges(name, column, policy)
        if edges:
            cells = _cells(column, edges)
            counts = np.bincount(cells, minlength=len(edges) + 1)
            values[name] = {
                "edges": edges,
                "counts": counts.tolist(),
                "design_effect": _design_effect(cells, counts, clusters),
            }
    label_counts = np.bincount(label_ids, minlength=len(policy.labels))
    return {
        "criterion": criterion,
        "rows": len(label_ids),
        "labels": {label: count for label, count in zip(policy.labels, label_counts.tolist(), strict=True) if count},
        "label_design_effect": _design_effect(label_ids, label_counts, clusters),
        "values": values,
    }


def parse_reference(values: Mapping[str, Any], where: str) -> Reference | None:
    """Reads the `reference` of a certificate; None for one that has none.

    Raises:
        BundleError: a key is unknown or missing, or its counts contradict each other.
    """
    return read_json(Reference, values, f"{where}: reference") if values else None


def count_documents(
    reference: Reference,
    labels: Mapping[str, int],
    *,
    confidence: npt.NDArray[Any],
    familiarity: npt.NDArray[Any],
    n_tokens: npt.NDArray[Any],
    n_characters: npt.NDArray[Any],
) -> dict[str, dict[str, int]]:
    """Counts documents into the reference's cells.

    Args:
        reference: of the bundle that answered.
        labels: documents by label.
        confidence: (n,) as published, like all that follow.
        familiarity: (n,).
        n_tokens: (n,).
        n_characters: (n,) length of each text in code points.
    """
    columns = _columns(confidence, familiarity, n_tokens, n_characters)
    found = {
        name: np.unique(_cells(columns[name], known.edges), return_counts=True)
        for name, known in reference.values.items()
    }
    counted = {
        name: {str(cell): count for cell, count in zip(cells.tolist(), counts.tolist(), strict=True)}
        for name, (cells, counts) in found.items()
    }
    return {_LABELS: dict(labels)} | counted


def add_counts(parts: Iterable[Counts]) -> Counts:
    """The sum of the counts of several parts of a run."""
    sums: dict[str, Counter[str]] = {}
    for part in parts:
        for name, cells in part.items():
            sums.setdefault(name, Counter()).update(cells)
    return sums


def compare(
    reference: Reference, observed: Counts, criterion: str = "strict", false_alarms: float = FALSE_ALARMS
) -> tuple[Drift, ...]:
    """The distances of a run from the reference; none for a run that classified nothing.

    A distance exceeds its limit only where it is both large and beyond chance. Chance is the distance of two random
    parts, of the sizes of run and reference, of all their documents together: a permutation test. Large is a floor by
    custom, on top of the median chance, since few documents are never spread quite alike. The figures share
    `false_alarms` evenly (Bonferroni), so that a run like the reference is flagged by any of them no more often. Where
    rows come in clusters, both sides count as so many times fewer as their design effect says. The draws are seeded:
    the same counts give the same limits.

    Args:
        reference: of the bundle that answered.
        observed: of all the run's documents of a type.
        criterion: by which the run's first tier answered.
        false_alarms: share of such runs that may be flagged, in (0, 1).

    Sources: B. Phipson and G. K. Smyth, "Permutation P-values Should Never Be Zero", 2010 (the test); N. Siddiqi,
    "Credit Risk Scorecards", 2006 (population stability index and its customary limits); J. Lin, "Divergence Measures
    Based on the Shannon Entropy", 1991; J. N. K. Rao and A. J. Scott, "The Analysis of Categorical Data from Complex
    Sample Surveys", 1981 (the first-order correction for clusters).
    """
    figures = [figure for figure in MEASURES if _applies(figure, reference, criterion)]
    rank = max(1, int((_DRAWS + 1) * false_alarms / len(figures)))
    n_documents = sum(observed.get(_LABELS, {}).values())
    drawn: dict[str, tuple[_Cells, _Cells]] = {}
    found = []
    for figure in figures if n_documents else ():
        measure = MEASURES[figure]
        known, seen = _paired(reference, observed, measure.distribution)
        if measure.distribution not in drawn:
            drawn[measure.distribution] = _reshuffled(known, seen)
        value = float(measure.distance(known, seen)[0])
        chance = np.sort(measure.distance(*drawn[measure.distribution]))
        limit = max(float(chance[-rank]), float(np.median(chance)) + measure.floor)
        found.append(Drift(figure, round(value, 6), round(limit, 6), n_documents, reference.rows))
    return tuple(found)


def _applies(figure: DriftFigure, reference: Reference, criterion: str) -> bool:
    name = MEASURES[figure].distribution
    if name == _LABELS:
        return True
    scored = name in ("confidence", "familiarity", "strangers")
    return name in reference.values and (criterion == reference.criterion or not scored)


def _paired(reference: Reference, observed: Counts, name: str) -> tuple[_Cells, _Cells]:
    """The reference's and the run's count of each cell, as of independent rows: (1, k) each."""
    seen = observed.get(name, {})
    if name == _LABELS:
        cells = sorted(reference.labels.keys() | seen.keys())
        known, effect = [reference.labels.get(cell, 0) for cell in cells], reference.label_design_effect
    else:
        spread = reference.values[name]  # type: ignore[index]
        cells = [str(cell) for cell in range(len(spread.counts))]
        known, effect = list(spread.counts), spread.design_effect
    return _thinned(known, effect), _thinned([seen.get(cell, 0) for cell in cells], effect)


def _thinned(counts: Sequence[int], effect: float) -> _Cells:
    """Counts of so many times fewer documents, one at least, and of no more than the draws can hold: (1, k)."""
    sums = np.cumsum(counts)
    fewer = max(1, min(round(sums[-1] / effect), _MOST_ROWS))
    thinned = np.rint(sums * (fewer / sums[-1])).astype(np.int64)
    return np.asarray(np.diff(thinned, prepend=np.int64(0)))[None]


def _reshuffled(known: _Cells, seen: _Cells) -> tuple[_Cells, _Cells]:
    """Random parts of all documents together, of the same sizes: (draws, k) each."""
    pool = (known + seen)[0]
    generator = np.random.default_rng(_SEED)
    drawn = generator.multivariate_hypergeometric(pool, int(seen.sum()), size=_DRAWS, method="marginals")
    return pool - drawn, drawn


def _shares(cells: _Cells, added: float = 0.0) -> _Values:
    counts = cells + added
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), dtype=np.float64)


def _stability_index(known: _Cells, seen: _Cells) -> _Values:
    """Population stability index in nats, with half a document added to each cell, so that none is empty."""
    p, q = _shares(known, 0.5), _shares(seen, 0.5)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=1))


def _jensen_shannon(known: _Cells, seen: _Cells) -> _Values:
    """Jensen-Shannon divergence in bits, in [0, 1]."""
    p, q = _shares(known), _shares(seen)
    middle = np.maximum((p + q) / 2, np.finfo(np.float64).tiny)
    halves = [part * np.log2(np.maximum(part, np.finfo(np.float64).tiny) / middle) for part in (p, q)]
    return np.asarray((halves[0] + halves[1]).sum(axis=1) / 2)


def _kolmogorov_smirnov(known: _Cells, seen: _Cells) -> _Values:
    """The largest difference of the two distribution functions at an edge, in [0, 1]."""
    return np.asarray(np.abs(np.cumsum(_shares(known) - _shares(seen), axis=1)).max(axis=1))


def _excess(known: _Cells, seen: _Cells) -> _Values:
    """The first cell's share of the run less that of the reference: fewer strangers are no drift."""
    return np.asarray((_shares(seen) - _shares(known))[:, 0])


class _Measure(NamedTuple):
    """The making of a figure.

    Attributes:
        distribution: that it compares.
        distance: of the reference's cells, (n, k), from a run's, (n, k): (n,).
        floor: what is less, beyond the median chance, is of no consequence, however certain.
    """

    distribution: str
    distance: Callable[[_Cells, _Cells], _Values]
    floor: float


MEASURES = {
    DriftFigure.LABEL_PSI: _Measure(_LABELS, _stability_index, 0.2),
    DriftFigure.LABEL_JS: _Measure(_LABELS, _jensen_shannon, 0.05),
    DriftFigure.CONFIDENCE: _Measure("confidence", _kolmogorov_smirnov, 0.1),
    DriftFigure.FAMILIARITY: _Measure("familiarity", _kolmogorov_smirnov, 0.1),
    DriftFigure.LENGTH: _Measure("length", _kolmogorov_smirnov, 0.1),
    DriftFigure.VOCABULARY: _Measure("vocabulary", _kolmogorov_smirnov, 0.1),
    DriftFigure.STRANGERS: _Measure("strangers", _excess, 0.05),
}


def _columns(
    confidence: npt.NDArray[Any],
    familiarity: npt.NDArray[Any],
    n_tokens: npt.NDArray[Any],
    n_characters: npt.NDArray[Any],
) -> dict[str, npt.NDArray[Any]]:
    return {
        "confidence": confidence,
        "familiarity": familiarity,
        "length": n_tokens,
        "vocabulary": n_tokens / np.maximum(n_characters, 1),
        "strangers": familiarity,
    }


def _cells(column: npt.NDArray[Any], edges: Iterable[float]) -> npt.NDArray[np.intp]:
    return np.searchsorted(np.array(list(edges), dtype=np.float64), column.astype(np.float64), side="right")


def _edges(name: str, column: npt.NDArray[Any], policy: Policy) -> list[float]:
    """Bounds of about as many rows each, to six digits; the least familiarity of the policy, for strangers."""
    if name == "strangers":
        return [float(np.float32(policy.min_familiarity))] if np.isfinite(policy.min_familiarity) else []
    quantiles = np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1])
    return sorted({float(f"{quantile:.6g}") for quantile in quantiles})


def _design_effect(cells: npt.NDArray[Any], counts: npt.NDArray[Any], clusters: npt.NDArray[Any] | None) -> float:
    """Rao and Scott's mean design effect of the shares of the cells; 1 for independent rows."""
    if clusters is None or (n_clusters := int(clusters.max()) + 1) < 2:
        return 1.0
    total, used = len(cells), np.flatnonzero(counts)
    if len(used) < 2:
        return 1.0
    shares = counts[used] / total
    sizes = np.bincount(clusters, minlength=n_clusters)
    effects = []
    for cell, share in zip(used, shares, strict=True):
        residuals = np.bincount(clusters, weights=cells == cell, minlength=n_clusters) - sizes * share
        independent = total * share * (1 - share)
        effects.append((residuals**2).sum() * n_clusters / (n_clusters - 1) / independent)
    return max(1.0, round(float(np.average(effects, weights=1 - shares)), 4))
