"""Labels in a tree: a label such as "Travel/Taxi" names its parents where the bundle declares a separator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def parents_of(label: str, separator: str) -> tuple[str, ...]:
    """The label's ancestors, the highest first: ("a", "a/b") for "a/b/c"; none without a separator."""
    parts = label.split(separator) if separator else [label]
    return tuple(separator.join(parts[:depth]) for depth in range(1, len(parts)))


def tree_fault(labels: Iterable[str], separator: str) -> str:
    """Names the first label with an empty part, or white space around one; "" where the labels make a tree.

    A label may be the parent of others as well: it is the one for what fits none of them.
    """
    for label in labels:
        parts = label.split(separator) if separator else [label]
        if any(not part or part != part.strip() for part in parts):
            return f"{label!r} has an empty part, or spaces beside {separator!r}"
    return ""


def all_parents(labels: Sequence[str], separator: str) -> list[str]:
    """Every ancestor of a label, sorted, each once."""
    return sorted({parent for label in labels for parent in parents_of(label, separator)})


def below(labels: Sequence[str], parent: str, separator: str) -> list[int]:
    """The places of the labels that are the parent or have it as an ancestor."""
    return [place for place, label in enumerate(labels) if parent in (label, *parents_of(label, separator))]
