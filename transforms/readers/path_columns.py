"""Columns that stand only in the path of a file: folders named `region=north`, as Hive and Spark write them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

_NULL = "__HIVE_DEFAULT_PARTITION__"


def path_columns(source_uri: str, wanted: Iterable[str]) -> dict[str, str | None]:
    """The wanted columns that folders of the path name, with their values; None for Hive's name of null.

    Special characters are decoded, as Hive encodes them ("S%C3%A3o%20Paulo").
    """
    if "=" not in source_uri and "%3D" not in source_uri:
        return {}
    names = set(wanted)
    found: dict[str, str | None] = {}
    for folder in source_uri.partition("?")[0].split("/")[:-1]:
        name, equals, value = _decoded(folder).partition("=")
        if equals and _decoded(name) in names:
            found[_decoded(name)] = None if value == _NULL else _decoded(value)
    return found


def _decoded(text: str) -> str:
    return unquote(text, errors="backslashreplace")
