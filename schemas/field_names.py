"""Words for a field that is not there: which fields there are, and which of them is probably meant."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable

_MOST_NAMED = 20
_LONGEST_NAME = 64  # characters
# A column's name: at most four words that begin with a letter. A sentence, a number or a date is not one.
_NAME = re.compile(r"[^\W\d][\w.$/#()-]*(?: [\w.$/#()-]+){0,3}")


def looks_like_name(name: str) -> bool:
    """False where the name may be a text or a value: a file without a header has documents where names are expected."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name.strip(" \t'\"")) is not None


def fields_found(wanted: str, present: Iterable[str]) -> str:
    """The fields that are present, as "found: id, body; the closest to 'txt' is 'text'".

    Names that may be a text are counted, not quoted.
    """
    return _fields_found(wanted, tuple(present))


@functools.lru_cache(maxsize=256)  # every record of a file asks the same
def _fields_found(wanted: str, present: tuple[str, ...]) -> str:
    names = [name for name in dict.fromkeys(present) if looks_like_name(name)]
    shown = [name if name == name.strip() else repr(name) for name in names[:_MOST_NAMED]]
    others = len(set(present)) - len(shown)
    if others:
        shown.append(f"{others} more" if shown else f"{others} without a name that can be shown")
    meant = closest(wanted, names)
    return f"found: {', '.join(shown) or 'none'}" + (f"; the closest to {wanted!r} is {meant!r}" if meant else "")


def closest(wanted: str, names: Iterable[str]) -> str:
    """The name that is probably meant by `wanted`, or ""."""
    by_spelling = {_spelling(name): name for name in reversed(list(names))}
    spelt = _spelling(wanted)
    if spelt in by_spelling:
        return by_spelling[spelt]
    for spelling, name in reversed(by_spelling.items()):
        if spelt in spelling.split("_") or spelling in spelt.split("_"):
            return name
    likely = difflib.get_close_matches(spelt, by_spelling, n=1, cutoff=0.6)
    return by_spelling[likely[0]] if likely else ""


def _spelling(name: str) -> str:
    """The name as it would be written in one style: "Ticket ID", "ticketId" and "ticket-id" are the same."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip(" \t'\"\ufeff"))
    return re.sub(r"[\W_]+", "_", words).strip("_").casefold()
