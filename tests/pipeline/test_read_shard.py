from __future__ import annotations

import datetime
import decimal
import functools
import gzip
import io
import json
import tracemalloc
import uuid
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.errors import InputError
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from schemas.shards import Shard
from tests.support.read_rows import column_of, config_for, parts_of, rows_of
from transforms.beam_steps import Step, read, validate
from transforms.plan_shards import plan_shards
from transforms.readers.parquet import id_strings
from transforms.run_plan import RunPlan


def _parquet(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


# --- planning ---


def test_shards_are_numbered_by_input_then_file_then_position(tmp_path: Path) -> None:
    for name in ("b/1.jsonl", "a/2.jsonl", "a/1.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0123456789")
    inputs = tuple(InputConfig((str(tmp_path / folder),), kind, "x") for folder, kind in (("b", "k"), ("a", "l")))
    config = RunConfig("2026-01-31", "unused", inputs, ReadingConfig(shard_bytes=4))
    shards = plan_shards(config)
    found = [(s.index, s.input_index, s.source_uri[-5:], s.start, s.stop) for s in shards]
    assert found == [
        (0, 0, "jsonl", 0, 4),
        (1, 0, "jsonl", 4, 8),
        (2, 0, "jsonl", 8, 10),
        (3, 1, "1.csv", 0, -1),
        (4, 1, "jsonl", 0, 4),
        (5, 1, "jsonl", 4, 8),
        (6, 1, "jsonl", 8, 10),
    ]
    assert plan_shards(config) == shards


def test_row_groups_are_grouped_up_to_the_limits_of_a_shard(tmp_path: Path) -> None:
    ids = [str(i) for i in range(70)]
    (tmp_path / "a.parquet").write_bytes(_parquet({"id": ids, "text": ids}, row_group_size=10))
    config = config_for(tmp_path, ReadingConfig(shard_rows=25))
    assert [(shard.start, shard.stop) for shard in plan_shards(config)] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    parts = parts_of(config)
    assert column_of(pa.concat_tables(part.table for part in parts).to_pylist(), "source_offset") == list(range(70))


def test_only_empty_files_are_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.csv").touch()
    with pytest.raises(InputError, match=r"2 file\(s\)"):
        plan_shards(config_for(tmp_path))


def test_an_unsupported_file_says_what_is_supported(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.json", b"[]")
    assert (row["stage"], row["reason_code"], row["source_offset"]) == ("read", "unsupported_format", None)
    assert ".jsonl" in row["detail"]
    assert "convert" in row["detail"]


# --- tables ---


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.parquet"])
def test_parts_are_numbered_counted_and_bounded_in_rows_and_the_last_says_so(tmp_path: Path, name: str) -> None:
    ids = [str(i) for i in range(25)]
    content = {
        "a.csv": "\n".join(["id,text", *(f"{i},card" for i in ids)]).encode(),
        "a.jsonl.gz": gzip.compress(b"\n".join(json.dumps({"id": i, "text": "card"}).encode() for i in ids)),
        "a.parquet": _parquet({"id": ids, "text": ids}, row_group_size=25),
    }
    (tmp_path / name).write_bytes(content[name])
    parts = parts_of(config_for(tmp_path, ReadingConfig(shard_rows=10)))
    assert [(part.name, part.records, part.is_last) for part in parts] == [
        ("part-00000-0000", 10, False),
        ("part-00000-0001", 10, False),
        ("part-00000-0002", 5, True),
    ]
    assert [len(part.table) for part in parts if part.table is not None] == [10, 10, 5]
    assert column_of(pa.concat_tables(part.table for part in parts).to_pylist(), "document_id") == ids
    assert all(part.seconds["read"] >= 0 for part in parts)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.parquet"])
def test_parts_are_bounded_in_bytes(tmp_path: Path, name: str) -> None:
    text = "x" * 1000
    content = {
        "a.csv": "\n".join(["id,text", *(f"{i},{text}" for i in range(50))]).encode(),
        "a.jsonl.gz": gzip.compress(b"\n".join(json.dumps({"id": i, "text": text}).encode() for i in range(50))),
        "a.parquet": _parquet({"id": [str(i) for i in range(50)], "text": [text] * 50}, use_dictionary=False),
    }
    (tmp_path / name).write_bytes(content[name])
    parts = parts_of(config_for(tmp_path, ReadingConfig(shard_bytes=10_000)))
    sizes = [len(part.table) for part in parts if part.table is not None]
    assert sum(sizes) == 50
    assert max(sizes) <= 11


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_empty_file_is_one_empty_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "other.jsonl").write_bytes(b"{}")
    parts = parts_of(config_for(tmp_path))
    assert [(part.records, part.is_last) for part in parts] == [(0, True), (1, True)]
    assert [len(part.table) for part in parts if part.table is not None] == [0, 1]


# --- fields ---


def test_nested_fields_are_reached_and_a_key_spelt_with_dots_wins(tmp_path: Path) -> None:
    content = b'{"d": {"id": "1", "t": "nested"}, "d.t": "flat"}\n{"d": {"id": 2, "t": "nested"}}\n{"d": [1]}\n'
    rows = rows_of(tmp_path / "a.jsonl", content, id_field="d.id", text_field="d.t")
    assert [(row["document_id"], row["text"]) for row in rows] == [("1", "flat"), ("2", "nested"), (None, None)]


def test_metadata_is_a_json_object_of_the_fields_that_are_there(tmp_path: Path) -> None:
    content = b'{"id": "1", "text": "t", "z": [1, null], "a": {"b": "\xc3\xa9"}}\n{"id": "2", "text": "t"}\n'
    rows = rows_of(tmp_path / "a.jsonl", content, metadata_fields=("z", "a.b", "missing"))
    assert column_of(rows, "metadata") == ['{"a.b":"é","z":[1,null]}', "{}"]
    assert column_of(rows_of(tmp_path / "a.jsonl", content), "metadata") == [None, None]
    rows = rows_of(tmp_path / "a.csv", b"id,text,z\n1,t,x\n", metadata_fields=("z",))
    assert column_of(rows, "metadata") == ['{"z":"x"}']


@pytest.mark.parametrize("depth", [300, 1000])
def test_metadata_nested_too_deep_to_be_written_costs_its_record_alone(tmp_path: Path, depth: int) -> None:
    deep = b'{"id": 1, "text": "secret", "m": ' + b"[" * depth + b"]" * depth + b"}\n"
    rows = rows_of(tmp_path / "a.jsonl", deep + b'{"id": 2, "text": "t", "m": [[]]}', metadata_fields=("m",))
    assert [(row["document_id"], row["reason_code"]) for row in rows] == [("1", "wrong_type"), ("2", None)]
    assert rows[0]["detail"] == "metadata: a value cannot be written as JSON"
    assert rows[0]["text"] is None


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_without_the_mapped_time_is_refused(tmp_path: Path, name: str) -> None:
    content = b"id,text\n1,t\n" if name == "a.csv" else _parquet({"id": ["1"], "text": ["t"]})
    (row,) = rows_of(tmp_path / name, content, received_at_field="at")
    assert row["reason_code"] == "unreadable_file"
    assert "'at'" in row["detail"]


def test_received_at_is_kept_as_it_is_and_anything_but_a_string_is_a_wrong_type(tmp_path: Path) -> None:
    content = b'{"id": 1, "text": "t", "at": " soon"}\n{"id": 2, "text": "t", "at": 5}\n{"id": 3, "text": "t"}'
    rows = rows_of(tmp_path / "a.jsonl", content, received_at_field="at")
    assert column_of(rows, "received_at") == [" soon", None, None]
    assert column_of(rows, "reason_code") == [None, "wrong_type", None]
    assert column_of(rows_of(tmp_path / "a.csv", b"id,text,at\n1,t,x\n", received_at_field="at"), "received_at") == [
        "x"
    ]


def test_a_rejected_row_keeps_the_id_that_could_be_read(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.jsonl", b'{"id": 7, "text": ["secret"]}')
    assert row["document_id"] == "7"
    assert row["detail"] == "text: expected a string, found an array"


# --- offsets ---


def test_offsets_are_those_of_the_decompressed_content(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"id": 1}\r\n\n{bad}\n{"id": 2}'
    expected = [3, 15, 21]
    assert column_of(rows_of(tmp_path / "a.jsonl", content), "source_offset") == expected
    assert column_of(rows_of(tmp_path / "a.jsonl.gz", gzip.compress(content)), "source_offset") == expected
    content = b'id,text\n1,"a\nb"\n\n2,c\n'
    assert column_of(rows_of(tmp_path / "a.csv", content), "source_offset") == [8, 17]


def test_a_truncated_file_is_rejected_from_the_record_that_is_cut(tmp_path: Path) -> None:
    content = b'{"id": 1, "text": "a"}\n{"id": 2, "te'
    rows = rows_of(tmp_path / "a.jsonl.gz", gzip.compress(content)[:-8])
    assert column_of(rows, "reason_code") == [None, "truncated_file"]
    assert column_of(rows, "source_offset") == [0, 23]


def test_a_line_too_long_costs_itself_alone_in_whatever_shard_it_ends(tmp_path: Path) -> None:
    content = b'{"id": 1}\n' + b"x" * 5000 + b'\n{"id": 2}\n'
    for shard_bytes in (7, 100, 10_000):
        rows = rows_of(tmp_path / "a.jsonl", content, ReadingConfig(shard_bytes=shard_bytes, max_record_bytes=200))
        assert column_of(rows, "reason_code") == [None, "record_too_large", None]
        assert column_of(rows, "source_offset") == [0, 10, 5011]


def test_a_gzip_file_of_very_many_members_is_read_in_linear_time(tmp_path: Path) -> None:
    members = gzip.compress(b"", mtime=0) * 100_000 + gzip.compress(b'{"id": 1}', mtime=0)
    assert column_of(rows_of(tmp_path / "a.jsonl.gz", members), "document_id") == ["1"]


def test_a_gzip_bomb_takes_little_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 * 2**20), 1) + gzip.compress(b'\n{"id": 1}')
    tracemalloc.start()
    rows = rows_of(tmp_path / "a.jsonl.gz", bomb, ReadingConfig(max_record_bytes=2**20))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert column_of(rows, "reason_code") == ["record_too_large", None]
    assert peak_bytes < 8 * 2**20


