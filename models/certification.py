"""Finds the thresholds under which what nobody looks at keeps a bound on its error, proven on labelled rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.evaluation.intervals import exact_upper_bound, wilson_interval
from models.policy import Policy
from models.scores import Scores
from schemas.codes import FIRST_TIER_CRITERIA
from schemas.errors import CertificationError

Per = Literal["all", "label", "group", "slice"]
METHOD = "exact binomial bounds over a fixed sequence of thresholds (learn-then-test)"
RECALL_METHOD = "exact binomial bounds on missed positives over a fixed sequence of thresholds (learn-then-test)"
NEVER = math.inf  # the threshold of an answer that no confidence lets stand
_STEPS = 200  # thresholds tried at most, evenly spread over the choosing rows
_CURVE_POINTS = 50
ENCODER, FIRST_TIER, OCR = "encoder", "first_tier", "ocr"
_FIRST_TIER_TAIL = 0.1  # of the allowed tail: its errors are few
_DOUBT = 0.5  # errors added on the choosing rows, so that a few lucky rows do not look certain


@dataclass(frozen=True)
class Target:
    """A promise to be proven.

    Attributes:
        max_error: largest share of wrong answers among those accepted, in (0, 1); with a `positive_label`, largest
            share of its documents that are accepted as something else.
        confidence: least probability, over the draw of the certifying rows, that the promise holds, in (0, 1).
        per: the answers that the promise holds for: all together, those of each label, or of each group of labels, each
            with a threshold of its own; or "slice": all together, and in each slice of the rows as well.
        none_label: with per = "group", the label that makes a group of its own: an accepted wrong answer is a miss
            there and a false alarm elsewhere. "" groups the labels by the data sets they come from.
        positive_label: the label whose documents must not be missed; "" bounds the error of what is accepted.
    """

    max_error: float
    confidence: float = 0.95
    per: Per = "all"
    none_label: str = ""
    positive_label: str = ""


@dataclass(frozen=True, eq=False)
class LabelledScores:
    """The bundle's answers to labelled rows, n of them.

    Attributes:
        encoder: the encoder's answers, as if there were no first tier.
        gold_ids: (n,) int, the right label; -1 for a row that belongs to none.
        first_tier: the first tier's, NaN where it may not answer; None for a bundle without one.
        clusters: (n,) int, equal for rows that stand or fall together; None where rows are independent.
        slices: column -> (n,) values as text.
        also_right: (n, n_labels) bool, the labels that are right as well; None where a row has one right label.
    """

    encoder: Scores
    gold_ids: npt.NDArray[np.integer]
    first_tier: Scores | None = None
    clusters: npt.NDArray[np.integer] | None = None
    slices: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    also_right: npt.NDArray[np.bool_] | None = None

    def take(self, rows: npt.NDArray[Any]) -> LabelledScores:
        """Those rows only; `rows` are numbers or flags."""
        return LabelledScores(
            self.encoder.take(rows),
            self.gold_ids[rows],
            None if self.first_tier is None else self.first_tier.take(rows),
            None if self.clusters is None else self.clusters[rows],
            {name: values[rows] for name, values in self.slices.items()},
            None if self.also_right is None else self.also_right[rows],
        )

    def wrong(self, label_ids: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """(n,) bool, True where an answer is none of the row's right labels; `label_ids` are (n,), -1 for none."""
        wrong = label_ids != self.gold_ids
        if self.also_right is not None:
            wrong &= ~self.also_right[np.arange(len(label_ids)), label_ids] | (label_ids < 0)
        return np.asarray(wrong, dtype=np.bool_)

    def answers(self, policy: Policy, criterion: str) -> Scores:
        """The answers that a run gives: the first tier's where `policy` lets it answer by `criterion`."""
        if self.first_tier is None:
            return self.encoder
        easy = self.first_tier.confidence >= np.float32(policy.first_tier.get(criterion, NEVER))
        return replace(
            self.encoder,
            **{
                name: np.where(
                    easy[:, None] if getattr(self.encoder, name).ndim == 2 else easy,
                    getattr(self.first_tier, name),
                    getattr(self.encoder, name),
                )
                for name in ("top_label_ids", "top_confidences", "confidence", "familiarity")
            },
            first_tier=easy,
        )


