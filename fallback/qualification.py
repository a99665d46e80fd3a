"""Asks a backend about labelled texts that the policy would escalate, and records what its vote has shown."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import sqlalchemy as sa

from fallback.answers import Answer, RefusedAnswerError, read_answer, usage_of
from fallback.calls import (
    CAP_IN_USE,
    IN_FLIGHT,
    OVER_CAP,
    Outgoing,
    close_answered,
    close_failed,
    close_refused,
    open_call,
    stored_answer,
)
from fallback.clock import SECOND
from fallback.database import transaction
from fallback.endpoint import CallFailedError
from fallback.events import Event, append_event
from fallback.prompt import PROMPT_VERSION, build_prompt
from fallback.tables import calls, qualifications
from fallback.vote_fitting import FOLDS, Fit, LabelledVote, fit_vote
from fallback.work import Desk
from models.bundle import bundle_reference
from models.classifier import Classifier
from models.policy import route
from schemas.errors import ConfigError, EndpointError, InputError
from schemas.queue import CallStatus, EventAction
from schemas.reasons import RouteReason

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
    """What came of a qualification.

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
    thresholds = bundle.policy.thresholds(bundle.labels)[np.maximum(scores.label_ids, 0)]
    policy = bundle.policy
    _, reasons = route(
        np.nan_to_num(scores.confidence),
        np.nan_to_num(scores.familiarity, nan=-np.inf),
        scores.truncated,
        scores.n_windows,
        thresholds,
        policy.min_familiarity,
        policy.max_windows,
        scores.first_tier,
    )
    found = {}
    for row in np.flatnonzero((reasons == RouteReason.LOW_CONFIDENCE.value) & ~scores.failed).tolist():
        labels = [bundle.labels[label_id] for label_id in scores.top_label_ids[row]]
        candidates = tuple(zip(labels, map(float, scores.top_confidences[row]), strict=True))
        # The same text twice would count its luck twice.
        found[hashlib.sha256(texts[row].encode()).hexdigest()] = LabelledText(texts[row], gold[row], candidates)
    return [found[key] for key in sorted(found)]


def qualify(
    desk: Desk, classifier: Classifier, rows: Sequence[LabelledText], data_sha256: str, workers: int
) -> Qualified:
    """Asks about every text, fits the vote, and records it; texts that were asked about before cost nothing.

    Raises:
        InputError: fewer texts than can be told apart.
        ConfigError: the cap does not allow all calls.
        EndpointError: the endpoint cannot be used.
    """
    if len(rows) < FOLDS * 4:
        raise InputError(
            f"the policy escalates only {len(rows)} of the labelled texts for a low confidence; give at least "
            f"{FOLDS * 4}, better some hundreds"
        )
    pool = ThreadPoolExecutor(workers, thread_name_prefix="docyard-qualify")
    try:
        answers = list(pool.map(partial(_ask, desk), rows))
    finally:
        pool.shutdown(cancel_futures=True)
    votes = [
        LabelledVote(row.gold, row.candidates, answer.label if answer else None, answer.scores if answer else {})
        for row, answer in zip(rows, answers, strict=True)
    ]
    fit = fit_vote(votes, desk.config.llm.max_error)
    bundle = bundle_reference(classifier.bundle)
    _record(desk, fit, bundle, data_sha256)
    return Qualified(desk.asker.backend, bundle, fit, sum(answer is None for answer in answers))


def _record(desk: Desk, fit: Fit, bundle: str, data_sha256: str) -> None:
    now = desk.books.clock()
    row = {
        "backend": desk.asker.backend,
        "prompt_version": PROMPT_VERSION,
        "bundle": bundle,
        "data_sha256": data_sha256,
        "max_error": desk.config.llm.max_error,
        **asdict(fit),
    }
    with transaction(desk.books.engine) as connection:
        connection.execute(sa.insert(qualifications).values(at=now, **row))
        append_event(connection, Event("operator", EventAction.BACKEND_QUALIFIED, None, row), now)


def _ask(desk: Desk, row: LabelledText) -> Answer | None:
    """The answer about one text, from an earlier call or a new one; None where there is none after all attempts."""
    masked = desk.masker.mask(row.text)
    content = hashlib.sha256(row.text.encode()).hexdigest()
    for attempt in range(desk.config.queue.max_attempts):
        labels = [label for label, _ in row.candidates]
        prompt = build_prompt(desk.config.llm, labels, masked.text, f"{content}:{attempt}")
        outgoing = Outgoing(prompt, desk.masker.description, masked.counts)
        opened = _open(desk, outgoing)
        if isinstance(opened, Answer):
            return opened
        answer = _call(desk, opened, outgoing)
        if answer is not None:
            return answer
    return None


def _open(desk: Desk, outgoing: Outgoing) -> Answer | str:
    """An earlier answer to the same, or the id of a new call."""
    for _ in range(_WAITS):
        now = desk.books.clock()
        with transaction(desk.books.engine) as connection:
            known = stored_answer(connection, outgoing.prompt.hash, desk.asker.backend)
            if known is not None:
                return Answer(known["answer"], json.loads(known["scores"]), known["words"] or "")
            _forget_own_loss(connection, outgoing, desk, now)
            outcome, call_id = open_call(connection, desk.asker, None, outgoing, now)
        if call_id:
            return call_id
        if outcome == OVER_CAP:
            raise ConfigError("the cap does not allow all calls of the qualification; raise it, or give fewer texts")
        assert outcome in (CAP_IN_USE, IN_FLIGHT)
        time.sleep(_WAIT_SECONDS)
    raise EndpointError("others have been asking the same for minutes; run the qualification again")


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


def _call(desk: Desk, call_id: str, outgoing: Outgoing) -> Answer | None:
    engine, price = desk.books.engine, desk.books.price
    try:
        completion = desk.endpoint.ask(outgoing.prompt.body)
    except CallFailedError as failure:
        with transaction(engine) as connection:
            close_failed(
                connection, call_id, failure.error, failure.http_status, failure.perhaps_billed, desk.books.clock()
            )
        queue = desk.config.queue
        time.sleep(min(failure.retry_after or queue.retry_seconds, queue.max_retry_seconds))
        return None
    except EndpointError:
        with transaction(engine) as connection:
            close_failed(connection, call_id, "endpoint_unusable", None, False, desk.books.clock())
        raise
    usage = usage_of(completion.payload)
    try:
        answer = read_answer(completion.payload, outgoing.prompt.options, desk.config.llm.answer)
    except RefusedAnswerError as refused:
        with transaction(engine) as connection:
            close_refused(connection, call_id, str(refused), refused.words, usage, price, desk.books.clock())
        return None
    with transaction(engine) as connection:
        close_answered(connection, call_id, answer, usage, price, desk.books.clock())
    return answer
