"""The same document gives the same text and the same metadata, from whichever format it is read."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.labelled import Columns, read_evaluation_data
from models.training.config import DataConfig
from models.training.data import read_labelled
from schemas.fields import parse_text_template
from schemas.run_config import ReadingConfig
from schemas.shards import DOCUMENT_SCHEMA
from tests.support.read_rows import rows_of
from transforms.validate_documents import validate_documents

_SETTINGS = settings(max_examples=100, deadline=None)
_TEMPLATE = "value: {v}."
_AS_METADATA: dict[str, Any] = {"text_field": "label", "metadata_fields": ("v",)}


def _parquet(values: pa.Array, **options: Any) -> bytes:
    sink = io.BytesIO()
    n_rows = len(values)
    columns = {"id": [str(i) for i in range(n_rows)], "label": ["l"] * n_rows, "v": values}
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def _json_lines(spelt: Sequence[str]) -> bytes:
    return "".join(f'{{"id": "{i}", "label": "l", "v": {value}}}\n' for i, value in enumerate(spelt)).encode()


def _csv(spelt: Sequence[str]) -> bytes:
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([["id", "label", "v"], *([i, "l", value] for i, value in enumerate(spelt))])
    return lines.getvalue().encode()


def _read(name: str, content: bytes) -> tuple[list[str | None], list[str | None]]:
    """Texts and metadata as a run reads them; the texts are those of evaluation and training, too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        rows = rows_of(path, content, text_template=_TEMPLATE, metadata_fields=("v",))
        assert [row["reason_code"] for row in rows] == [None] * len(rows), rows
        texts = [row["text"] for row in rows]
        if all(texts):
            template = parse_text_template(_TEMPLATE)
            assert read_evaluation_data(path, Columns(text="", template=template)).texts == tuple(texts)
            config = DataConfig(train=(name,), validation=(name,), template=_TEMPLATE)
            assert read_labelled(config, Path(folder)).train["text"].tolist() == texts
    return texts, [row["metadata"] for row in rows]


@_SETTINGS
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_floats(values: list[float]) -> None:
    expected = _read("a.parquet", _parquet(pa.array(values)))
    assert _read("a.jsonl", _json_lines([repr(value) for value in values])) == expected
    assert _read("a.csv", _csv([repr(value) for value in values]))[0] == expected[0]


@_SETTINGS
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    st.sampled_from([np.float16, np.float32]),
)
def test_floats_of_fewer_bits_are_the_decimals_that_people_read(values: list[float], kind: Any) -> None:
    short = np.array([value if abs(value) < 6e4 else 94.93 for value in values], kind)
    spelt = [repr(float(str(value))) for value in short]
    expected = _read("a.jsonl", _json_lines(spelt))
    assert _read("a.parquet", _parquet(pa.array(short))) == expected
    nested = pa.array([[value] for value in short], pa.list_(pa.from_numpy_dtype(kind)))
    metadata = [row["metadata"] for row in _rows(nested)]
    assert metadata == [text and text.replace('"v":', '"v":[').replace("}", "]}") for text in expected[1]]


def _rows(values: pa.Array) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        content = _parquet(values)
        return rows_of(Path(folder) / "a.parquet", content, **_AS_METADATA)


@_SETTINGS
@given(st.lists(st.integers(-(10**38) + 1, 10**38 - 1) | st.integers(-(2**63), 2**64), min_size=1, max_size=5))
def test_integers_of_any_length(values: list[int]) -> None:
    spelt = [str(value) for value in values]
    expected = _read("a.jsonl", _json_lines(spelt))
    assert expected[0] == [f"value: {value}." for value in spelt]
    assert [json.loads(text or "")["v"] for text in expected[1]] == values
    assert _read("a.parquet", _parquet(pa.array(map(decimal.Decimal, values), pa.decimal128(38, 0)))) == expected
    assert _read("a.csv", _csv(spelt))[0] == expected[0]
    for kind, low, high in ((pa.int64(), -(2**63), 2**63), (pa.uint64(), 0, 2**64)):
        if all(low <= value < high for value in values):
            assert _read("a.parquet", _parquet(pa.array(values, kind))) == expected


