from __future__ import annotations

import os
import types
from pathlib import Path
from urllib.parse import unquote

import pytest
from pyarrow import fs

from schemas.errors import InputError, StorageError
from tests.support.read_rows import config_for
from transforms.plan_shards import plan_shards
from transforms.readers.files import local_path, local_uri
from transforms.readers.listing import files_on, list_files, reaches


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def _names(folder: Path, *paths: str) -> list[str]:
    found = [local_path(file.source_uri) or "" for file in list_files(paths)]
    return [os.path.relpath(name, folder) for name in found]


def test_a_folder_is_read_recursively_and_in_order_of_the_uri(tmp_path: Path) -> None:
    _write(tmp_path, "b.csv", "a/z.jsonl", "a/y/x.jsonl", "c.jsonl/part-1.jsonl")
    assert _names(tmp_path, str(tmp_path)) == ["a/y/x.jsonl", "a/z.jsonl", "b.csv", "c.jsonl/part-1.jsonl"]


def test_hidden_names_are_passed_by_in_folders_and_globs_but_not_when_they_are_named(tmp_path: Path) -> None:
    _write(tmp_path, "a.csv", "_SUCCESS", ".a.csv.crc", "_temporary/b.csv", ".hidden/c.csv")
    assert _names(tmp_path, str(tmp_path)) == ["a.csv"]
    assert _names(tmp_path, f"{tmp_path}/**/*.csv") == ["a.csv"]
    assert _names(tmp_path, f"{tmp_path}/_temporary/b.csv") == ["_temporary/b.csv"]
    assert _names(tmp_path, f"{tmp_path}/_temporary/*.csv") == ["_temporary/b.csv"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["a.csv"]),
        ("**/*.csv", ["a.csv", "x/b.csv", "x/y/c.csv"]),
        ("x/?.csv", ["x/b.csv"]),
        ("[ab].csv", ["a.csv"]),
        ("x*", ["x/b.csv", "x/y/c.csv"]),
        ("x/**", ["x/b.csv", "x/y/c.csv"]),
    ],
)
def test_globs_reach_files_and_folders(tmp_path: Path, pattern: str, names: list[str]) -> None:
    _write(tmp_path, "a.csv", "x/b.csv", "x/y/c.csv")
    assert _names(tmp_path, f"{tmp_path}/{pattern}") == names


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    _write(tmp_path, "a[1].csv", "a1.csv")
    assert _names(tmp_path, f"{tmp_path}/a[1].csv") == ["a[1].csv"]


def test_overlapping_paths_and_links_give_each_file_once(tmp_path: Path) -> None:
    _write(tmp_path, "x/a.csv", "x/b.csv")
    (tmp_path / "x/0-link.csv").symlink_to(tmp_path / "x/a.csv")
    (tmp_path / "x/back").symlink_to(tmp_path, target_is_directory=True)
    paths = (f"{tmp_path}/x", f"{tmp_path}/x/a.csv", f"{tmp_path}/x/../x/*.csv", f"file://{tmp_path}/x/b.csv")
    assert _names(tmp_path, *paths) == ["x/a.csv", "x/b.csv"]


def test_relative_paths_become_absolute_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "a b.csv")
    monkeypatch.chdir(tmp_path)
    assert [file.source_uri for file in list_files(("a b.csv",))] == [f"file://{tmp_path}/a%20b.csv"]


@pytest.mark.parametrize("name", [b"caf\xe9.csv", b"new\nline.csv", b"100%.csv", b"a?b#c;d.csv", "日本.csv".encode()])
def test_any_file_name_survives_the_way_to_a_uri_and_back(tmp_path: Path, name: bytes) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    Path(path).write_text("x")
    (file,) = list_files((str(tmp_path),))
    assert file.source_uri.isascii()
    assert file.source_uri.isprintable()
    assert local_path(file.source_uri) == path


