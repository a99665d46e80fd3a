"""Asks a backend about labelled texts that the policy would escalate, and records what its vote has shown."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import sqlalchemy as sa

from escalation.clock import SECOND
from escalation.database import transaction
from escalation.events import Event, append_event
from escalation.llm.answers import Answer, RefusedAnswerError, Usage, read_answer, usage_of
from escalation.llm.breaker import Breaker
from escalation.llm.calls import OVER_CAP, Outgoing, close_answered, open_call, stored_answer
from escalation.llm.prompt import build_prompt, prompt_version
from escalation.llm.recording import close_refusal, wait_seconds
from escalation.llm.refusals import CallFailedError
from escalation.llm.trial import Refusal, Trial
from escalation.llm.vote_fitting import FOLDS, Fit, LabelledVote, fit_vote
from escalation.llm.work import Desk, check_setup, trial_of
from escalation.masking.masker import UnmaskableError
from escalation.tables import calls, qualifications
from models.classifier import Classifier
from schemas.codes import CallStatus, EventAction, ItemCode, RouteReason
from schemas.errors import ConfigError, DocyardError, EndpointError, InputError

_TRIAL_POLL_SECONDS = 0.02
_WAIT_SECONDS = 0.2
_WAITS = 600


@dataclass(frozen=True)
class LabelledText:
    """A text that the policy would escalate for its low confidence, with its right label."""

    text: str
    gold: str
    candidates: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Inquiry:
    """State shared by the calls of one qualification."""

    desk: Desk
    breaker: Breaker
    trial: Trial
    stop: threading.Event


@dataclass(frozen=True)
class Qualified:
    """The result of a qualification.

    Attributes:
        unanswered: texts on which the backend gave no valid answer; they count as the small model has them.
    """

    backend: str
    bundle: str
    fit: Fit
    unanswered: int


def escalated_texts(classifier: Classifier, texts: Sequence[str], gold: Sequence[str]) -> list[LabelledText]:
    """Those that the bundle's policy would escalate for a low confidence, in an order made by hashes of the texts."""
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
    desk: Desk,
    classifier: Classifier,
    rows: Sequence[LabelledText],
    data_sha256: str,
    workers: int,
    stop: threading.Event,
) -> Qualified | None:
    """Asks about every text, fits the vote, and records it; texts that were asked about before cost nothing.

    Args:
        desk: with the endpoint.
        classifier: the small model.
        rows: to ask about.
        data_sha256: of their file.
        workers: calls at once.
        stop: set it, and it ends after the calls under way; what was answered is kept.

    Returns:
        The result; None where it was stopped, and nothing is recorded.

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
    inquiry = _Inquiry(desk, Breaker(desk.config.llm, desk.config.queue.max_retry_seconds), trial_of(desk), stop)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="docyard-qualify")
    try:
        answers = list(pool.map(partial(_ask, inquiry), rows))
        if not stop.is_set():
            _judge(inquiry, idle=True)
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
    fit = fit_vote(votes, desk.config.llm.max_error)
    bundle = classifier.bundle.reference
    _record(desk, fit, bundle, data_sha256)
    return Qualified(desk.asker.backend, bundle, fit, sum(answer is None for answer in answers))


def _record(desk: Desk, fit: Fit, bundle: str, data_sha256: str) -> None:
    now = desk.books.clock()
    row = {
        "backend": desk.asker.backend,
        "prompt_version": prompt_version(desk.config.llm),
        "bundle": bundle,
        "data_sha256": data_sha256,
        "max_error": desk.config.llm.max_error,
        **asdict(fit),
    }
    with transaction(desk.books.engine) as connection:
        connection.execute(sa.insert(qualifications).values(at=now, **row))
        append_event(connection, Event("operator", EventAction.BACKEND_QUALIFIED, None, row), now)


def _ask(inquiry: _Inquiry, row: LabelledText) -> Answer | None:
    """The answer about one text, from an earlier call or a new one; None where the text may not leave, or none came."""
    desk = inquiry.desk
    try:
        masked = desk.masker.mask(row.text, desk.config.llm.max_text_chars)
    except UnmaskableError:
        return None
    content = hashlib.sha256(row.text.encode()).hexdigest()
    attempt = 0
    while attempt < desk.config.queue.max_attempts:
        labels = [label for label, _ in row.candidates]
        prompt = build_prompt(desk.config.llm, labels, masked.text, f"{content}:{attempt}")
        outgoing = Outgoing(prompt, desk.masker.description, masked.counts, masked.text)
        opened = _open(inquiry, outgoing)
        if opened is None or isinstance(opened, Answer):
            return opened
        try:
            return _call(inquiry, opened, outgoing, row.text)
        except (CallFailedError, RefusedAnswerError) as failure:
            if failure.code is ItemCode.REQUEST_REJECTED:
                return None
            if isinstance(failure, CallFailedError):
                inquiry.stop.wait(wait_seconds(desk.books, attempt, failure.retry_after))
                attempt += failure.costs_attempt
            else:
                attempt += 1
    return None


def _judge(inquiry: _Inquiry, idle: bool = False) -> None:
    """Ends the qualification where the refused calls are the set-up's fault: they would count against the model.

    Raises:
        EndpointError: they are.
    """
    refusals = inquiry.trial.take(idle)
    if refusals:
        try:
            check_setup(inquiry.desk, inquiry.trial, refusals)
        except BaseException:
            inquiry.stop.set()  # the others wait for the verdict
            raise
        inquiry.trial.cleared()


def _open(inquiry: _Inquiry, outgoing: Outgoing) -> Answer | str | None:
    """An earlier answer to the same, or the id of a new call; None where it is time to stop."""
    desk = inquiry.desk
    for _ in range(_WAITS):
        if not _may_call(inquiry):
            return None
        call_id = ""
        try:
            opened = _open_now(desk, outgoing)
            call_id = opened if isinstance(opened, str) else ""
        finally:
            if not call_id:
                inquiry.trial.leave()
        if opened is not None:
            return opened
        inquiry.stop.wait(_WAIT_SECONDS)
    raise EndpointError("others have been asking the same for minutes; run the qualification again")


def _open_now(desk: Desk, outgoing: Outgoing) -> Answer | str | None:
    """An earlier answer to the same, or the id of a new call; None where others' calls must end first."""
    now = desk.books.clock()
    with transaction(desk.books.engine) as connection:
        known = stored_answer(connection, outgoing.prompt.hash, desk.asker.backend)
        if known is not None:
            return Answer(known["answer"], json.loads(known["scores"]), known["words"] or "")
        _forget_own_loss(connection, outgoing, desk, now)
        outcome, call_id = open_call(connection, desk.asker, None, outgoing, now)
    if outcome == OVER_CAP:
        raise ConfigError("the cap does not allow all calls of the qualification; raise it, or give fewer texts")
    return call_id or None


