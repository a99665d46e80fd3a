"""Qualification of a backend: what its vote adds on labelled texts that the policy would escalate.

Each text is judged by a weight that was learned without it. The interval of the gain and the bound on the errors are
exact, so that a handful of lucky texts qualifies nobody.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import sqlalchemy as sa

from escalation.database import transaction
from escalation.events import Event, append_event
from escalation.llm.answers import Answer
from escalation.llm.calls import OVER_CAP, DrainContext, open_call, stored_answer
from escalation.llm.hints import Hints
from escalation.llm.prompt import NONE, Prompt, prompt_version
from escalation.llm.refusals import RefusedAnswerError
from escalation.llm.votes import combined, llm_shares
from escalation.llm.work import Caller, make_prompt, wait_seconds
from escalation.masking.masker import UnmaskableError
from escalation.tables import calls, qualifications
from models.classifier import Classifier
from models.evaluation.intervals import exact_lower_bound, exact_upper_bound
from schemas.codes import CallStatus, EventAction, ItemCode, RouteReason
from schemas.errors import ConfigError, EndpointError, InputError

FOLDS = 5
_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(31))
_STEPS = 20  # thresholds tried
_WAIT_SECONDS = 0.2
_WAITS = 600


@dataclass(frozen=True)
class LabelledText:
    """A text that the policy would escalate for its low confidence, with its right label."""

    text: str
    gold: str
    candidates: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Qualified:
    """The result of a qualification."""

    backend: str
    bundle: str
    fit: Fit
    unanswered: int  # texts without a valid answer, which count as the small model has them


def escalated_texts(classifier: Classifier, texts: Sequence[str], gold: Sequence[str]) -> list[LabelledText]:
    """The texts that the policy would escalate for a low confidence, in an order made by hashes of the texts."""
    bundle = classifier.bundle
    scores = classifier.classify(list(texts))
    found = {}
    for row in np.flatnonzero(bundle.policy.route(scores).reasons == RouteReason.LOW_CONFIDENCE.value).tolist():
        labels = [bundle.labels[label_id] for label_id in scores.top_label_ids[row]]
        candidates = tuple(zip(labels, map(float, scores.top_confidences[row]), strict=True))
        # The same text twice would count its luck twice.
        found[hashlib.sha256(texts[row].encode()).hexdigest()] = LabelledText(texts[row], gold[row], candidates)
    return [found[key] for key in sorted(found)]


def qualify(
    context: DrainContext,
    classifier: Classifier,
    rows: Sequence[LabelledText],
    data_sha256: str,
    workers: int,
    stop: threading.Event,
) -> Qualified | None:
    """Asks about every text, fits the vote, and records it; texts that were asked about before cost nothing.

    Returns None where `stop` was set: it ends after the calls in flight, keeps their answers, records nothing.

    Raises:
        InputError: fewer texts than can be told apart.
        ConfigError: the cap does not allow all calls.
        EndpointError: the endpoint cannot be used, or was away for too long.
    """
    if len(rows) < FOLDS * 4:
        raise InputError(
            f"the policy escalates only {len(rows)} of the labelled texts for a low confidence; give at least "
            f"{FOLDS * 4}, better some hundreds"
        )
    caller = Caller(context)
    hints = context.hints(classifier.bundle.document_type)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="docyard-qualify")
    try:
        answers = list(pool.map(partial(_ask_unless_stopped, caller, stop, hints), rows))
        if not stop.is_set():
            caller.judge(idle=True)
    except BaseException:
        stop.set()  # the others may be waiting
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    if stop.is_set():
        return None
    votes = [
        LabelledVote(row.gold, row.candidates, answer.label if answer else None, answer.scores if answer else {})
        for row, answer in zip(rows, answers, strict=True)
    ]
    max_error, now = context.config.llm.max_error, context.clock()
    fit = fit_vote(votes, max_error)
    backend, bundle = context.backend.name, classifier.bundle.reference
    version = prompt_version(context.config.llm, hints.identity)
    about = {"backend": backend, "prompt_version": version, "bundle": bundle, "data_sha256": data_sha256}
    row = {**about, "max_error": max_error, **asdict(fit)}
    with transaction(context.engine) as connection:
        connection.execute(sa.insert(qualifications).values(at=now, **row))
        append_event(connection, Event("operator", EventAction.BACKEND_QUALIFIED, None, row), now)
    return Qualified(backend, bundle, fit, sum(answer is None for answer in answers))


def _ask_unless_stopped(caller: Caller, stop: threading.Event, hints: Hints, row: LabelledText) -> Answer | None:
    try:
        return _ask(caller, stop, hints, row)
    except BaseException:
        stop.set()  # the others may be waiting for a verdict, or for the endpoint
        raise


def _ask(caller: Caller, stop: threading.Event, hints: Hints, row: LabelledText) -> Answer | None:
    """The answer about one text, from an earlier call or a new one; None where the text may not leave, or none came."""
    context = caller.context
    content = hashlib.sha256(row.text.encode()).hexdigest()
    attempt = 0
    while attempt < context.config.queue.max_attempts:
        try:
            seed = f"{content}:{attempt}"
            prompt = make_prompt(context.config, context.masker, row.text, row.candidates, seed, hints)
        except UnmaskableError:
            return None
        opened = _open(caller, stop, prompt)
        if opened is None or isinstance(opened, Answer):
            return opened
        try:
            outcome = caller.call(prompt, opened, None, row.text)
        finally:
            caller.trial.leave()
        if not stop.is_set():
            caller.judge()
        if isinstance(outcome, Answer):
            return outcome
        if outcome.code is ItemCode.REQUEST_REJECTED:
            return None
        if not isinstance(outcome, RefusedAnswerError):
            stop.wait(wait_seconds(context, attempt, outcome.retry_after))
        attempt += outcome.costs_attempt
    return None


def _open(caller: Caller, stop: threading.Event, prompt: Prompt) -> Answer | str | None:
    """An earlier answer to the same, or the id of a new call, which `trial.leave` ends; None after a stop."""
    for _ in range(_WAITS):
        while not stop.is_set():
            pause = caller.enter()
            if not pause:
                break
            stop.wait(pause)
        else:
            return None
        opened = None
        try:
            opened = _open_now(caller.context, prompt)
        finally:
            if not isinstance(opened, str):
                caller.trial.leave()
        if opened is not None:
            return opened
        stop.wait(_WAIT_SECONDS)
    raise EndpointError("others have been asking the same for minutes; run the qualification again")


def _open_now(context: DrainContext, prompt: Prompt) -> Answer | str | None:
    """An earlier answer to the same, or the id of a new call; None where others' calls must end first."""
    now = context.clock()
    with transaction(context.engine) as connection:
        known = stored_answer(connection, prompt, context.backend)
        if known is not None:
            return Answer(known["answer"], json.loads(known["scores"]), known["words"] or "")
        _forget_own_loss(connection, prompt, now - context.lease_micros, now)
        outcome, call_id = open_call(context, connection, prompt, None, now)
    if outcome == OVER_CAP:
        raise ConfigError("the cap does not allow all calls of the qualification; raise it, or give fewer texts")
    return call_id or None


