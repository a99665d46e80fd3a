"""Columns that stand only in the path, as Hive and Spark write them, and metadata fields that stand nowhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.classify import classify
from pipelines.run_descriptions import describe_run
from schemas.errors import ConfigError
from schemas.run_config import InputConfig
from tests.support.read_rows import column_of, config_for, parts_of
from tests.support.small_runs import config_of, documents, write_jsonl
from transforms.plan_shards import plan_shards
from transforms.readers.rows import path_columns

FORMATS = ("a.jsonl", "a.csv", "a.parquet", "a.txt")


def _write(folder: Path, name: str, **more: str) -> None:
    """One document with these fields, in the format of the name."""
    record = {"id": "1", "text": "card", **more}
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.table({key: [value] for key, value in record.items()}), folder / name)
    elif name.endswith(".csv"):
        (folder / name).write_text(f"{','.join(record)}\n{','.join(record.values())}\n", encoding="utf-8")
    else:
        (folder / name).write_bytes(b"card" if name.endswith(".txt") else orjson.dumps(record))


def _rows(folder: Path, **mapping: Any) -> list[dict[str, Any]]:
    return pa.concat_tables(part.table for part in parts_of(config_for(folder, **mapping))).to_pylist()


@pytest.mark.parametrize("name", FORMATS)
def test_metadata_and_templates_may_name_a_column_of_the_path(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "year=2026" / "region=S%C3%A3o Paulo", name)
    (row,) = _rows(tmp_path, metadata_fields=("region", "year"), text_template="{region}: {text}")
    assert orjson.loads(row["metadata"]) == {"region": "São Paulo", "year": "2026"}
    assert row["text"] == "São Paulo: card"


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_the_id_and_the_time_may_stand_in_the_path(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "case=7" / "day=2026-01-31", name)
    (row,) = _rows(tmp_path, id_field="case", received_at_field="day")
    assert (row["document_id"], row["received_at"]) == ("7", "2026-01-31")


@pytest.mark.parametrize("name", FORMATS)
def test_hive_s_word_for_null_is_null(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "region=__HIVE_DEFAULT_PARTITION__", name)
    (row,) = _rows(tmp_path, metadata_fields=("region",), text_template="{text}{region}")
    assert (row["metadata"], row["text"]) == ('{"region":null}', "card")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_what_the_record_says_holds_against_its_path(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "region=north", name, region="south")
    (row,) = _rows(tmp_path, metadata_fields=("region",))
    assert row["metadata"] == '{"region":"south"}'


def test_only_folders_are_columns_and_only_those_that_are_wanted() -> None:
    uri = "file:///data/a=1/b%3D2=x%252Fy/c%3D3/d=4.csv"
    assert path_columns(uri, ["a", "c", "d"]) == {"a": "1", "c": "3"}
    assert path_columns("file:///data/a=1/a=2/x.csv", ["a"]) == {"a": "2"}
    assert path_columns("s3://bucket/a=/x.csv?region=eu", ["a", "region"]) == {"a": ""}
    assert path_columns("file:///data/x.csv", ["a"]) == {}


# --- fields that are nowhere ---


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.txt"])
def test_a_metadata_field_that_no_file_has_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "region=north", name, shop="Graz")
    with pytest.raises(ConfigError, match=r"metadata_fields of document type 'ticket': no file has 'shopp'; found: "):
        plan_shards(config_for(tmp_path, metadata_fields=("region", "shopp")))


def test_a_metadata_field_that_one_of_the_files_has_is_left_out_of_the_others(tmp_path: Path) -> None:
    _write(tmp_path, "a.csv", shop="Graz")
    _write(tmp_path, "b.parquet")
    assert column_of(_rows(tmp_path, metadata_fields=("shop",)), "metadata") == ['{"shop":"Graz"}', "{}"]


def test_a_metadata_field_that_the_first_records_lack_is_warned_of_with_those_they_have(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, "a.jsonl", shop="Graz")
    with caplog.at_level(logging.WARNING):
        plan_shards(config_for(tmp_path, metadata_fields=("shop",)))
        assert caplog.messages == []
        plan_shards(config_for(tmp_path, metadata_fields=("shopp",)))
    [message] = caplog.messages
    assert message.startswith("document type 'ticket': none of the first records has 'shopp'")
    assert message.endswith("found: id, text, shop; the closest to 'shopp' is 'shop'")


def test_a_field_of_a_template_and_a_time_that_the_first_records_lack_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path / "day=1", "a.jsonl", at="2026-01-31")
    with caplog.at_level(logging.WARNING):
        plan_shards(config_for(tmp_path, text_template="{text} on {day}", received_at_field="at"))
        plan_shards(config_for(tmp_path, text_field="body"))  # every record is rejected for it, which says enough
        assert caplog.messages == []
        plan_shards(config_for(tmp_path, text_template="{text} {texxt}", received_at_field="date"))
    [message] = caplog.messages
    assert (
        "none of the first records has 'texxt', 'date', and such a field is left empty; found: id, text, at" in message
    )


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_nothing_is_warned_of_where_columns_say_for_certain_that_all_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    _write(tmp_path, name, at="2026-01-31", shop="Graz")
    with caplog.at_level(logging.WARNING):
        plan_shards(config_for(tmp_path, text_template="{text} {shop}", received_at_field="at"))
    assert caplog.messages == []


def test_a_field_that_only_columns_have_is_not_offered_as_one_that_the_records_have(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, "a.csv", shop="Graz")
    _write(tmp_path, "b.jsonl")
    with caplog.at_level(logging.WARNING):
        plan_shards(config_for(tmp_path, text_template="{text} {shop}"))
    [message] = caplog.messages
    assert message.endswith("none of the first records has 'shop', and such a field is left empty; found: id, text")


def test_a_run_says_which_metadata_field_no_document_had(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [document | {"shop": "Graz"} for document in documents(3)])
    mapped = InputConfig((str(source),), "ticket", str(tiny_bundle_unchanged), metadata_fields=("shop", "shopp"))
    manifest = classify(config_of((mapped,), tiny_bundle_unchanged, tmp_path / "w"), ())
    assert manifest.counts["absent_fields"] == {"ticket": ["shopp"]}
    assert "no ticket has 'shopp'; check metadata_fields" in describe_run(manifest, tmp_path / "w")
