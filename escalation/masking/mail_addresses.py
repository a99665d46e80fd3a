"""Finds mail addresses in a folded text, also where no space parts them from the words around them.

An address is told from the words around it by its letters: Latin, Greek and Cyrillic words stand between spaces,
others, such as Japanese and Chinese ones, are written into each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LONGEST = 254  # of an address, RFC 5321
_SPACED = "A-Za-z0-9_\u00c0-\u024f\u0370-\u052f\u1e00-\u1fff"
_JOINED = rf"(?:(?![{_SPACED}])\w)"
_SIGNS = ".+'%!~*-"

# Read backwards, from the @ on.
_LOCAL = re.compile(rf'"[^"\n]{{1,64}}"|[{_SPACED}{_SIGNS}]+|(?:\w|[{_SIGNS}])+')
_RETURNED_TO = re.compile(rf"=[{_SPACED}{_SIGNS}]+")  # bounces+anna=example.org@…

_LAST_LABEL = rf"(?:xn--[A-Za-z0-9-]{{1,59}}|(?![0-9_]+(?!\w))[{_SPACED}]{{2,63}}|{_JOINED}{{2,63}})"
_DOMAIN = re.compile(
    rf"(?:(?:[{_SPACED}-]{{1,63}}|{_JOINED}{{1,63}})\.){{1,8}}{_LAST_LABEL}"
    r"|[A-Za-z0-9-]{1,63}\u3002[A-Za-z]{2,63}"  # an ideographic full stop parts the labels, too
    r"|\[[0-9A-Za-z:.]{3,45}\]"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])"
    rf"|(?:[\w-]{{1,63}}\.){{1,8}}(?![0-9_]+(?!\w))\w{{2,63}}"
)


def find_mail_addresses(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of every mail address, in the order of the text, which was folded before."""
    free = 0  # all before it belongs to an earlier @
    at = text.find("@")
    while at >= 0:
        behind = at + 2 if text.startswith(" ", at + 1) else at + 1  # anna @ example.org
        domain = _DOMAIN.match(text, behind, behind + _LONGEST)
        before = at - 1 if text.startswith(" ", at - 1, at) else at
        if domain and (start := _start(text[max(free, before - _LONGEST) : before], before)) < before:
            yield start, domain.end()
        free = at + 1
        at = text.find("@", free)


def _start(before: str, at: int) -> int:
    backwards = before[::-1]
    local = _LOCAL.match(backwards)
    if not local:
        return at
    end = local.end()
    if "." in local[0].strip(".") and (returned := _RETURNED_TO.match(backwards, end)):
        end = returned.end()
    return at - len(backwards[:end].rstrip(_SIGNS))
