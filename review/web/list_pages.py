"""The worklist, and taking the next item of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from starlette.responses import Response

from fallback.database import reading, transaction
from review.refusals import Refusal, RefusalCode
from review.web.desk import Asked, page, see_other
from review.work.claims import claim
from review.work.worklist import (
    MAX_COUNTED,
    ORDER_WORDS,
    VIEW_WORDS,
    Filters,
    Order,
    View,
    count_open,
    next_for,
    worklist,
)

NOTES = {
    "settled": "Settled.",
    "second": "Noted. Another person looks at it as well.",
    "adjudication": "Noted. An adjudicator decides.",
    "released": "Released.",
    "deferred": "Put off.",
    "reopened": "Reopened. It is on the list again in a moment.",
    "busy": "Others were faster. Try again.",
    "none": "Nothing waits for you here.",
}
_TRIES = 5  # on PostgreSQL, somebody else may take the same item at the same moment
_E = TypeVar("_E", bound=StrEnum)


def list_page(asked: Asked) -> Response:
    """One page of the list, with counts of what is open."""
    filters = filters_of(asked, asked.request.query_params)
    with reading(asked.desk.engine) as connection:
        listed = worklist(connection, asked.person, filters, asked.now)
        counts = count_open(connection)
    return page(
        asked,
        "worklist.html",
        filters=filters,
        listed=listed,
        counts=counts,
        views=VIEW_WORDS,
        orders=ORDER_WORDS,
        max_counted=MAX_COUNTED,
        next_page=f"/?{query_of(dataclasses.replace(filters, after=listed.next_after))}" if listed.next_after else "",
        note=NOTES.get(asked.request.query_params.get("note", ""), ""),
    )


def take_next(asked: Asked) -> Response:
    """Claims the first item that waits for the person and opens it."""
    filters = dataclasses.replace(filters_of(asked, asked.form), view=View.WAITING, after="")
    for _ in range(_TRIES):
        try:
            with transaction(asked.desk.engine) as connection:
                key = next_for(connection, asked.person, filters, asked.now)
                if key is not None:
                    claim(connection, asked.person, key, asked.now, asked.desk.config.due)
            return see_other("/?note=none" if key is None else f"/items/{key}")
        except Refusal as refusal:
            if refusal.code is not RefusalCode.HELD_BY_ANOTHER:
                raise
    return see_other("/?note=busy")


def filters_of(asked: Asked, values: Mapping[str, str]) -> Filters:
    """What a query or form asks for.

    Raises:
        Refusal: it names a view or order that there is not.
    """
    default = View.WAITING if asked.person.judges else View.OPEN
    return Filters(
        view=_member(View, values.get("view") or default.value),
        order=_member(Order, values.get("order") or Order.URGENCY.value),
        document_type=values.get("document_type", ""),
        code=values.get("code", ""),
        suggestion=values.get("suggestion", ""),
        after=values.get("after", ""),
    )


def query_of(filters: Filters) -> str:
    """Filters as the query of an address."""
    return urlencode({key: str(value) for key, value in dataclasses.asdict(filters).items() if value})


def _member(kind: type[_E], value: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "The address of this page is not one of ours.") from None
