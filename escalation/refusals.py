"""Refusals of actions of people: raised in the data layer, so that no page can forget to ask."""

from __future__ import annotations

from enum import StrEnum


class RefusalCode(StrEnum):
    """The reason of a refusal."""

    NO_SUCH_ITEM = "no_such_item"
    ROLE = "role"
    SAME_PERSON = "same_person"
    NOT_OPEN = "not_open"
    HELD_BY_ANOTHER = "held_by_another"
    NOT_HELD = "not_held"
    UNKNOWN_LABEL = "unknown_label"
    COMMENT_MISSING = "comment_missing"
    BAD_INPUT = "bad_input"
    BAD_CHARACTER = "bad_character"
    TOO_LARGE = "too_large"
    FOREIGN_FORM = "foreign_form"
    OLD_FORM = "old_form"
    CHANGED = "changed"
    BLOCKED = "blocked"
    NOT_RECORDED = "not_recorded"


HTTP_STATUS: dict[RefusalCode, int] = {
    RefusalCode.NO_SUCH_ITEM: 404,
    RefusalCode.ROLE: 403,
    RefusalCode.SAME_PERSON: 403,
    RefusalCode.NOT_OPEN: 409,
    RefusalCode.HELD_BY_ANOTHER: 409,
    RefusalCode.NOT_HELD: 409,
    RefusalCode.UNKNOWN_LABEL: 422,
    RefusalCode.COMMENT_MISSING: 422,
    RefusalCode.BAD_INPUT: 422,
    RefusalCode.BAD_CHARACTER: 400,
    RefusalCode.TOO_LARGE: 413,
    RefusalCode.FOREIGN_FORM: 403,
    RefusalCode.OLD_FORM: 409,
    RefusalCode.CHANGED: 409,
    RefusalCode.BLOCKED: 429,
    RefusalCode.NOT_RECORDED: 503,
}


class Refusal(Exception):  # noqa: N818 - nothing failed
    """A person may not do this; nothing was changed.

    Attributes:
        code: why.
    """

    def __init__(self, code: RefusalCode, words: str) -> None:
        super().__init__(words)
        self.code = code
