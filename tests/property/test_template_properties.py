"""The same values give the same text, from every format and from a table of training rows."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.fields import parse_text_template
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard

_SETTINGS = settings(max_examples=60, deadline=None)
_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
_AMOUNTS = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-1e6, 1e6).map(lambda value: round(value, 2))
    | st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
)
_RECORDS = st.lists(
    st.fixed_dictionaries({"merchant": st.none() | _NAMES, "amount": st.none() | _AMOUNTS}), min_size=1, max_size=8
)


def _texts(name: str, content: bytes, template: str) -> list[str | None]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        item = InputConfig((folder,), "transaction", "unused", text_template=template)
        config = RunConfig("2026-01-31", "unused", (item,), ReadingConfig())
        tables = [part.table for shard in plan_shards(config) for part in read_shard(shard, config)]
    table = pa.concat_tables(table for table in tables if table is not None)
    assert table["reason_code"].null_count == len(table)
    texts: list[str | None] = table["text"].to_pylist()
    return texts


def _as_csv(records: list[dict[str, Any]]) -> bytes:
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, ["id", "merchant", "amount"], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: repr(value) if isinstance(value, float) else value for key, value in record.items()})
    return lines.getvalue().encode()


def _as_parquet(records: list[dict[str, Any]]) -> bytes:
    schema = pa.schema([("id", pa.string()), ("merchant", pa.string()), ("amount", pa.float64())])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema), sink)
    return sink.getvalue()


@_SETTINGS
@given(_RECORDS, st.sampled_from(["{merchant} | {amount:.2f}", "{amount:,.0f}{merchant}", "{amount:.6f}"]))
def test_parquet_json_csv_and_training_rows_give_the_same_bytes(records: list[dict[str, Any]], template: str) -> None:
    records = [{"id": str(i)} | record for i, record in enumerate(records)]
    content = _as_parquet(records)
    expected = _texts("a.parquet", content, template)
    assert _texts("a.jsonl", b"\n".join(orjson.dumps(record) for record in records), template) == expected
    assert _texts("a.csv", _as_csv(records), template) == expected
    parsed = parse_text_template(template)
    rows = pd.read_parquet(io.BytesIO(content)).to_dict("records")
    assert [parsed.render({str(key): value for key, value in row.items()}) for row in rows] == expected


@_SETTINGS
@given(_RECORDS)
def test_without_a_format_parquet_and_json_give_the_same_bytes(records: list[dict[str, Any]]) -> None:
    records = [{"id": str(i)} | record for i, record in enumerate(records)]
    lines = "\n".join(map(json.dumps, records)).encode()  # orjson writes small floats with other digits than `repr`
    template = "{merchant} {amount}"
    assert _texts("a.jsonl", lines, template) == _texts("a.parquet", _as_parquet(records), template)