# --- CSV ---


def test_ids_may_be_integers_and_whole_decimals(tmp_path: Path) -> None:
    ids: dict[str, Any] = {
        "int": pa.array([1, None], pa.int32()),
        "uint": pa.array([2**64 - 1, 0], pa.uint64()),
        "decimal": pa.array([decimal.Decimal(10**20), decimal.Decimal(-3)], pa.decimal128(38, 0)),
        "large": pa.array(["é", ""], pa.large_string()),
        "dictionary": pa.array(["a", "a"]).dictionary_encode(),
    }
    content = _parquet(ids | {"text": ["t", "t"]})
    found = {name: column_of(rows_of(tmp_path / "a.parquet", content, id_field=name), "document_id") for name in ids}
    assert found == {
        "int": ["1", None],
        "uint": [str(2**64 - 1), "0"],
        "decimal": [str(10**20), "-3"],
        "large": ["é", ""],
        "dictionary": ["a", "a"],
    }


UUIDS = [uuid.UUID(int=2**127 + 5), None, uuid.UUID("aaaaaaaa-aaaa-4aaa-aaaa-414141414141")]
_UUID_TEXTS = [None if value is None else str(value) for value in UUIDS]


def _uuid_columns() -> dict[str, pa.Array]:
    stored = pa.array([None if value is None else value.bytes for value in UUIDS], pa.binary(16))
    typed = pa.ExtensionArray.from_storage(pa.uuid(), stored)
    indices = pa.array([0, 1, 2], pa.int32())
    return {"typed": typed, "dictionary": pa.DictionaryArray.from_arrays(indices, typed)}


