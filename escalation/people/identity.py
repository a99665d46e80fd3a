"""Identity: which names mean one person. Every comparison of people's names goes through this file."""

from __future__ import annotations

import unicodedata

_INVISIBLE = ("Cc", "Cf")


def person_key(name: str) -> str:
    """The one form of a name or mail address that is stored and compared.

    Letter case, compatible forms of a letter (full width, ligatures), white space around the name and invisible
    characters make no other person. Letters of another script do, however alike they look.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(char for char in folded if unicodedata.category(char) not in _INVISIBLE).strip()


def same_person(name: str | None, other: str | None) -> bool:
    """True where two names, as stored or as typed, mean one person; no name means nobody."""
    return name is not None and other is not None and person_key(name) == person_key(other)
