"""The pages of an item's document: the one that the item's page shows, and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import PlainTextResponse, Response

from escalation.database import reading
from escalation.review.page_pictures import TURNS, NoPictureError, find_paged_item, has_pages, record_page_view
from escalation.web.rendering import PageRequest, with_query

_BESIDE = 2  # pages before and after the shown one, to which there are links


@dataclass(frozen=True)
class ShownPage:
    """A page as the item's page shows it.

    Attributes:
        number: from 1.
        of: pages of the document.
        turn: degrees clockwise.
        next_turn: after another quarter.
        linked: numbers of pages to go to, in order; 0 where some are left out.
        of_text: the pages that the item's text stands on.
        picture: address.
    """

    number: int
    of: int
    turn: int
    next_turn: int
    linked: tuple[int, ...]
    of_text: range
    picture: str


def shown_page(request: PageRequest, item: Mapping[Any, Any]) -> ShownPage | None:
    """The page that the address asks for, else the first that the text stands on; None where there are no pages."""
    if not has_pages(item):
        return None
    of, first = item["pages"], item["first_page"] or 1
    asked, turn = _whole_number(request.query.get("page", "")), _whole_number(request.query.get("turn", ""))
    number = asked if 1 <= asked <= of else first
    turn = turn if turn in TURNS else 0
    near = {1, of, *range(max(1, number - _BESIDE), min(of, number + _BESIDE) + 1)}
    linked: list[int] = []
    for each in sorted(near):
        if linked and each > linked[-1] + 1:
            linked.append(0)
        linked.append(each)
    path = with_query(f"/items/{item['item_key']}/pages/{number}.png", {"turn": str(turn or "")})
    of_text = range(first, (item["last_page"] or first) + 1)
    return ShownPage(number, of, turn, (turn + 90) % 360, tuple(linked), of_text, request.app.address(path))


def page_picture(request: PageRequest) -> Response:
    """The picture, once its view is on record; a sentence of plain text where there is none."""
    key, page = str(request.http.path_params["key"]), _whole_number(request.http.path_params["page"])
    turn = _whole_number(request.query.get("turn", ""))
    try:
        with reading(request.engine) as connection:
            item = find_paged_item(connection, key)
        picture = request.app.pictures.draw(item, page, turn if turn in TURNS else 0)
    except NoPictureError as reason:
        return PlainTextResponse(str(reason), reason.status)
    record_page_view(request.engine, request.session, key, page, request.now)
    return Response(picture, media_type="image/png")


def _whole_number(text: str) -> int:
    """The number; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