@dataclass(frozen=True)
class Proof:
    """A threshold and what it did on the certifying rows.

    Attributes:
        door: the part of the bundle whose answers it lets through, `first_tier` or `encoder`; or `ocr`.
        answers: the answers that it is for: a label, the name of a group, or "all".
        threshold: least confidence that is accepted, of the answer or of OCR; infinite where nothing could be proven.
        rows: certifying rows accepted; with a positive label, its rows.
        errors: those that are wrong; with a positive label, those missed.
        bound: the share of errors stays below it with probability 1 - `tail`; None without a proof.
        tail: the part of 1 - confidence that this proof uses.
        rows_needed: accepted rows, all right, that would have been enough.
    """

    door: str
    answers: str
    threshold: float
    rows: int
    errors: int
    bound: float | None
    tail: float
    rows_needed: int


@dataclass(frozen=True)
class Certification:
    """A policy that keeps a target, and its proof.

    Attributes:
        policy: the bundle's, with certified thresholds.
        target: the promise.
        proofs: one for each threshold; those that failed have an infinite threshold.
        rows: certifying rows that belong to a label.
        errors: wrong answers among those accepted; with a positive label, its rows accepted as something else.
        accepted: certifying rows in scope that the policy accepts.
        strangers: certifying rows that belong to no label.
        strangers_accepted: those that are accepted all the same.
        design_effect: the factor by which clusters make rows worth less than independent ones; at least 1.
        curve: (coverage, error) of the most confident certifying rows, in steps of 2%.
    """

    policy: Policy
    target: Target
    proofs: tuple[Proof, ...]
    rows: int
    errors: int
    accepted: int
    strangers: int
    strangers_accepted: int
    design_effect: float
    curve: tuple[tuple[float, float], ...]

    @property
    def coverage(self) -> float:
        """Share of the certifying rows in scope that is accepted."""
        return self.accepted / self.rows if self.rows else 0.0

    @property
    def method(self) -> str:
        """The name of the proof's method."""
        return RECALL_METHOD if self.target.positive_label else METHOD

    @property
    def strangers_interval(self) -> tuple[float, float] | None:
        """The 95% interval of the share of strangers accepted."""
        return wilson_interval(self.strangers_accepted, self.strangers)


def p_value(errors: float, rows: float, max_error: float) -> float:
    """The probability of so few errors, or fewer, among rows of which a share `max_error` is wrong.

    Counts need not be whole: divided by a design effect, they give the bound of Korn and Graubard.

    Sources: C. J. Clopper and E. S. Pearson, Biometrika 26, 1934; E. L. Korn and B. I. Graubard, "Confidence intervals
    for proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24,
    1998.
    """
    return float(p_values(np.array([errors]), np.array([rows]), max_error)[0])


def p_values(errors: npt.NDArray[np.number], rows: npt.NDArray[np.number], max_error: float) -> npt.NDArray[np.float64]:
    """`p_value` of many counts: (n,) each."""
    from scipy.special import betainc

    right = np.maximum(rows - errors, 0)
    return np.where(right > 0, betainc(np.maximum(right, 1e-12), errors + 1, 1 - max_error), 1.0)


def rows_needed(max_error: float, tail: float) -> int:
    """The least number of rows, all right, that prove an error of at most `max_error`: 299 for 1% at a tail of 5%."""
    return math.ceil(math.log(tail) / math.log1p(-max_error) - 1e-9)


