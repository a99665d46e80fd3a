"""Pictures of the pages of an item's document, drawn anew for each view from the file the document was read from.

Nothing is kept: the file is read when somebody asks, and drawn by a process of its own, which a document may kill.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote_to_bytes

import sqlalchemy as sa

from escalation.events import Event
from escalation.people.sessions import Session
from escalation.review.case import append_views
from escalation.review.worklist import get_review
from escalation.tables import events, items
from extraction.documents import UnreadableError
from extraction.process import Extractor
from schemas.codes import ReviewAction
from schemas.run_config import ExtractionConfig

logger = logging.getLogger(__name__)

TURNS = (0, 90, 180, 270)
_WAITING = 8  # requests; each holds one of the server's threads
_LIMITS = ExtractionConfig(ocr="off", max_memory_bytes=2**30, seconds=10)
_LOCAL = "file://"


_GONE = "The source has changed or is gone, so its pages cannot be shown. The text is what was read from it."


class NoPictureError(Exception):
    """There is no picture; the message is a sentence for the page.

    Attributes:
        status: of the HTTP answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def has_pages(item: Mapping[Any, Any]) -> bool:
    """True where an item's document has pages that a person may see."""
    return bool(item["pages"] and item["content_sha256"] and item["text"] is not None)


def find_paged_item(connection: sa.Connection, key: str) -> sa.RowMapping:
    """The item whose document's pages may be shown.

    Raises:
        Refusal: there is no such item in review.
        NoPictureError: its document has no pages, or the text of the item, or of another one of its file, was erased.
    """
    get_review(connection, key)
    item = connection.execute(sa.select(items).where(items.c.item_key == key)).mappings().one()
    if not has_pages(item) or _sibling_was_erased(connection, item):
        raise NoPictureError(404, "This document has no pages to show, or was erased.")
    return item


class PagePictures:
    """Draws pages. Safe to ask from several threads; each waits for its turn."""

    def __init__(self) -> None:
        self._extractor = Extractor(_LIMITS)
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(_WAITING)

    def draw(self, item: Mapping[Any, Any], page: int, turn: int) -> bytes:
        """A page as PNG; the paragraph that the item is of is marked, where the page has it as text.

        Args:
            item: its columns.
            page: number, from 1.
            turn: degrees clockwise, one of TURNS.

        Raises:
            NoPictureError: there is no such page, the source is not what was read, or the page cannot be drawn.
        """
        if not 1 <= page <= item["pages"]:
            raise NoPictureError(404, f"This document has pages 1 to {item['pages']}.")
        if not self._places.acquire(blocking=False):
            raise NoPictureError(503, "Other pages are being drawn. Try again in a moment.")
        try:
            with self._turn:
                content, name = _read(item["source_uri"])
                has_paragraph = item["parent_id"] is not None and item["first_page"] <= page <= item["last_page"]
                marked = item["text"] if has_paragraph else ""
                picture = self._extractor.draw_page(content, name, item["content_sha256"], page, turn, marked)
        except UnreadableError as error:
            logger.info("page %d of item %s cannot be drawn: %s", page, item["item_key"], error.reason.value)
            raise NoPictureError(422, "This page cannot be shown. The text is what was read from it.") from None
        finally:
            self._places.release()
        if picture is None:
            raise NoPictureError(409, _GONE)
        return picture

    def close(self) -> None:
        """Ends the process that draws."""
        with self._turn:
            self._extractor.close()


def record_page_view(engine: sa.Engine, session: Session, key: str, page: int, now: int) -> None:
    """Records that a person sees a page; nothing where the session has seen it before.

    Raises:
        Refusal: it could not be written; then nothing may be shown.
    """
    event = Event(session.person.actor, ReviewAction.PAGE_VIEWED, key, {"page": page})

    def unseen(connection: sa.Connection) -> list[Event]:
        seen = sa.select(events.c.details).where(
            events.c.item_key == key,
            events.c.action == event.action,
            events.c.actor == event.actor,
            events.c.at >= session.began_at,
        )
        return [] if page in (json.loads(details)["page"] for details in connection.scalars(seen)) else [event]

    append_views(engine, unseen, now)


def _sibling_was_erased(connection: sa.Connection, item: sa.RowMapping) -> bool:
    """True where another paragraph or document of the same bytes was erased, which a page might show."""
    same = [items.c[name] == item[name] for name in ("source_uri", "content_sha256", "run_date")]
    return bool(connection.scalar(sa.select(sa.exists().where(*same, items.c.text.is_(None)))))


def _read(source_uri: str) -> tuple[bytes, str]:
    """The content and the name of a file on this machine."""
    if not source_uri.startswith(_LOCAL):
        raise NoPictureError(404, "The source is not a file of this machine, so its pages cannot be shown.")
    path = os.fsdecode(unquote_to_bytes(source_uri.removeprefix(_LOCAL).removeprefix("localhost")))
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NoPictureError(409, _GONE)
            content = file.read(_LIMITS.max_file_bytes + 1)
    except (OSError, ValueError):
        raise NoPictureError(409, _GONE) from None
    if len(content) > _LIMITS.max_file_bytes:
        raise NoPictureError(422, "The source is too large for its pages to be shown.")
    return content, PurePosixPath(path).name


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe that was put in its place is found to be one
