"""Members of mails and archives, and the names they may bear."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

MAX_NAME_CHARACTERS = 100
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}$")


@dataclass(frozen=True)
class Member:
    """A file within a mail or an archive.

    Attributes:
        name: cleaned by `clean_name`; without its ordinal.
        media_type_hint: as the container declares it; "" where it does not.
    """

    name: str
    content: bytes
    media_type_hint: str = ""


@dataclass(frozen=True)
class Mail:
    """A mail's own text and facts, and the files that came with it.

    Attributes:
        text: the subject, an empty line and the body; "" where the mail has neither.
        text_cut_at: length of `text` where its quoted history was left out; None where nothing was.
        received_at: the Date header in UTC, such as "2026-11-20T06:00:00Z"; "" where it has no readable one.
        fields: `mail.subject`, `mail.from`, `mail.to` and `mail.message_id`, decoded; absent headers are left out.
        members: in the order of the mail.
        skipped: parts that are no documents, counted by kind: `signature`, `inline_picture`.
    """

    text: str
    text_cut_at: int | None = None
    received_at: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    skipped: Counter[str] = field(default_factory=Counter)


def clean_name(name: str, fallback: str = "unnamed") -> str:
    """The last step of a path, without characters that control, hide or reorder text, and of bounded length.

    The suffix survives the cut, since it may decide between text formats.
    """
    last = re.split(r"[/\\]", name[-4 * MAX_NAME_CHARACTERS :])[-1]
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in last)
    cleaned = " ".join(visible.split()).strip(".") if set(last) <= {"."} else " ".join(visible.split())
    if len(cleaned) > MAX_NAME_CHARACTERS:
        suffix = match[0] if (match := _SUFFIX.search(cleaned)) else ""
        cleaned = cleaned[: MAX_NAME_CHARACTERS - len(suffix)] + suffix
    return cleaned or fallback