@pytest.mark.parametrize("store_schema", [True, False])
def test_uuids_are_written_as_people_write_them(tmp_path: Path, store_schema: bool) -> None:
    typed = _uuid_columns()["typed"]
    content = _parquet({"id": typed, "text": ["t"] * 3}, store_schema=store_schema)
    rows = rows_of(tmp_path / "a.parquet", content, text_template="{id}|{text}", metadata_fields=("id",))
    assert column_of(rows, "document_id") == _UUID_TEXTS
    assert [row["text"] for row in rows] == [f"{text or ''}|t" for text in _UUID_TEXTS]
    assert [json.loads(row["metadata"])["id"] for row in rows] == _UUID_TEXTS


def test_uuids_that_arrow_gives_as_bytes_are_known_by_their_type_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_before = functools.partial(pq.ParquetFile, arrow_extensions_enabled=False)
    monkeypatch.setattr("transforms.readers.parquet.pq.ParquetFile", as_before)
    content = _parquet({"id": _uuid_columns()["typed"], "text": ["t"] * 3}, store_schema=False)
    assert as_before(io.BytesIO(content)).schema_arrow.field("id").type == pa.binary(16)
    assert column_of(rows_of(tmp_path / "a.parquet", content), "document_id") == _UUID_TEXTS


def test_a_uuid_is_recognised_within_a_dictionary_and_by_its_type_only() -> None:
    for column in _uuid_columns().values():
        assert id_strings(column)[0].to_pylist() == _UUID_TEXTS
    digests, [(invalid, _, _)] = id_strings(
        pa.array([b"sixteen letters.", UUIDS[0].bytes if UUIDS[0] else b""], pa.binary(16))
    )
    assert digests.to_pylist() == ["sixteen letters.", None]
    assert invalid.to_pylist() == [False, True]