def certify(
    policy: Policy,
    label_groups: Mapping[str, Sequence[str]],
    choosing: LabelledScores,
    certifying: LabelledScores,
    target: Target,
) -> Certification:
    """Finds the loosest thresholds that keep the target.

    The choosing rows fix a sequence of thresholds and its start. From there the certifying rows test one after the
    other, looser each time, until the first that fails; the last that passed is taken. As the sequence was fixed
    before, trying many costs nothing. The first tier's threshold is tested first, with a tenth of the allowed tail. The
    encoder's is tested together with what the first tier accepted, for every criterion of the first tier and without
    it, since a run may use any; several thresholds share the rest of the tail evenly. A promise for each label or group
    leaves the first tier out, since its threshold is one for all. Guards of the policy against
    strangers, long and truncated texts stay as they are: the promise is about in-scope rows, strangers are counted
    beside it.

    Args:
        policy: with its guards; its thresholds of confidence are replaced, and those of the first tier that are not
            proven are left out.
        label_groups: name -> labels, for per = "group".
        choosing: rows that trained nothing.
        certifying: rows that were used for nothing at all.
        target: the promise.

    Raises:
        CertificationError: no threshold keeps the target; the message says how many rows would do.

    Source: A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan and L. Lei, "Learn then Test: Calibrating
    Predictive Algorithms to Achieve Risk Control", 2021 (fixed sequence testing); Y. Geifman and R. El-Yaniv,
    "Selective Classification for Deep Neural Networks", 2017 (the risk).
    """
    _check_target(target, policy)
    if target.per in ("label", "group"):
        policy = replace(policy, first_tier={})  # its one threshold would let answers of unproven labels through
    tail = 1 - target.confidence
    first_tail = _FIRST_TIER_TAIL * tail if policy.first_tier else 0.0
    scale = int((certifying.gold_ids >= 0).sum()) / max(1, int((choosing.gold_ids >= 0).sum()))
    test = _Test(target, _design_effect(_view(policy, choosing, "off", target), choosing.clusters, target), scale)
    policy = replace(policy, first_tier=_hopeful_first_tier(policy, choosing, test, first_tail))
    first_tier, proofs = _certify_first_tier(policy, certifying, test, first_tail)
    tail -= first_tail
    chosen = _view(policy, choosing, "off", target)
    # Also with a first tier that failed, so that the tests do not depend on its outcome.
    seen = {mode: _view(policy, certifying, mode, target) for mode in ("off", *policy.first_tier)}
    policy = replace(policy, first_tier=first_tier)
    parts = _parts(policy.labels, label_groups, target)
    hopeful = _hopeful({name: chosen.of(ids) for name, ids in parts.items()}, test, tail)
    own: dict[str, float] = {}
    for name, label_ids in parts.items():
        share = tail / max(1, len(hopeful))
        views = {mode: view.of(label_ids) for mode, view in seen.items()}
        tested = [part for view in views.values() for part in view.slices(target)]
        threshold = test.loosest(chosen.of(label_ids), tested, share) if name in hopeful else NEVER
        proofs.append(test.proof(ENCODER, name, threshold, views[["off", *first_tier][-1]], share))
        own |= {policy.labels[label_id]: threshold for label_id in label_ids}
    if target.positive_label:
        own[target.positive_label] = NEVER
    if all(proof.threshold == NEVER for proof in proofs):
        raise CertificationError(_refusal(target, proofs, chosen, test, scale))
    return _measured(_with_thresholds(policy, own), test, tuple(proofs), certifying)


