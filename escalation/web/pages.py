"""The pages of the work: the worklist, taking the next item of it, the search for a document, and one item."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from escalation.clock import SECOND
from escalation.database import reading, transaction
from escalation.people.rules import Refusal, RefusalCode
from escalation.review.case import read_case, record_views
from escalation.review.judging import (
    MAX_COMMENT_CHARS,
    Judgement,
    judge,
    last_judgement,
    reopen,
    review_version,
    was_judged,
)
from escalation.review.parts import NO_DOCUMENT, Part, parts_from, write_parts
from escalation.review.reasons import NoReasonError, find_decided
from escalation.review.worklist import (
    MAX_COUNTED,
    TAKEABLE,
    claim,
    count_open,
    defer,
    find_items,
    held_since,
    next_for,
    release,
    worklist,
)
from escalation.web.document_pages import shown_page
from escalation.web.labels import ORDER_WORDS, VIEW_WORDS, marked_parts, typed_fields
from escalation.web.rendering import PageRequest, see_other, with_query
from extraction.pages import PAGE_BREAK
from schemas.codes import JudgementKind, JudgementReason, ReviewStage
from schemas.run_config import UNKNOWN_TYPE

MAX_PARTS = 30  # documents that an item can be cut into on the page
_SPARE_PARTS = 2  # rows for cuts that were not proposed
_TRIES = 5  # on PostgreSQL, somebody else may take the same item at the same moment


def list_page(request: PageRequest) -> Response:
    filters = request.filters()
    with reading(request.engine) as connection:
        listed = worklist(connection, request.person, filters, request.now)
        counts = count_open(connection)

    def page_after(after: str) -> str:
        fields = request.filter_fields(dataclasses.replace(filters, after=after))
        return request.app.address(with_query("/", fields))

    return request.page(
        "worklist.html",
        filters=filters,
        listed=listed,
        counts=counts,
        views=VIEW_WORDS,
        orders=ORDER_WORDS,
        max_counted=MAX_COUNTED,
        takeable=request.person.judges and filters.view in TAKEABLE,
        first_page=page_after("") if filters.after else "",
        next_page=page_after(listed.next_after) if listed.next_after else "",
    )


def counts_page(request: PageRequest) -> Response:
    """Only the counts; the worklist asks for them by itself every minute, which keeps no session alive."""
    with reading(request.engine) as connection:
        counts = count_open(connection)
    return request.page("counts.html", counts=counts)


def find_page(request: PageRequest) -> Response:
    """Every item of a document, whatever became of it."""
    wanted = request.query.get("document", "").strip()
    with reading(request.engine) as connection:
        found = find_items(connection, wanted) if wanted else []
    return request.page("find.html", wanted=wanted, found=found)


def take_next(request: PageRequest, done: str = "", only_held: bool = False) -> Response:
    """Claims the first item of the list that waits for the person, and opens it.

    Args:
        request: its address carries the filters of the list.
        done: key of the item that was judged just now, which the next page names.
        only_held: the judgement was handed in before: go where that led, and claim nothing.
    """
    person, now = request.person, request.now
    filters = dataclasses.replace(request.filters(), after="")
    more = {"done": done} if done else {}
    if only_held:
        with reading(request.engine) as connection:
            judged = last_judgement(connection, person, done)
            since = judged["at"] if judged else now
            key = held_since(connection, person, since, now, request.config.due.claim_minutes)
        return see_other(request.link(f"/items/{key}" if key else "/", **(more if key else {"note": "done_before"})))
    for _ in range(_TRIES):
        try:
            with transaction(request.engine) as connection:
                key = next_for(connection, person, filters, now)
                if key is not None:
                    claim(connection, person, key, now, request.config.due)
        except Refusal as refusal:
            if refusal.code is not RefusalCode.HELD_BY_ANOTHER:
                raise
            continue
        if key is None:
            return see_other(request.link("/", note="done_none" if done else "none"))
        return see_other(request.link(f"/items/{key}", **more))
    return see_other(request.link("/", note="busy"))


def item_page(request: PageRequest) -> Response:
    """The item, and the form of the judgement; filled in where one was sent and not taken."""
    done_key = request.query.get("done", "")
    with reading(request.engine) as connection:
        case = read_case(connection, request.person, _key(request), request.now)
        done = last_judgement(connection, request.person, done_key) if done_key else None
    record_views(request.engine, request.session, case, request.now)
    today = datetime.datetime.fromtimestamp(request.now / SECOND, datetime.UTC).date()
    offered = {label for label, _ in case.candidates} | ({case.review["suggestion"]} - {""})
    return request.page(
        "item.html",
        case=case,
        item=case.item,
        page=shown_page(request, case.item),
        review=case.review,
        done=done,
        adopted=case.review["suggestion"] not in {"", *(label for label, _ in case.candidates)},
        part_rows=min(len(case.cuts) + 1 + _SPARE_PARTS, MAX_PARTS),
        no_document=f"{UNKNOWN_TYPE}:{NO_DOCUMENT}",
        page_break=PAGE_BREAK,
        others=[label for label in case.labels if label not in offered],
        stage_meaning=ReviewStage(case.review["stage"]).description,
        reasons=JudgementReason,
        version=review_version(case.review),
        was_filled=bool(typed_fields(request.form)),
        max_comment=MAX_COMMENT_CHARS,
        tomorrow=(today + datetime.timedelta(days=1)).isoformat(),
    )


def why_page(request: PageRequest) -> Response:
    """The words that moved the item's label, and the nearest labelled examples."""
    with reading(request.engine) as connection:
        case = read_case(connection, request.person, _key(request), request.now)
        item = case.item
        decided = find_decided(connection, item["document_type"])
    shown: dict[str, Any] = {"explanation": None, "parts": [], "no_explanation": "", "nearest": [], "no_examples": ""}
    nothing = "The text was erased." if item["text"] is None else "It is shown once the item is settled."
    if case.blind or item["text"] is None:
        shown |= dict.fromkeys(("no_explanation", "no_examples"), nothing)
    else:
        reasons, document = request.app.reasons, item["parent_id"] or item["document_id"]
        try:
            found = reasons.explanation(item["bundle"], item["text"], item["label"])
            shown |= {"explanation": found, "parts": marked_parts(item["text"], found.spans)}
        except NoReasonError as reason:
            shown["no_explanation"] = str(reason)
        try:
            shown["nearest"] = reasons.nearest(item["document_type"], item["text"], document, decided)
        except NoReasonError as reason:
            shown["no_examples"] = str(reason)
    also = [near.item_key for near in shown["nearest"] if near.item_key]
    record_views(request.engine, request.session, case, request.now, also)
    return request.page("why.html", item=item, **shown)