@pytest.mark.parametrize("path", ["missing.csv", "missing/*.csv", "empty", "empty/*.csv", "hidden-only", "broken-link"])
def test_a_path_that_means_no_file_is_an_input_error_that_names_it(tmp_path: Path, path: str) -> None:
    _write(tmp_path, "present.csv", "hidden-only/_SUCCESS")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken-link").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match=path.replace("*", r"\*")) as caught:
        list_files((str(tmp_path / "present.csv"), str(tmp_path / path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["nosuchscheme://bucket/a.csv", "http://example.com/a.csv"])
def test_a_uri_no_file_system_serves_is_an_input_error(uri: str) -> None:
    with pytest.raises(InputError, match=uri):
        list_files((uri,))


def test_a_name_too_long_for_the_system_is_an_input_error() -> None:
    with pytest.raises(InputError, match="name too long"):
        list_files(("a" * 5000,))


def test_files_that_cannot_be_opened_are_listed_with_their_problem(tmp_path: Path) -> None:
    _write(tmp_path, "a.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "c.csv")
    problems = [file.problem for file in list_files((str(tmp_path),))]
    assert problems == ["", "cannot be opened: No such file or directory", "cannot be opened: no regular file"]


def test_an_object_store_is_listed_by_the_same_rules(tmp_path: Path) -> None:
    _write(tmp_path, "root/a.csv", "root/x/b.csv", "root/x/_c.csv", "root/_y/d.csv")
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())

    def names(root: str, *pattern: str) -> list[str]:
        return sorted(name for name, _ in files_on(store, root, pattern))

    assert names("root/a.csv") == ["root/a.csv"]
    assert names("root") == ["root/a.csv", "root/x/b.csv"]
    assert names("root", "*.csv") == ["root/a.csv"]
    assert names("root", "**", "*.csv") == ["root/a.csv", "root/x/b.csv"]
    assert names("root", "x*") == ["root/x/b.csv"]
    assert names("missing") == []


def test_local_uris_are_file_uris() -> None:
    assert local_uri("/data/a.csv") == "file:///data/a.csv"
    assert local_path("s3://bucket/a.csv") is None


def _short_names(*paths: str) -> list[str]:
    return [file.name for file in list_files(paths)]


def test_a_file_is_named_by_its_path_below_the_folder_that_all_paths_lie_in(tmp_path: Path) -> None:
    _write(tmp_path, "in/a.txt", "in/x/b.txt", "in/x/y/c.txt", "inner/d.txt")
    assert _short_names(f"{tmp_path}/in") == ["a.txt", "x/b.txt", "x/y/c.txt"]
    assert _short_names(f"{tmp_path}/in/*/b.txt", f"file://{tmp_path}/in/a.txt") == ["a.txt", "x/b.txt"]
    assert _short_names(f"{tmp_path}/in/x/y/c.txt") == ["c.txt"]
    assert _short_names(f"{tmp_path}/in/x", f"{tmp_path}/inner") == ["in/x/b.txt", "in/x/y/c.txt", "inner/d.txt"]
    assert _short_names(f"{tmp_path}/in", f"{tmp_path}/in/x") == ["a.txt", "x/b.txt", "x/y/c.txt"]


def test_short_names_are_spelt_as_they_are_and_can_always_be_written_as_utf8(tmp_path: Path) -> None:
    _write(tmp_path, "100% é?.txt")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    assert _short_names(str(tmp_path)) == ["100% é?.txt", r"caf\xe9.txt"]


def test_files_of_an_object_store_are_named_likewise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "bucket/in/a b.txt", "bucket/in/x/b.txt", "bucket/other/c.txt")
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    opener = types.SimpleNamespace(
        from_uri=lambda uri: (store, unquote(uri.partition("?")[0].removeprefix("store://")).rstrip("/"))
    )
    names = types.SimpleNamespace(FileSystem=opener, FileType=fs.FileType, FileSelector=fs.FileSelector)
    monkeypatch.setattr("transforms.readers.listing.fs", names)
    assert _short_names("store://bucket/in?region=x") == ["a b.txt", "x/b.txt"]
    assert _short_names("store://bucket/in/*/b.txt") == ["x/b.txt"]
    assert _short_names("store://bucket/in/a%20b.txt") == ["a b.txt"]
    assert _short_names("store://bucket/in/x/", "store://bucket/other/c.txt") == ["in/x/b.txt", "other/c.txt"]


def test_a_given_path_that_may_not_be_read_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,text\n1,card\n")
    # The superuser, who may read everything, runs tests too.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != file)
    assert len(list_files((str(tmp_path),))) == 1
    with pytest.raises(StorageError, match=rf"{file}: Permission denied; give this user the right to it"):
        list_files((str(file),))


def test_files_that_cannot_be_opened_are_rejections_and_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    (tmp_path / "empty.csv").touch()
    _, shard = plan_shards(config_for(tmp_path))
    assert shard.problem == ("unreadable_file", "cannot be opened: No such file or directory")


STORE, FOLDER = "s3://company/docyard", "/company/docyard"
BELOW = "run_date=*", "document_type=*", "*.parquet"


@pytest.mark.parametrize("warehouse", [STORE, FOLDER])
@pytest.mark.parametrize(
    "path",
    [
        *("", "/*", "/*/*/*/*/*.parquet", "/**/*.parquet", "/**", "/d[o]cyard", "/doc*/classifications/"),
        *("/docyard/*", "/docyard/class*", "/docyard/classifications", "/docyard/classifications/**/part-*"),
        *("/docyard/classifications/run_date=2026-01-*/*/*.parquet", "/docyard/classifications/*/*/part-*.par[q]uet"),
        *("/x/../docyard/classifications", "//docyard/./classifications", "/x/*/../docyard/classifications"),
        *("/docyard/classifications/run_date=2026-01-31/document_type=ticket/part-00000.parquet", "/**/../docyard"),
    ],
)
def test_a_path_that_could_name_a_published_file_reaches_it(warehouse: str, path: str) -> None:
    assert reaches(warehouse.removesuffix("/docyard") + path, f"{warehouse}/classifications", BELOW)


@pytest.mark.parametrize("warehouse", [STORE, FOLDER, "/company/[x]/docyard"])
@pytest.mark.parametrize(
    "path",
    [
        *("/*.jsonl", "/**/*.jsonl", "/**/*.json[l].gz", "/inbox", "/inbox/**", "/docyard/inbox", "/docyard/in*/"),
        *("/docyard2/classifications", "/docyard/classifications2", "/docyard/x/*", "/*/inbox/*.parquet", "/a.parquet"),
        *("/docyard/classifications/run_day=*/", "/docyard/*/*/*.parquet", "/docyard/*/run_date=*/*/a.csv"),
    ],
)
def test_a_path_that_names_no_published_file_does_not_reach_it(warehouse: str, path: str) -> None:
    assert not reaches(warehouse.removesuffix("/docyard") + path, f"{warehouse}/classifications", BELOW)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("abfss://data@company.dfs.core.windows.net/docyard/*/", "az://data/docyard"),
        ("s3://company/doc%79ard/classifications?region=eu-central-1", STORE),
        ("file:///company/docyard", FOLDER),
    ],
)
def test_a_place_of_several_names_is_one_place(path: str, place: str) -> None:
    assert reaches(path, f"{place}/classifications", BELOW)


@pytest.mark.parametrize(
    "path", ["/company/*", "/company/*/../x", "company", "s3://docyard/*", "s3://other/../company"]
)
def test_a_local_path_or_another_bucket_does_not_reach_a_store(path: str) -> None:
    assert not reaches(path, f"{STORE}/classifications", BELOW)


def test_a_warehouse_whose_name_folders_pass_by_is_not_reached(tmp_path: Path) -> None:
    assert not reaches(str(tmp_path), f"{tmp_path}/_warehouse/classifications", BELOW)
    assert reaches(f"{tmp_path}/_warehouse", f"{tmp_path}/_warehouse/classifications", BELOW)


def test_links_on_the_way_to_a_pattern_are_followed(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "w")
    assert reaches(f"{tmp_path}/link/*", f"{tmp_path}/w/classifications", BELOW)