def certify_ocr(
    certification: Certification, rows: LabelledScores, ocr_confidence: npt.NDArray[np.floating], least: float
) -> Certification:
    """Tests the certified policy on texts that OCR read, and lets it accept such texts where they keep the target too.

    One test at one confidence of OCR, which was chosen before; so nothing is paid for trying. Rows count less by the
    design effect of the other certifying rows. With several criteria of the first tier, all have to pass.

    Args:
        certification: of texts that were given.
        rows: answers to n texts read by OCR, used for nothing else.
        ocr_confidence: (n,) of OCR in each text.
        least: from which on a text may be accepted, in [0, 1].

    Raises:
        CertificationError: the target is a recall, which is about all documents.
    """
    target, policy = certification.target, certification.policy
    if target.positive_label:
        raise CertificationError("texts read by OCR are certified for the error of accepted answers, not for a recall")
    test, tail = _Test(target, certification.design_effect, 1.0), 1 - target.confidence
    read_well = (rows.gold_ids >= 0) & (ocr_confidence >= np.float32(least))
    counts: list[tuple[int, int]] = []
    for criterion in (*policy.first_tier, "off"):
        scores = rows.answers(policy, criterion)
        accepted = replace(policy, certified=True).route(scores, criterion).accepted & read_well
        counts.append((int((rows.wrong(scores.label_ids) & accepted).sum()), int(accepted.sum())))
    worth = 1 / test.design_effect
    errors, n_accepted = max(counts, key=lambda count: p_value(count[0] * worth, count[1] * worth, target.max_error))
    proven = test.passes(errors, n_accepted, tail)
    effective = errors * worth, n_accepted * worth
    proof = Proof(
        OCR,
        "all",
        least if proven else NEVER,
        n_accepted,
        errors,
        exact_upper_bound(*effective, tail) if proven else None,
        tail,
        math.ceil(rows_needed(target.max_error, tail) * test.design_effect),
    )
    policy = replace(policy, min_ocr_confidence=proof.threshold)
    return replace(certification, policy=policy, proofs=(*certification.proofs, proof))


def none_left_to_certify(policy: Policy, choosing: LabelledScores, target: Target) -> str:
    """The refusal where no row is left to certify on; it says how many would do if they are like the choosing rows.

    Args:
        policy: with its guards.
        choosing: labelled rows; they may have been answered by other networks than the one that is deployed.
        target: the promise.
    """
    _check_target(target, policy)
    tail = 1 - target.confidence
    chosen = _view(policy, choosing, "off", target)
    likely = _likely_rows(chosen, _Test(target, 1.0, 1.0), tail, 1.0)
    return (
        f"{target.max_error:.2%} at {target.confidence:.0%} confidence cannot be proven: no labelled row is left that "
        f"the network did not learn; it takes at least {rows_needed(target.max_error, tail):,} more, all right"
        + (f", and by cross-fitting about {likely:,} would do" if likely else "")
        + "; label rows, such as escalated documents, and call docyard certify"
    )


def _check_target(target: Target, policy: Policy) -> None:
    for name, value in (("max_error", target.max_error), ("confidence", target.confidence)):
        if not 0.0 < value < 1.0:
            raise CertificationError(f"{name}: expected a number between 0 and 1, found {value}")
    for name, label in (("none_label", target.none_label), ("positive_label", target.positive_label)):
        if label and label not in policy.labels:
            raise CertificationError(f"{name}: {label!r} is none of the bundle's labels; name one of them")
    if target.positive_label and target.per != "all":
        raise CertificationError("per: a recall is certified for all answers together; leave out --per")


