"""The worklist, taking the next item of it, and the search for a document."""

from __future__ import annotations

import dataclasses

from starlette.responses import Response

from escalation.database import reading, transaction
from escalation.refusals import Refusal, RefusalCode
from escalation.review.claims import claim
from escalation.review.find import find_items
from escalation.review.judging import last_judgement
from escalation.review.worklist import (
    MAX_COUNTED,
    ORDER_WORDS,
    TAKEABLE,
    VIEW_WORDS,
    count_open,
    held_since,
    next_for,
    worklist,
)
from escalation.web.desk import Asked, page, see_other
from escalation.web.filters import filter_fields, filters_of, with_query

_TRIES = 5  # on PostgreSQL, somebody else may take the same item at the same moment


def list_page(asked: Asked) -> Response:
    """One page of the list, with counts of what is open."""
    person = asked.person
    filters = filters_of(person, asked.request.query_params)
    with reading(asked.desk.engine) as connection:
        listed = worklist(connection, person, filters, asked.now)
        counts = count_open(connection)

    def turned_to(after: str) -> str:
        fields = filter_fields(person, dataclasses.replace(filters, after=after))
        return asked.desk.address(with_query("/", fields))

    return page(
        asked,
        "worklist.html",
        filters=filters,
        listed=listed,
        counts=counts,
        views=VIEW_WORDS,
        orders=ORDER_WORDS,
        max_counted=MAX_COUNTED,
        takeable=person.judges and filters.view in TAKEABLE,
        first_page=turned_to("") if filters.after else "",
        next_page=turned_to(listed.next_after) if listed.next_after else "",
    )


def counts_page(asked: Asked) -> Response:
    """The counts only; the worklist asks for them by itself every minute, which keeps no session alive."""
    with reading(asked.desk.engine) as connection:
        counts = count_open(connection)
    return page(asked, "counts.html", counts=counts)


def find_page(asked: Asked) -> Response:
    """Every item of a document, whatever became of it."""
    wanted = asked.request.query_params.get("document", "").strip()
    with reading(asked.desk.engine) as connection:
        found = find_items(connection, wanted) if wanted else []
    return page(asked, "find.html", wanted=wanted, found=found)


def take_next(asked: Asked, done: str = "", only_held: bool = False) -> Response:
    """Claims the first item of the list that waits for the person, and opens it.

    Args:
        asked: the request; its address carries the filters of the list.
        done: key of the item that was judged just now, which the next page names.
        only_held: the judgement was handed in before: go where that led, and claim nothing.
    """
    filters = dataclasses.replace(filters_of(asked.person, asked.request.query_params), after="")
    more = {"done": done} if done else {}
    if only_held:
        with reading(asked.desk.engine) as connection:
            judged = last_judgement(connection, asked.person, done)
            since = judged["at"] if judged else asked.now
            key = held_since(connection, asked.person, since, asked.now, asked.desk.config.due.claim_minutes)
        return see_other(asked.link(f"/items/{key}" if key else "/", **(more if key else {"note": "done_before"})))
    for _ in range(_TRIES):
        try:
            with transaction(asked.desk.engine) as connection:
                key = next_for(connection, asked.person, filters, asked.now)
                if key is not None:
                    claim(connection, asked.person, key, asked.now, asked.desk.config.due)
            if key is None:
                return see_other(asked.link("/", note="done_none" if done else "none"))
            return see_other(asked.link(f"/items/{key}", **more))
        except Refusal as refusal:
            if refusal.code is not RefusalCode.HELD_BY_ANOTHER:
                raise
    return see_other(asked.link("/", note="busy"))
