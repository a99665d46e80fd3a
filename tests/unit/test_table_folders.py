"""Tables whose log decides which rows hold, and other things that lie in folders of data without being data."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from schemas.errors import InputError
from schemas.file_kinds import refuse_remote_tables
from tests.support.read_rows import config_for, parts_of, rows_of
from transforms.readers.listing import list_files

_TABLES = {
    "Delta": ("_delta_log/00000000000000000000.json", "part=1/a.parquet"),
    "Iceberg": ("metadata/00000-2f.metadata.json", "data/part=1/a.parquet"),
    "Hudi": (".hoodie/hoodie.properties", "part=1/a.parquet"),
    "Lance": ("_versions/1.manifest", "data/a.lance"),
}


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"id": [name], "text": ["card"]}), folder / name)
        else:
            (folder / name).write_text("{}")


@pytest.mark.parametrize("kind", list(_TABLES))
@pytest.mark.parametrize(
    "way", ["{0}/lake/table", "{0}/lake", "{0}", "{0}/lake/table/**/a.*", "{0}/lake/*/*", "{0}/lake/table/{1}", "{0}/l"]
)
def test_a_table_is_refused_by_name_however_the_path_enters_it(tmp_path: Path, kind: str, way: str) -> None:
    log, data = _TABLES[kind]
    _write(tmp_path / "lake/table", log, data)
    _write(tmp_path / "lake/plain", "b.parquet")
    (tmp_path / "l").symlink_to(tmp_path / f"lake/table/{data.split('/')[0]}")
    with pytest.raises(InputError, match=f"lake/table' is an? {kind} table; .* in another folder, and name that$"):
        list_files((way.format(tmp_path, data),))
    assert len(list_files((f"{tmp_path}/lake/plain",))) == 1


def test_a_link_inside_of_a_table_to_a_file_elsewhere_is_refused_too(tmp_path: Path) -> None:
    _write(tmp_path, "table/_delta_log/0.json", "elsewhere/a.parquet")
    (tmp_path / "table/a.parquet").symlink_to(tmp_path / "elsewhere/a.parquet")
    with pytest.raises(InputError, match="a Delta table"):
        list_files((f"{tmp_path}/table/a.parquet",))


def test_a_table_in_an_object_store_is_refused_by_the_same_rules(tmp_path: Path) -> None:
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    for kind, (log, data) in _TABLES.items():
        _write(tmp_path / "bucket" / kind, log, data)
        with pytest.raises(InputError, match=f"'bucket/{kind}' is an? {kind} table"):
            refuse_remote_tables(store, [f"bucket/{kind}/{data}"])
    _write(tmp_path / "bucket/plain/metadata", "notes.json", "../a.parquet")
    refuse_remote_tables(store, ["bucket/plain/a.parquet", "a.parquet"])


def test_a_folder_that_only_looks_like_a_table_is_read(tmp_path: Path) -> None:
    _write(tmp_path, "in/metadata/notes.json", "in/a.parquet", "in/_SUCCESS", "in/_committed_1", "in/.a.parquet.crc")
    _write(tmp_path, "in/_temporary/0/b.parquet", "in/._a.parquet", "in/x_delta_log/c.parquet")
    names = [file.name for file in list_files((f"{tmp_path}/in",))]
    assert names == ["a.parquet", "metadata/notes.json", "x_delta_log/c.parquet"]


def test_other_files_beside_a_delta_table_are_no_concern_of_its(tmp_path: Path) -> None:
    _write(tmp_path, "in/table/_delta_log/0.json", "in/table/a.parquet", "in/b.jsonl")
    assert len(list_files((f"{tmp_path}/in/b.jsonl",))) == 1


@pytest.mark.parametrize(
    "name", ["a.jsonl.part", "a.csv.crdownload", "a.parquet.tmp", "a.jsonl~", "a.csv.dvc", "a.txt.bak", "a.parquet.crc"]
)
def test_a_copy_that_is_not_finished_or_no_data_is_one_rejection(tmp_path: Path, name: str) -> None:
    (row,) = rows_of(tmp_path / name, b'{"id": 1, "text": "half of a doc')
    assert row["reason_code"] == "unsupported_format"


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt", "a.parquet"])
def test_a_pointer_in_place_of_a_file_is_one_rejection_and_no_document(tmp_path: Path, name: str) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
    (row,) = rows_of(tmp_path / name, pointer)
    assert row["reason_code"] == "unreadable_file"
    assert "git lfs pull" in row["detail"]


def test_a_placeholder_of_zero_bytes_gives_no_document(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.csv", "c.parquet", "d.jsonl.gz", "e.txt"):
        (tmp_path / name).touch()
    (tmp_path / "f.jsonl").write_text('{"id": 1, "text": "card"}')
    rows = pa.concat_tables(part.table for part in parts_of(config_for(tmp_path))).to_pylist()
    assert [(row["source_uri"].rpartition("/")[2], row["reason_code"], row["text"]) for row in rows] == [
        ("c.parquet", "unreadable_file", None),
        ("d.jsonl.gz", "truncated_file", None),
        ("f.jsonl", None, "card"),
        ("e.txt", None, ""),  # the next step says that it is empty
    ]
