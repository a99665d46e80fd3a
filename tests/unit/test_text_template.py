from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from schemas.fields import parse_text_template

_SECRET = "swordfish"
_AMOUNT = parse_text_template("{amount:.2f}")
_ANY = parse_text_template("{value}")


def test_fields_are_filled_in_and_double_braces_are_braces() -> None:
    template = parse_text_template("{{{merchant}}} | {amount:,.2f} | {booked.country} {merchant}")
    assert template.fields == ("merchant", "amount", "booked.country")
    values = {"merchant": "Acme  &\tSons", "amount": 1234.5, "booked": {"country": "DE"}, "other": object()}
    assert template.render(values) == "{Acme  &\tSons} | 1,234.50 | DE Acme  &\tSons"


def test_a_field_may_have_any_name_without_braces_and_colons() -> None:
    template = parse_text_template("{Merchant Name!}{a[0]}{ }")
    assert template.fields == ("Merchant Name!", "a[0]", " ")
    assert template.render({"Merchant Name!": "a", "a[0]": "b", " ": "c"}) == "abc"


def test_a_field_spelt_with_its_dots_wins_over_a_nested_one() -> None:
    template = parse_text_template("{a.b}")
    assert template.render({"a.b": "flat", "a": {"b": "nested"}}) == "flat"
    assert template.render({"a": {"b": "nested"}}) == "nested"
    assert template.render({"a": ["b"]}) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at least one field"),
        ("no {{field}}", "at least one field"),
        ("{a", "character 0"),
        ("{a} }", "character 4"),
        ("{a{b}}", "character 0"),
        ("{}", "no name"),
        ("{:.2f}", "no name"),
        ("{a:}", "''"),
        ("{a:.2}", "'.2'"),
        ("{a:.7f}", "'.7f'"),
        ("{a:>10}", "'>10'"),
        ("{a:.2f }", "'.2f '"),
        ("{a:%Y-%m}", "'%Y-%m'"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused_and_says_why(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_text_template(text)
    assert says in str(refused.value)
    assert str(refused.value).startswith("text_template")


@pytest.mark.parametrize("null", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, decimal.Decimal("NaN")])
def test_every_kind_of_null_is_empty_text(null: Any) -> None:
    template = parse_text_template("{a} | {b:.2f}")
    assert template.render({"a": null, "b": 1}) == " | 1.00"
    assert template.render({"a": "x", "b": null}) == "x | "
    assert template.render({"a": "x"}) == "x | "


@pytest.mark.parametrize("empty", [None, "", " \t\u00a0", float("nan")])
def test_a_record_whose_fields_are_all_empty_has_no_text(empty: Any) -> None:
    assert parse_text_template("Merchant: {a}, {b:.2f}").render({"a": empty, "b": empty}) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  as it\n is ", "  as it\n is "),
        (np.str_("text"), "text"),
        ("éa".encode(), "éa"),
        (94.93, "94.93"),
        (np.float64(94.93), "94.93"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e22, "1e+22"),
        (5, "5"),
        (np.int64(-5), "-5"),
        (5.0, "5.0"),
        (decimal.Decimal("1.50"), "1.50"),
        (decimal.Decimal("0E-8"), "0.00000000"),
        (True, "true"),
        (np.bool_(False), "false"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (datetime.datetime(2026, 1, 31), "2026-01-31T00:00:00"),
        (datetime.time(9, 5), "09:05:00"),
        (pd.Timestamp("2026-01-31 01:00", tz="Europe/Berlin"), "2026-01-31T00:00:00Z"),
        (pd.Timestamp("2026-01-31 00:00:00.123456789"), "2026-01-31T00:00:00.123456"),
        (np.datetime64("2026-01-31T00:00", "ns"), "2026-01-31T00:00:00"),
    ],
)
def test_a_value_without_a_format_is_written_in_one_way(value: Any, text: str) -> None:
    assert _ANY.render({"value": value}) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (94.93, "94.93"),
        ("94.93", "94.93"),
        (" +94.930 ", "94.93"),
        (b"94.93", "94.93"),
        ("9.493e1", "94.93"),
        (decimal.Decimal("94.93"), "94.93"),
        (np.float32(94.93), "94.93"),
        (2.675, "2.68"),
        ("2.675", "2.68"),
        ("2.665", "2.66"),
        (-0.5, "-0.50"),
        (".5", "0.50"),
        (7, "7.00"),
        (np.uint8(7), "7.00"),
        (10**30, f"{10**30}.00"),
        (1e300, f"1{'0' * 300}.00"),
        (5e-324, "0.00"),
    ],
)
def test_a_number_is_rounded_as_the_decimal_it_is_written_as(value: Any, text: str) -> None:
    assert _AMOUNT.render({"amount": value}) == text


@pytest.mark.parametrize("nothing", ["", "  ", "nan", "NaN"])
def test_a_string_that_holds_no_number_at_all_counts_as_null(nothing: str) -> None:
    assert _AMOUNT.render({"amount": nothing}) is None


@pytest.mark.parametrize(
    "value",
    [
        _SECRET,
        "1,234.50",
        "$5",
        "5 EUR",
        "1_000",
        "\u0665",
        "0x1f",
        "infinity",
        "1e9999999999",
        float("inf"),
        decimal.Decimal("-Infinity"),
        decimal.Decimal("1e999999999"),
        decimal.Decimal("1e-999999999"),
        True,
        datetime.date(2026, 1, 31),
        [_SECRET],
        {_SECRET: 1},
        b"\xff",
        object(),
    ],
)
def test_what_is_no_number_is_refused_where_one_is_asked_for_and_never_quoted(value: Any) -> None:
    with pytest.raises(ValueError, match=r"field 'amount': expected a number, found ") as refused:
        _AMOUNT.render({"amount": value})
    assert _SECRET not in str(refused.value)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize("value", [[_SECRET], [], {"a": _SECRET}, b"\xff", object(), np.array([1, 2])])
def test_what_is_no_text_is_refused_and_never_quoted(value: Any) -> None:
    with pytest.raises(ValueError, match="field 'value': expected a string") as refused:
        _ANY.render({"value": value})
    assert _SECRET not in str(refused.value)


def test_a_number_of_endless_digits_is_refused_at_once() -> None:
    for value in (10**5000, "9" * 10**6, f"0.{'1' * 10**6}"):
        with pytest.raises(ValueError, match="field 'amount'"):
            _AMOUNT.render({"amount": value})
    with pytest.raises(ValueError, match="a number out of range"):
        _ANY.render({"value": 10**5000})


def test_a_time_that_has_no_utc_is_refused() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    with pytest.raises(ValueError, match="found a date"):
        _ANY.render({"value": datetime.datetime.min.replace(tzinfo=zone)})


@given(st.text())
def test_any_template_is_parsed_or_refused(text: str) -> None:
    try:
        template = parse_text_template(text)
    except ConfigError:
        return
    assert template.render(dict.fromkeys(template.fields, "x"))


@given(st.text(), st.text().filter(lambda text: bool(text.strip())))
def test_what_stands_around_a_field_comes_out_as_it_is(literal: str, value: str) -> None:
    escaped = literal.replace("{", "{{").replace("}", "}}")
    assert parse_text_template(escaped + "{a}" + escaped).render({"a": value}) == literal + value + literal


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.datetimes() | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(_JSON, st.sampled_from(["{a}", "{a:.2f}", "{a:,.0f}", "{a.b}"]))
def test_any_value_gives_a_text_or_a_value_error(value: Any, template: str) -> None:
    try:
        text = parse_text_template(template).render({"a": value})
    except ValueError:
        return
    assert text is None or text.strip()
