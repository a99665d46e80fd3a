"""The filters of the worklist as addresses carry them: every link and form of every page keeps them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from escalation.people.accounts import Person
from escalation.refusals import Refusal, RefusalCode
from escalation.review.worklist import Filters, Order, View

_E = TypeVar("_E", bound=StrEnum)


def filters_of(person: Person, values: Mapping[str, str]) -> Filters:
    """The filters of an address.

    Raises:
        Refusal: it names a view or order that does not exist.
    """
    default = _default(person)
    return Filters(
        view=_member(View, values.get("view") or default.view.value),
        order=_member(Order, values.get("order") or default.order.value),
        **{name: values.get(name, "") for name in _names() if name not in ("view", "order")},
    )


def filter_fields(person: Person, filters: Filters) -> dict[str, str]:
    """The filters that are not the person's default, by the names that addresses give them."""
    default = dataclasses.asdict(_default(person))
    return {name: str(value) for name, value in dataclasses.asdict(filters).items() if value != default[name]}


def kept_filters(person: Person, values: Mapping[str, str]) -> dict[str, str]:
    """Filters of an address that another page passes on; none if the address is not one of ours."""
    try:
        return filter_fields(person, filters_of(person, values))
    except Refusal:
        return {}


def with_query(path: str, fields: Mapping[str, str]) -> str:
    """A path with fields as its query; those that are empty are left out."""
    query = urlencode({name: value for name, value in fields.items() if value})
    return f"{path}?{query}" if query else path


def _default(person: Person) -> Filters:
    return Filters(view=View.WAITING if person.judges else View.OPEN)


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(Filters)]


def _member(kind: type[_E], value: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise Refusal(RefusalCode.BAD_INPUT, "The address of this page is not one of ours.") from None