@_SETTINGS
@given(st.lists(st.decimals(-(10**20), 10**20, places=6), min_size=1, max_size=5), st.integers(0, 6))
def test_decimals_keep_every_digit(values: list[decimal.Decimal], places: int) -> None:
    values = [value.quantize(decimal.Decimal(1).scaleb(-places)) + 0 for value in values]
    spelt = [f"{value:f}" for value in values]
    expected = _read("a.parquet", _parquet(pa.array(values, pa.decimal128(38, places))))
    assert expected == ([f"value: {value}." for value in spelt], [f'{{"v":{value}}}' for value in spelt])
    assert _read("a.jsonl", _json_lines(spelt)) == expected
    assert _read("a.csv", _csv(spelt))[0] == expected[0]


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@_SETTINGS
@given(st.lists(_TEXTS.filter(str.strip), min_size=1, max_size=5))
def test_strings_in_any_layout(values: list[str]) -> None:
    expected = _read("a.jsonl", _json_lines([json.dumps(value) for value in values]))
    assert expected[0] == [f"value: {value}." for value in values]
    assert _read("a.csv", _csv(values)) == expected
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()):
        encoded = [value.encode() for value in values] if "binary" in str(kind) else values
        assert _read("a.parquet", _parquet(pa.array(encoded, kind))) == expected
    assert _read("a.parquet", _parquet(pa.array(values).dictionary_encode())) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@_SETTINGS
@given(st.lists(st.dictionaries(st.text("abé", min_size=1, max_size=2), st.integers(0, 9)), min_size=1, max_size=4))
def test_maps_structs_and_lists_are_what_json_calls_objects_and_arrays(values: list[dict[str, int]]) -> None:
    def metadata(name: str, content: bytes) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            rows = rows_of(Path(folder) / name, content, **_AS_METADATA)
        return [row["metadata"] for row in rows]

    maps = pa.array([list(value.items()) for value in values], pa.map_(pa.string(), pa.int8()))
    assert metadata("a.parquet", _parquet(maps)) == metadata("a.jsonl", _json_lines([json.dumps(v) for v in values]))
    for wrap in (pa.list_, pa.large_list, lambda kind: pa.list_(kind, 1)):
        wrapped = pa.array([[[*value.items()]] for value in values], wrap(pa.map_(pa.string(), pa.int8())))
        assert metadata("a.parquet", _parquet(wrapped)) == metadata(
            "a.jsonl", _json_lines([json.dumps([value]) for value in values])
        )
    structs = [{"a": value, "b": None} for value in map(len, values)]
    kind = pa.struct([("b", pa.float32()), ("a", pa.uint8())])
    assert metadata("a.parquet", _parquet(pa.array(structs, kind))) == metadata(
        "a.jsonl", _json_lines([json.dumps(value) for value in structs])
    )


@_SETTINGS
@given(
    st.lists(st.datetimes().map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)), min_size=1),
    st.sampled_from(["ms", "us"]),
    st.sampled_from([None, "UTC", "Europe/Berlin", "GMT+05:30", "+05:30", "UTC+1", "Mars/Olympus", "", "\u00e9"]),
)
def test_times_are_the_same_whatever_their_unit_and_zone_are_called(
    values: list[datetime.datetime], unit: str, zone: str | None
) -> None:
    integers = [
        (value - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1000 if unit == "ms" else 1)
        for value in values
    ]
    spelt = [value.isoformat() + ("Z" if zone else "") for value in values]
    expected = _read("a.jsonl", _json_lines([json.dumps(value) for value in spelt]))
    column = pa.array(integers, pa.int64()).cast(pa.timestamp(unit, zone))
    assert _read("a.parquet", _parquet(column)) == expected
    assert _read("a.csv", _csv(spelt)) == expected


@pytest.mark.parametrize("year", [1, 1582, 1677, 1970, 2026, 2262, 9999])
def test_the_times_of_old_parquet_files_keep_their_year(year: int) -> None:
    values = pa.array([datetime.datetime(year, 12, 31, 23, 59, 59)], pa.timestamp("us"))
    content = _parquet(values, use_deprecated_int96_timestamps=True)
    spelt = f"{year:04d}-12-31T23:59:59"
    assert _read("a.parquet", content) == ([f"value: {spelt}."], [f'{{"v":"{spelt}"}}'])
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder) / "a.parquet", content, text_field="label", received_at_field="v")
    table = validate_documents(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), ReadingConfig())
    assert table["received_at"][0].as_py().isoformat() == f"{spelt}+00:00"