@pytest.mark.parametrize(
    "kind", [getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)], ids=str
)
def test_whole_numbers_of_every_width_are_ids(kind: pa.DataType) -> None:
    assert id_strings(pa.array([7, None], kind))[0].to_pylist() == ["7", None]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)],
    ids=str,
)
def test_strings_and_bytes_of_every_layout_are_ids(kind: pa.DataType) -> None:
    column = pa.array([b"k7", None], pa.binary()).cast(kind) if kind != pa.binary(2) else pa.array([b"k7", None], kind)
    assert id_strings(column)[0].to_pylist() == ["k7", None]


def test_times_become_iso_8601(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 31, 12, 30, 0, 5, tzinfo=datetime.UTC)
    times: dict[str, Any] = {
        "date": pa.array([moment.date()]),
        "naive": pa.array([moment.replace(tzinfo=None)]),
        "zoned": pa.array([moment], pa.timestamp("us", "America/New_York")),
        "ns": pa.array([1], pa.timestamp("ns", "UTC")),
        "string": ["soon"],
        "number": [5],
        "out_of_range": pa.array([2**62], pa.timestamp("us")),
    }
    content = _parquet(times | {"id": ["1"], "text": ["t"]})
    config = {name: rows_of(tmp_path / "a.parquet", content, received_at_field=name)[0] for name in times}
    assert {name: row["received_at"] for name, row in config.items() if name != "out_of_range"} == {
        "date": "2026-01-31",
        "naive": "2026-01-31 12:30:00.000005",
        "zoned": "2026-01-31 12:30:00.000005Z",
        "ns": "1970-01-01 00:00:00.000000001Z",
        "string": "soon",
        "number": None,
    }
    assert config["number"]["reason_code"] == "wrong_type"
    assert config["out_of_range"]["received_at"]