def _forget_own_loss(connection: sa.Connection, prompt: Prompt, too_old: int, now: int) -> None:
    """A call of an earlier qualification that was killed belongs to no item, so that no lease tells its end."""
    mine = (calls.c.prompt_hash == prompt.hash) & (calls.c.purpose == "qualify")
    under_way = (calls.c.status == CallStatus.RESERVED.value) & (calls.c.started_at < too_old)
    lost = sa.update(calls).where(mine, under_way).values(status=CallStatus.LOST.value, finished_at=now)
    connection.execute(lost)


@dataclass(frozen=True)
class LabelledVote:
    """The answers of both on one labelled text."""

    gold: str  # the right label, perhaps none of the candidates
    candidates: tuple[tuple[str, float], ...]  # the small model's, with their confidence, best first
    answer: str | None  # the LLM's label, "" for none of the candidates; None where it gave no valid answer
    scores: Mapping[str, float]  # its probabilities, or {}


@dataclass(frozen=True)
class Fit:
    """The proven quality of the vote."""

    n: int  # texts
    small_correct: int  # of which the small model has right by itself
    combined_correct: int  # of which the combined vote has right, each by a weight learned on other texts
    gain: float  # the difference as a share of n
    gain_low: float  # of its 95% interval, from the texts on which the two differ
    gain_high: float
    weight: float  # learned on all texts
    min_confidence: float | None  # least one from which on errors are bounded; None where nothing may be settled
    coverage: float  # share of n that reaches it