# --- values that no format can pass on ---


def _outcomes(values: pa.Array, **mapping: Any) -> list[tuple[str | None, str | None]]:
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder) / "a.parquet", _parquet(values), **mapping)
    return [(row["reason_code"], row["metadata"]) for row in rows]


def test_a_time_beyond_the_calendar_costs_its_record_alone() -> None:
    for unit, scale in (("s", 10**6), ("ms", 10**3), ("us", 1)):
        times = pa.array([0, 2**62 // scale, None, -(2**62) // scale], pa.int64()).cast(
            pa.timestamp(unit, "Mars/Olympus")
        )
        found = _outcomes(times, **_AS_METADATA)
        expected = [(None, '{"v":"1970-01-01T00:00:00Z"}'), ("wrong_type", None), (None, '{"v":null}')]
        assert found == [*expected, ("wrong_type", None)], unit
        texts = _outcomes(times, text_template="{v} {label}")
        assert [reason for reason, _ in texts] == [None, "wrong_type", None, "wrong_type"]


def test_nanoseconds_times_of_day_dates_and_durations_are_written_in_full() -> None:
    columns = {
        "1970-01-01T00:00:00.000000001": pa.array([1], pa.timestamp("ns")),
        "1969-12-31T23:59:59.999999Z": pa.array([-1], pa.timestamp("us", "+05:30")),
        "00:00:00.001000": pa.array([1], pa.time32("ms")),
        "23:59:59.999999999": pa.array([86_399_999_999_999], pa.time64("ns")),
        "0001-01-01": pa.array([datetime.date.min], pa.date32()),
        "9999-12-31": pa.array([datetime.date.max], pa.date64()),
        "PT90.500000S": pa.array([90_500], pa.duration("ms")),
        "-PT0.000000001S": pa.array([-1], pa.duration("ns")),
    }
    for spelt, column in columns.items():
        assert _read("a.parquet", _parquet(column)) == ([f"value: {spelt}."], [f'{{"v":"{spelt}"}}'])


def test_numbers_that_json_does_not_have_are_null_or_a_wrong_type_and_never_another_number() -> None:
    numbers = pa.array([float("nan"), float("inf"), -0.0, 1e22])
    metadata = _outcomes(numbers, **_AS_METADATA)
    assert metadata == [(None, '{"v":null}'), ("wrong_type", None), (None, '{"v":-0.0}'), (None, '{"v":1e+22}')]
    assert _outcomes(numbers.cast(pa.float32()), **_AS_METADATA) == metadata
    nested = pa.array([[float("inf")], [1.5]])
    assert _outcomes(nested, **_AS_METADATA) == [
        ("wrong_type", None),
        (None, '{"v":[1.5]}'),
    ]


def test_a_map_with_a_key_twice_is_no_object() -> None:
    maps = pa.array([[("a", 1), ("a", 2)], [("a", 1)]], pa.map_(pa.string(), pa.int8()))
    assert _outcomes(maps, **_AS_METADATA) == [
        ("wrong_type", None),
        (None, '{"v":{"a":1}}'),
    ]


@pytest.mark.parametrize(
    ("identity", "found"),
    [
        ("39812345678901234567", "39812345678901234567"),
        ("-1", "-1"),
        (str(2**63), str(2**63)),
        ('"007"', "007"),
        ("1.0", None),
        ("1.00", None),
        ("1e2", None),
        ("true", None),
    ],
)
def test_an_id_is_a_string_or_an_integer_of_any_length_and_no_other_number(
    tmp_path: Path, identity: str, found: str | None
) -> None:
    (row,) = rows_of(tmp_path / "a.jsonl", f'{{"id": {identity}, "text": "t"}}'.encode())
    assert row["document_id"] == found
    assert (row["reason_code"] is None) == (found is not None)


def test_a_number_in_a_record_nested_too_deep_is_refused_and_never_rounded(tmp_path: Path) -> None:
    deep = b'{"id": 1, "text": "t", "n": 39812345678901234567, "m": ' + b"[" * 1010 + b"]" * 1010 + b"}"
    (row,) = rows_of(tmp_path / "a.jsonl", deep)
    assert (row["reason_code"], row["detail"]) == ("malformed_record", "nested too deep")


@pytest.mark.parametrize(
    ("column", "moment"),
    [
        (pa.array([1], pa.timestamp("us", "GMT+05:30")), "1970-01-01T00:00:00.000001+00:00"),
        (pa.array([1], pa.timestamp("ns", "Mars/Olympus")), "1970-01-01T00:00:00+00:00"),
        (pa.array([1], pa.date64()), "1970-01-01T00:00:00+00:00"),
        (pa.array([2**62], pa.timestamp("us", "UTC")), None),
        (pa.array([2**30], pa.date32()), None),
        (pa.array([5], pa.time32("s")), None),
        (pa.array([5], pa.duration("s")), None),
    ],
)
def test_a_time_of_receipt_is_a_time_in_utc_or_a_rejection_whatever_its_column_is(
    tmp_path: Path, column: pa.Array, moment: str | None
) -> None:
    content = _parquet(pa.chunked_array([column]))
    rows = rows_of(tmp_path / "a.parquet", content, text_field="label", received_at_field="v")
    (row,) = validate_documents(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), ReadingConfig()).to_pylist()
    assert (row["received_at"] and row["received_at"].isoformat()) == moment
    assert (row["reason_code"] in ("wrong_type", "invalid_timestamp")) == (moment is None), row


