"""One item: what is known of it, and what a person does with it."""

from __future__ import annotations

import datetime

from starlette.responses import Response

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.refusals import Refusal, RefusalCode
from escalation.review.case import case_of
from escalation.review.claims import claim, defer, release
from escalation.review.judging import MAX_COMMENT_CHARS, Said, judge, last_judgement, version_of, was_said
from escalation.review.reopening import reopen
from escalation.review.seen import record_views
from escalation.web.desk import Asked, page, see_other
from escalation.web.list_pages import take_next
from escalation.web.words import typed_fields
from schemas.codes import JudgementKind, JudgementReason, ReviewStage

NEW_CATEGORY = "new category"
OTHER_LABEL = "other label"
_LABEL = "label:"
_CATEGORY = "category:"


def item_page(asked: Asked) -> Response:
    """The item, and the form of the judgement; filled in where one was sent and not taken."""
    done_key = asked.request.query_params.get("done", "")
    with reading(asked.desk.engine) as connection:
        case = case_of(connection, asked.person, _key(asked), asked.now)
        done = last_judgement(connection, asked.person, done_key) if done_key else None
    record_views(asked.desk.engine, asked.session, case, asked.now)
    today = datetime.datetime.fromtimestamp(asked.now / SECOND, datetime.UTC).date()
    offered = {label for label, _ in case.candidates} | {case.review["suggestion"]}
    return page(
        asked,
        "item.html",
        case=case,
        item=case.item,
        review=case.review,
        done=done,
        others=[label for label in case.labels if label not in offered],
        stage_meaning=ReviewStage(case.review["stage"]).description,
        reasons=JudgementReason,
        version=version_of(case.review),
        was_filled=bool(typed_fields(asked.form)),
        max_comment=MAX_COMMENT_CHARS,
        tomorrow=(today + datetime.timedelta(days=1)).isoformat(),
    )


def claim_item(asked: Asked) -> Response:
    """Takes the item, or takes it for longer; a form that was filled in meanwhile stays."""
    key = _key(asked)
    with transaction(asked.desk.engine) as connection:
        claim(connection, asked.person, key, asked.now, asked.desk.config.due)
    if typed_fields(asked.form):
        return item_page(asked)
    return see_other(asked.link(f"/items/{key}"))


def release_item(asked: Asked) -> Response:
    """Gives the item back."""
    with transaction(asked.desk.engine) as connection:
        release(connection, asked.person, _key(asked), asked.now)
    return see_other(asked.link("/", note="released"))


def defer_item(asked: Asked) -> Response:
    """Puts the item off until the morning of a day, UTC."""
    try:
        day = datetime.date.fromisoformat(asked.form.get("until", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "Put it off until a day, as in 2026-11-30.") from None
    until = round(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()) * SECOND
    with transaction(asked.desk.engine) as connection:
        defer(connection, asked.person, _key(asked), until, asked.now, asked.desk.config.due)
    return see_other(asked.link("/", note="deferred"))


def judge_item(asked: Asked) -> Response:
    """Takes the judgement. One that was taken before, as by a double click, is done and moves nothing else."""
    key = _key(asked)
    said = _said(asked)
    config = asked.desk.config
    with transaction(asked.desk.engine) as connection:
        repeated = was_said(connection, asked.person, key, said)
        if not repeated:
            judge(connection, asked.person, key, said, asked.now, config.four_eyes, config.reuse_decisions)
    if asked.form.get("then") == "next":
        return take_next(asked, done=key, only_held=repeated)
    with reading(asked.desk.engine) as connection:
        done = last_judgement(connection, asked.person, key)
    stage = ReviewStage(done["stage_now"]) if done is not None else ReviewStage.CLOSED
    return see_other(asked.link("/", note="settled" if stage is ReviewStage.CLOSED else stage.value))


def reopen_item(asked: Asked) -> Response:
    """Sends a settled item back to be judged again."""
    with transaction(asked.desk.engine) as connection:
        reopen(connection, asked.person, _key(asked), asked.form.get("comment", "").strip(), asked.now)
    return see_other(asked.link("/", note="reopened"))


def _said(asked: Asked) -> Said:
    choice, form = asked.form.get("choice", ""), asked.form
    if choice == NEW_CATEGORY:
        kind, label = JudgementKind.NEW_CATEGORY, " ".join(form.get("category", "").split())
    elif choice.startswith(_CATEGORY):
        kind, label = JudgementKind.NEW_CATEGORY, choice.removeprefix(_CATEGORY)
    elif choice == OTHER_LABEL:
        kind, label = JudgementKind.LABEL, form.get("other_label", "")
    else:
        kind, label = JudgementKind.LABEL, choice.removeprefix(_LABEL)
    if not choice:
        raise Refusal(RefusalCode.BAD_INPUT, "Choose a label.")
    try:
        reason = JudgementReason(form.get("reason", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "Choose a reason.") from None
    return Said(kind, label, reason, form.get("comment", "").strip(), version=form.get("version", ""))


def _key(asked: Asked) -> str:
    return str(asked.request.path_params["key"])