def fit_vote(rows: Sequence[LabelledVote], max_error: float) -> Fit:
    """Fits the vote and measures it.

    Args:
        rows: at least FOLDS of them, in an order that has nothing to do with their labels.
        max_error: largest share of errors, at 95% confidence, among what may be settled.
    """
    n = len(rows)
    judged: list[tuple[str, float]] = [("", 0.0)] * n
    for fold in range(FOLDS):
        weight = learn_weight([row for index, row in enumerate(rows) if index % FOLDS != fold])
        for index in range(fold, n, FOLDS):
            judged[index] = _combined(rows[index], weight)[0]
    small = [row.candidates[0][0] == row.gold for row in rows]
    both = [label == row.gold for row, (label, _) in zip(rows, judged, strict=True)]
    gains = sum(now and not before for before, now in zip(small, both, strict=True))
    losses = sum(before and not now for before, now in zip(small, both, strict=True))
    low, high = gain_interval(gains, losses, n)
    answered = zip(rows, judged, both, strict=True)
    may_settle = [(confidence, right) for row, (_, confidence), right in answered if row.answer not in (None, NONE)]
    threshold, reached = choose_threshold(may_settle, max_error) if low > 0 else (None, 0)
    weight = learn_weight(rows)
    return Fit(n, sum(small), sum(both), (gains - losses) / n, low, high, weight, threshold, reached / n)


def learn_weight(rows: Sequence[LabelledVote]) -> float:
    """The weight under which the right labels are most probable; 0.0 where no row can tell."""
    telling = [row for row in rows if any(label == row.gold for label, _ in row.candidates)]
    return max(_WEIGHTS, key=lambda weight: (_log_likelihood(telling, weight), -weight))


def gain_interval(gains: int, losses: int, n: int) -> tuple[float, float]:
    """The 95% interval of (gains - losses) / n, given how many texts the two differ on."""
    differ = gains + losses
    if not differ:
        return 0.0, 0.0
    low, high = exact_lower_bound(gains, differ, 0.025), exact_upper_bound(gains, differ, 0.025)
    return (2 * low - 1) * differ / n, (2 * high - 1) * differ / n


def choose_threshold(confident: Sequence[tuple[float, bool]], max_error: float) -> tuple[float | None, int]:
    """The least confidence down to which errors stay within `max_error` at 95% confidence, and how many reach it.

    Thresholds are tried from the strictest down, in steps fixed beforehand, until the first one fails; so that trying
    several costs nothing. Each of `confident` is a confidence and True where the label is right.
    """
    ranked = sorted(confident, key=lambda pair: -pair[0])
    # Fewer rows cannot show it, not even without an error.
    first = math.ceil(math.log(0.05) / math.log(1 - max_error))
    chosen, reached = None, 0
    for size in range(first, len(ranked) + 1, max(1, len(ranked) // _STEPS)):
        threshold = ranked[size - 1][0]
        accepted = [right for confidence, right in ranked if confidence >= threshold]
        if exact_upper_bound(accepted.count(False), len(accepted), 0.05) > max_error:
            break
        chosen, reached = threshold, len(accepted)
    return chosen, reached


def _combined(row: LabelledVote, weight: float) -> list[tuple[str, float]]:
    if row.answer is None:
        return combined(row.candidates, {}, 0.0)
    shares = llm_shares(row.answer, row.scores, [label for label, _ in row.candidates])
    return combined(row.candidates, shares, weight)


def _log_likelihood(rows: Sequence[LabelledVote], weight: float) -> float:
    return sum(math.log(max(dict(_combined(row, weight))[row.gold], 1e-12)) for row in rows)