class _View(NamedTuple):
    """The in-scope rows that a door can let through: those that pass the guards.

    Attributes:
        confidence: (n,) float32.
        label_ids: (n,) int, as answered.
        wrong: (n,) bool.
        columns: column -> (n,) values to slice by.
        rows: (n,) their places among all rows.
        n_fixed: the rows among which errors are counted, accepted or not; None for those that are accepted.
    """

    confidence: npt.NDArray[np.float32]
    label_ids: npt.NDArray[np.int32]
    wrong: npt.NDArray[np.bool_]
    columns: Mapping[str, npt.NDArray[np.str_]]
    rows: npt.NDArray[np.intp]
    n_fixed: int | None

    def take(self, rows: npt.NDArray[np.bool_]) -> _View:
        columns = {name: values[rows] for name, values in self.columns.items()}
        places = self.rows[rows]
        return _View(self.confidence[rows], self.label_ids[rows], self.wrong[rows], columns, places, self.n_fixed)

    def of(self, label_ids: Sequence[int]) -> _View:
        """The rows that are answered with one of these labels."""
        return self.take(np.isin(self.label_ids, label_ids))

    def slices(self, target: Target) -> list[_View]:
        """All rows, and those of each value of each column where the target is per slice."""
        parts = [self]
        if target.per == "slice":
            parts += [self.take(values == value) for values in self.columns.values() for value in np.unique(values)]
        return parts

    def counted(self, threshold: float) -> tuple[int, int]:
        """Errors that the threshold lets through, and the rows among which they are counted."""
        errors, rows = self.counts([threshold])
        return int(errors[0]), int(rows[0])

    def counts(self, thresholds: Sequence[float]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The same for many thresholds: (n_thresholds,) each."""
        order = np.argsort(self.confidence)
        below = np.searchsorted(self.confidence[order], np.array(thresholds, dtype=np.float32))
        wrong = np.append(0, np.cumsum(self.wrong[order]))
        rows = len(order) - below if self.n_fixed is None else np.full(len(below), self.n_fixed)
        return wrong[-1] - wrong[below], rows


def _view(policy: Policy, rows: LabelledScores, mode: str, target: Target, door: str = ENCODER) -> _View:
    """The rows that `door` may accept when the first tier answers by the criterion `mode`, or is "off".

    Those of the encoder include what the first tier answered before it, which no threshold of the encoder keeps out.
    """
    if door == FIRST_TIER:
        assert rows.first_tier is not None
        scores = rows.first_tier
        passed, confidence = np.isfinite(scores.confidence), scores.confidence
    else:
        scores = rows.answers(policy, mode)
        passed = ~scores.failed & ~scores.truncated & (scores.n_windows <= policy.max_windows)
        passed &= scores.familiarity >= np.float32(policy.min_familiarity)
        passed |= scores.first_tier
        confidence = np.where(scores.first_tier, np.float32(NEVER), scores.confidence)  # reaches every threshold
    in_scope = rows.gold_ids >= 0
    seen = in_scope & passed
    wrong, n_fixed = rows.wrong(scores.label_ids), None
    if target.positive_label:
        positive_id = policy.labels.index(target.positive_label)
        wrong, n_fixed = rows.gold_ids == positive_id, int((rows.gold_ids == positive_id).sum())
        seen &= scores.label_ids != positive_id  # looked at by people, whatever the confidence
    columns = {name: values[seen] for name, values in rows.slices.items()}
    places = np.flatnonzero(seen)
    return _View(confidence[seen], scores.label_ids[seen], wrong[seen], columns, places, n_fixed)


class _Test(NamedTuple):
    """The test of one threshold after the other.

    Attributes:
        target: the promise.
        design_effect: rows are worth that many times less.
        scale: certifying rows per choosing row.
    """

    target: Target
    design_effect: float
    scale: float

    def expected(self, chosen: _View, thresholds: Sequence[float]) -> list[float]:
        """The p-value of each threshold on the certifying rows, as far as the choosing rows tell."""
        errors, rows = chosen.counts(thresholds)
        worth = self.scale / self.design_effect
        return [float(value) for value in p_values((errors + _DOUBT) * worth, rows * worth, self.target.max_error)]

    def passes(self, errors: int, rows: int, tail: float) -> bool:
        """True where so few errors prove the target."""
        return p_value(errors / self.design_effect, rows / self.design_effect, self.target.max_error) <= tail

    def loosest(self, chosen: _View, tested: Sequence[_View], tail: float) -> float:
        """The last threshold of the sequence that all of `tested` pass; NEVER where the first fails."""
        sequence = _thresholds(chosen.confidence)
        if not sequence:
            return NEVER
        candidates = sequence[int(np.argmin(self.expected(chosen, sequence))) :]
        worth = 1 / self.design_effect
        passed = np.ones(len(candidates), dtype=np.bool_)
        for view in tested:
            errors, rows = view.counts(candidates)
            passed &= p_values(errors * worth, rows * worth, self.target.max_error) <= tail
        n_passed = len(passed) if passed.all() else int(np.argmin(passed))
        return candidates[n_passed - 1] if n_passed else NEVER

    def proof(self, door: str, answers: str, threshold: float, view: _View, tail: float) -> Proof:
        errors, rows = view.counted(threshold)
        proven = threshold < NEVER
        bound = exact_upper_bound(errors / self.design_effect, rows / self.design_effect, tail) if proven else None
        needed = math.ceil(rows_needed(self.target.max_error, tail) * self.design_effect)
        return Proof(door, answers, threshold, rows if proven else 0, errors if proven else 0, bound, tail, needed)


def _thresholds(confidence: npt.NDArray[np.float32]) -> list[float]:
    """Values of the choosing rows, evenly spread over them, the strictest first."""
    ordered = np.sort(confidence)[::-1]
    places = np.unique(np.linspace(0, len(ordered) - 1, min(_STEPS, len(ordered))).astype(np.intp))
    return sorted({float(ordered[place]) for place in places}, reverse=True)


def _design_effect(view: _View, clusters: npt.NDArray[np.integer] | None, target: Target) -> float:
    """The variance of the share of errors with the rows in clusters, over that of independent rows; at least 1.

    Measured on the choosing rows that are likely to be accepted, and enlarged for the few clusters that it is measured
    on, by the square of Student's quantile over the normal one.

    Sources: L. Kish, "Survey Sampling", 1965, sections 6.3 and 8.2; Korn and Graubard, as for `p_value`.
    """
    from scipy.special import ndtri, stdtrit

    thresholds = _thresholds(view.confidence)
    if clusters is None or not thresholds:
        return 1.0
    expected = _Test(target, 1.0, 1.0).expected(view, thresholds)
    passing = [threshold for threshold, p in zip(thresholds, expected, strict=True) if p <= 1 - target.confidence]
    likely = min(passing, default=thresholds[int(np.argmin(expected))])
    accepted = view.take(view.confidence >= np.float32(likely))
    share = float(accepted.wrong.mean())
    totals = np.bincount(np.unique(clusters[accepted.rows], return_inverse=True)[1], weights=accepted.wrong - share)
    independent = share * (1 - share) * len(accepted.wrong)
    if not independent or len(totals) < 2:
        return 1.0
    few = float(stdtrit(len(totals) - 1, target.confidence) / ndtri(target.confidence)) ** 2
    return max(1.0, float((totals**2).sum() * len(totals) / (len(totals) - 1) / independent)) * few


def _hopeful_first_tier(policy: Policy, choosing: LabelledScores, test: _Test, tail: float) -> dict[str, float]:
    """The thresholds of the first tier that the choosing rows promise a proof for; the others are not tried."""
    hopeful = {}
    for criterion, threshold in policy.first_tier.items():
        view = _view(policy, choosing, criterion, test.target, FIRST_TIER)
        if test.expected(view, [threshold])[0] <= tail:
            hopeful[criterion] = threshold
    return hopeful


def _certify_first_tier(
    policy: Policy, certifying: LabelledScores, test: _Test, tail: float
) -> tuple[dict[str, float], list[Proof]]:
    """The thresholds of the first tier that pass, by criterion; each is tested as it is, and no other in its place."""
    passed, proofs = {}, []
    for criterion, threshold in policy.first_tier.items():
        seen = _view(policy, certifying, criterion, test.target, FIRST_TIER)
        proven = all(test.passes(*view.counted(threshold), tail) for view in seen.slices(test.target))
        proofs.append(test.proof(f"{FIRST_TIER}.{criterion}", "all", threshold if proven else NEVER, seen, tail))
        if proven:
            passed[criterion] = threshold
    return passed, proofs


def _parts(labels: Sequence[str], label_groups: Mapping[str, Sequence[str]], target: Target) -> dict[str, list[int]]:
    """Name -> ids of the labels whose answers have a threshold in common."""
    if target.per == "label":
        return {label: [label_id] for label_id, label in enumerate(labels)}
    if target.per == "group" and target.none_label:
        none_id = labels.index(target.none_label)
        others = [label_id for label_id in range(len(labels)) if label_id != none_id]
        return {target.none_label: [none_id], f"not {target.none_label}": others}
    if target.per == "group":
        return {name: [labels.index(label) for label in group] for name, group in label_groups.items()}
    return {"all": list(range(len(labels)))}


def _hopeful(parts: Mapping[str, _View], test: _Test, tail: float) -> set[str]:
    """The most answers for which the choosing rows promise a proof, each with its share of the tail."""
    best = {name: min(test.expected(view, _thresholds(view.confidence)), default=1.0) for name, view in parts.items()}
    if len(parts) == 1:
        return set(parts)
    ranked = sorted(best, key=lambda name: (best[name], name))
    counts = [count for count in range(1, len(ranked) + 1) if best[ranked[count - 1]] <= tail / count]
    return set(ranked[: max(counts, default=0)])


def _with_thresholds(policy: Policy, own: Mapping[str, float]) -> Policy:
    thresholds = list(own.values())
    common = max(sorted(set(thresholds)), key=thresholds.count)
    return replace(
        policy,
        min_confidence=common,
        label_min_confidence={label: value for label, value in own.items() if value != common},
    )


def _measured(policy: Policy, test: _Test, proofs: tuple[Proof, ...], certifying: LabelledScores) -> Certification:
    """The policy on the certifying rows, by the criterion that a run uses unless told otherwise."""
    target, gold_ids = test.target, certifying.gold_ids
    scores = certifying.answers(policy, FIRST_TIER_CRITERIA[0])
    accepted = replace(policy, certified=True).route(scores, FIRST_TIER_CRITERIA[0]).accepted
    in_scope = gold_ids >= 0
    wrong = in_scope & certifying.wrong(scores.label_ids)
    if target.positive_label:
        wrong = gold_ids == policy.labels.index(target.positive_label)
    return Certification(
        policy=policy,
        target=target,
        proofs=proofs,
        rows=int(in_scope.sum()),
        errors=int((accepted & wrong).sum()),
        accepted=int((accepted & in_scope).sum()),
        strangers=int((~in_scope).sum()),
        strangers_accepted=int((accepted & ~in_scope).sum()),
        design_effect=test.design_effect,
        curve=_curve(scores.confidence[in_scope], wrong[in_scope]),
    )


def _curve(confidence: npt.NDArray[np.float32], wrong: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    order = np.argsort(-np.nan_to_num(confidence), kind="stable")
    errors = np.cumsum(wrong[order])
    sizes = np.unique(np.linspace(0, len(order), _CURVE_POINTS + 1).astype(np.intp)[1:])
    return tuple((round(size / len(order), 4), round(float(errors[size - 1] / size), 4)) for size in sizes if size)


def _refusal(target: Target, proofs: Sequence[Proof], chosen: _View, test: _Test, scale: float) -> str:
    needed = min(proof.rows_needed for proof in proofs if proof.door == ENCODER)
    promise = f"{target.max_error:.2%} at {target.confidence:.0%} confidence"
    what = "rows of the positive label, none missed" if target.positive_label else "accepted rows, all right"
    likely = _likely_rows(chosen, test, min(proof.tail for proof in proofs), scale)
    more = f"; by the choosing rows, about {likely:,} certifying rows would do" if likely else ""
    return (
        f"{promise} cannot be proven on these rows: it takes at least {needed:,} {what}{more}; give more "
        "labelled rows, or a larger --max-error"
    )


def _likely_rows(chosen: _View, test: _Test, tail: float, scale: float) -> int | None:
    """The least number of certifying rows that prove the target if they are like the choosing rows; None if none do."""
    thresholds, size = _thresholds(chosen.confidence), max(1.0, len(chosen.confidence) * scale)
    for factor in np.geomspace(1, 1000, 40):
        larger = test._replace(scale=test.scale * float(factor))
        if min(larger.expected(chosen, thresholds), default=1.0) <= tail:
            return math.ceil(size * float(factor))
    return None