def test_struct_fields_and_metadata_of_any_type_are_read(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "doc": pa.array([{"id": "1", "text": "t"}, None, {"id": "3", "text": None}]),
        "when": pa.array([datetime.date(2026, 1, 31)] * 3),
        "amount": pa.array([decimal.Decimal("1.50"), None, None]),
        "raw": pa.array([b"a", b"\xff", None]),
        "tags": pa.array([["x"], [], None]),
    }
    content = _parquet(columns)
    fields = ("when", "amount", "raw", "tags", "doc.id")
    rows = rows_of(tmp_path / "a.parquet", content, id_field="doc.id", text_field="doc.text", metadata_fields=fields)
    assert [(row["document_id"], row["text"]) for row in rows] == [("1", "t"), (None, None), ("3", None)]
    assert rows[0]["metadata"] == '{"amount":1.50,"doc.id":"1","raw":"a","tags":["x"],"when":"2026-01-31"}'
    assert rows[1]["metadata"] == r'{"amount":null,"doc.id":null,"raw":"\\xff","tags":[],"when":"2026-01-31"}'


def test_metadata_that_json_cannot_hold_is_a_wrong_type(tmp_path: Path) -> None:
    invalid = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers())
    rows = rows_of(
        tmp_path / "a.parquet", _parquet({"id": ["1", "2"], "text": ["t", "t"], "m": invalid}), metadata_fields=("m",)
    )
    assert column_of(rows, "reason_code") == [None, "wrong_type"]


def test_a_column_name_with_a_dot_is_thatcolumn_of(tmp_path: Path) -> None:
    content = _parquet({"id": ["1"], "a.b": ["flat"], "a": [{"b": "nested"}]})
    (row,) = rows_of(tmp_path / "a.parquet", content, text_field="a.b")
    assert row["text"] == "flat"


def test_a_parquet_file_without_the_mapped_columns_says_which(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path / "a.parquet", _parquet({"id": ["1"], "body": ["t"]}))
    assert (row["reason_code"], row["source_offset"]) == ("unreadable_file", None)
    assert "'text'" in row["detail"]


def test_a_row_group_that_cannot_be_decoded_says_how_many_rows_it_should_have_held(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(6)]
    content = _parquet(
        {"id": texts, "text": texts},
        row_group_size=3,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    rows = rows_of(tmp_path / "a.parquet", content.replace(b"text 4", b"xxxx 4"))
    assert column_of(rows, "reason_code") == [None, None, None, "unreadable_file"]
    assert rows[-1]["detail"].startswith("row group 1 of 3 rows cannot be decoded")


def test_a_footer_whose_row_groups_hold_fewer_rows_than_the_file_is_damage(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(30)]
    content = bytearray(_parquet({"id": texts, "text": texts}, row_group_size=10, compression="none"))
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    harmless = 0
    for position in range(footer, len(content) - 8):  # some of these bytes count rows
        damaged = bytearray(content)
        damaged[position] = 0
        rows = rows_of(tmp_path / "a.parquet", bytes(damaged))
        assert len(rows) == 30 or any(row["reason_code"] for row in rows), position
        harmless += len(rows) == 30
    assert harmless


# --- Beam ---


def _outcome(shard: Shard) -> list[tuple[str | None, str | None]]:
    assert shard.table is not None
    return list(zip(shard.table["document_id"].to_pylist(), shard.table["reason_code"].to_pylist(), strict=True))


def test_the_transforms_give_the_same_rows_under_beam(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1, "text": "a"}\n{bad}\n{"id": 2, "text": ""}\n')
    (tmp_path / "b.csv").write_bytes(b"id,text\n3,c\n")
    config = config_for(tmp_path, ReadingConfig(shard_bytes=10))
    shards = plan_shards(config)
    plan = RunPlan("20260131-000000-000000", "", config, str(tmp_path / "warehouse"), (), len(shards))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = (
            pipeline
            | "Plan" >> beam.Create(shards)
            | "Read" >> beam.ParDo(Step(read, plan))
            | "Validate" >> beam.ParDo(Step(validate, plan))
            | "Rows" >> beam.FlatMap(_outcome)
        )
        assert_that(rows, equal_to([("1", None), (None, "malformed_record"), ("2", "empty_text"), ("3", None)]))