def _may_call(inquiry: _Inquiry) -> bool:
    """Waits while the endpoint fails, asks to be left alone, or is on trial; False where it is time to stop.

    After True, a call may begin, which `Trial.leave` ends.
    """
    while not inquiry.stop.is_set():
        inquiry.breaker.check(inquiry.desk.endpoint.host)
        pause = inquiry.breaker.pause()
        if not pause and inquiry.trial.enter():
            return True
        if not pause:
            _judge(inquiry)
        inquiry.stop.wait(pause or _TRIAL_POLL_SECONDS)
    return False


def _forget_own_loss(connection: sa.Connection, outgoing: Outgoing, desk: Desk, now: int) -> None:
    """A call of an earlier qualification that was killed belongs to no item, so that no lease tells its end."""
    too_old = now - round(desk.config.queue.lease_seconds * SECOND)
    connection.execute(
        sa.update(calls)
        .where(
            calls.c.prompt_hash == outgoing.prompt.hash,
            calls.c.purpose == "qualify",
            calls.c.status == CallStatus.RESERVED.value,
            calls.c.started_at < too_old,
        )
        .values(status=CallStatus.LOST.value, finished_at=now)
    )


def _call(inquiry: _Inquiry, call_id: str, outgoing: Outgoing, text: str) -> Answer:
    """Asks, and records what came of it.

    Raises:
        CallFailedError: the call gave nothing to read.
        RefusedAnswerError: the answer was none of the options.
        EndpointError: the refused calls are the set-up's fault.
    """
    try:
        return _answered(inquiry, call_id, outgoing, text)
    finally:
        inquiry.trial.leave()
        if not inquiry.stop.is_set():
            _judge(inquiry)


def _answered(inquiry: _Inquiry, call_id: str, outgoing: Outgoing, text: str) -> Answer:
    desk, books = inquiry.desk, inquiry.desk.books
    began = time.monotonic()
    usage = Usage()
    try:
        payload = desk.endpoint.ask(outgoing.prompt.body).payload
        usage = usage_of(payload)
        answer = read_answer(payload, outgoing.prompt.options, desk.config.llm.answer)
    except (CallFailedError, RefusedAnswerError) as failure:
        close_refusal(books, None, call_id, failure, usage)
        if isinstance(failure, CallFailedError) and not failure.refuses:
            inquiry.breaker.failed(failure.retry_after, began, failure.error)
        else:
            inquiry.breaker.succeeded()
            inquiry.trial.refused(Refusal(failure, document=f"{text}\n{outgoing.text}"))
        raise
    except DocyardError as error:
        close_refusal(books, None, call_id, CallFailedError(ItemCode.HANDED_BACK, type(error).__name__), usage)
        raise
    inquiry.breaker.succeeded()
    with transaction(books.engine) as connection:
        close_answered(connection, call_id, answer, usage, books.price, books.clock())
    inquiry.trial.succeeded()
    return answer