def claim_item(request: PageRequest) -> Response:
    """Takes the item, or takes it for longer; a form that was filled in meanwhile stays."""
    key = _key(request)
    with transaction(request.engine) as connection:
        claim(connection, request.person, key, request.now, request.config.due)
    if typed_fields(request.form):
        return item_page(request)
    return see_other(request.link(f"/items/{key}"))


def release_item(request: PageRequest) -> Response:
    with transaction(request.engine) as connection:
        release(connection, request.person, _key(request), request.now)
    return see_other(request.link("/", note="released"))


def defer_item(request: PageRequest) -> Response:
    """Puts the item off until the morning of a day, UTC."""
    try:
        day = datetime.date.fromisoformat(request.form.get("until", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "Choose a day, such as 2026-11-30.") from None
    until = round(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()) * SECOND
    with transaction(request.engine) as connection:
        defer(connection, request.person, _key(request), until, request.now, request.config.due)
    return see_other(request.link("/", note="deferred"))


def judge_item(request: PageRequest) -> Response:
    """Takes the judgement. One that was taken before, as by a double click, is done and moves nothing else."""
    key, person = _key(request), request.person
    judgement = _read_judgement(request)
    with transaction(request.engine) as connection:
        repeated = was_judged(connection, person, key, judgement)
        if not repeated:
            judge(connection, person, key, judgement, request.now, request.config)
    if request.form.get("then") == "next":
        return take_next(request, done=key, only_held=repeated)
    with reading(request.engine) as connection:
        done = last_judgement(connection, person, key)
    stage = ReviewStage(done["stage_now"]) if done is not None else ReviewStage.CLOSED
    return see_other(request.link("/", note="settled" if stage is ReviewStage.CLOSED else stage.value))


def reopen_item(request: PageRequest) -> Response:
    with transaction(request.engine) as connection:
        reopen(connection, request.person, _key(request), request.form.get("comment", "").strip(), request.now)
    return see_other(request.link("/", note="reopened"))


def _read_judgement(request: PageRequest) -> Judgement:
    form = request.form
    choice, _, named = form.get("choice", "").partition(":")
    if choice == "new category":
        kind, label = JudgementKind.NEW_CATEGORY, " ".join(form.get("category", "").split())
    elif choice == "category":
        kind, label = JudgementKind.NEW_CATEGORY, named
    elif choice == "other label":
        kind, label = JudgementKind.LABEL, form.get("other_label", "")
    elif choice == "label":
        kind, label = JudgementKind.LABEL, named
    elif choice == "parts":
        kind, label = JudgementKind.PARTS, write_parts(_read_parts(form))
    else:
        raise Refusal(RefusalCode.BAD_INPUT, "Choose a label.")
    try:
        reason = JudgementReason(form.get("reason", ""))
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "Choose a reason.") from None
    return Judgement(kind, label, reason, form.get("comment", "").strip(), version=form.get("version", ""))


def _read_parts(form: Mapping[str, str]) -> Sequence[Part]:
    """The documents that a person cut an item into; a row without a page is none."""
    starts: dict[int, tuple[str, str]] = {}
    for number in range(1, MAX_PARTS + 1):
        page = form.get(f"part_page_{number}", "").strip()
        if not page:
            continue
        document_type, _, label = form.get(f"part_label_{number}", "").partition(":")
        if not page.isascii() or not page.isdigit() or len(page) > 6:
            raise Refusal(RefusalCode.BAD_INPUT, "Give the number of the page that each document begins on.")
        if not label:
            raise Refusal(RefusalCode.BAD_INPUT, f"Choose a label for the document on page {page}.")
        if int(page) in starts:
            raise Refusal(RefusalCode.BAD_INPUT, f"Two documents begin on page {page}; remove one of them.")
        starts[int(page)] = document_type, label
    first, last = (form.get(f"{which}_page", "") for which in ("first", "last"))
    if not (first.isdigit() and last.isdigit()):
        raise Refusal(RefusalCode.BAD_INPUT, "This item is one document: choose its label.")
    return parts_from(starts, int(first), int(last))


def _key(request: PageRequest) -> str:
    return str(request.http.path_params["key"])