_ZONED = pa.array([0, None, 2**61], pa.int64()).cast(pa.timestamp("us", "GMT+05:30"))
_COLUMNS: dict[str, pa.Array] = {
    "null": pa.nulls(3),
    "boolean": pa.array([True, None, False]),
    "half": pa.array(np.array([1, np.nan, np.inf], np.float16)),
    "decimal": pa.array([decimal.Decimal("1e70"), None, decimal.Decimal(-1)], pa.decimal256(76, 0)),
    "dates": pa.array([0, None, -(2**31)], pa.int32()).cast(pa.date32()),
    "instants": pa.array([1, None, -(2**62)], pa.int64()).cast(pa.timestamp("ms")).cast(pa.date64(), safe=False),
    "clock": pa.array([0, None, 2**40], pa.int64()).cast(pa.time64("us")),
    "duration": pa.array([0, None, -(2**63) + 1], pa.duration("ns")),
    "zoned": _ZONED,
    "zoned in a dictionary": pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), _ZONED.drop_null()),
    "zoned in a struct": pa.StructArray.from_arrays([_ZONED], ["when"]),
    "zoned in a list": pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), _ZONED),
    "zoned in a map": pa.MapArray.from_arrays(pa.array([0, 1, 2, 3]), pa.array(["a", "b", "c"]), _ZONED),
    "map from times": pa.MapArray.from_arrays(pa.array([0, 1, 1, 2]), pa.array([0, 2**61], pa.timestamp("us")), [1, 2]),
    "bytes": pa.array([b"a", None, b"\xff"]),
    "fixed": pa.array([b"ab", None, b"\xff\xff"], pa.binary(2)),
    "no UTF-8": pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", None, b"\xff"]).buffers()),
    "uuid": pa.array([b"a" * 16, None, b"\xff" * 16], pa.uuid()),
    "JSON": pa.array(["{}", None, "["], pa.json_(pa.string())),
}


@pytest.mark.parametrize("use", ["id_field", "text_field", "text_template", "received_at_field", "metadata_fields"])
@pytest.mark.parametrize("name", list(_COLUMNS))
def test_no_column_of_any_type_ends_a_run_or_takes_another_row_with_it(tmp_path: Path, name: str, use: str) -> None:
    mapping = {"text_field": "label"} | {use: {"metadata_fields": ("v",), "text_template": "{v} {label}"}.get(use, "v")}
    if use == "text_template":
        del mapping["text_field"]
    rows = rows_of(tmp_path / "a.parquet", _parquet(_COLUMNS[name]), **mapping)
    assert [row["source_offset"] for row in rows] == [0, 1, 2]
    table = validate_documents(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), ReadingConfig())
    if use == "metadata_fields":
        assert table["reason_code"][1].as_py() is None  # the row without a value
    for row in table.to_pylist():
        assert row["reason_code"] is None or row["detail"]
