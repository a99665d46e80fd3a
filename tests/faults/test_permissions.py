"""Permissions of what a run stages and publishes, and limits of what a run may replace."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import StorageError
from tests.support.dying import NEW, OLD, SmallRun
from tests.support.small_runs import classify_arguments, documents, docyard, opened, write_jsonl
from transforms import stage_shard
from warehouse.files import make_folder, write_durably
from warehouse.folder import FolderWarehouse
from warehouse.locks import hold_partitions
from warehouse.publication import make_staging
from warehouse.replacement import scratch_folder, try_replacing

TABLES = ("classifications", "escalations", "rejections")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[FolderWarehouse]:
    before = os.umask(0o022)
    yield opened(tmp_path / "warehouse")
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _below(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): _mode(path) for path in folder.rglob("*")}


def test_what_a_run_stages_is_its_owner_s_whatever_the_umask(
    tiny_bundle_unchanged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    original = stage_shard.count_values

    def looking(column: object) -> dict[str, int]:
        seen.update(_below(tmp_path / "w/_staging"))
        return original(column)

    monkeypatch.setattr(stage_shard, "count_values", looking)
    source = write_jsonl(tmp_path / "in.jsonl", documents(20))
    before = os.umask(0)
    try:
        assert docyard(*classify_arguments(source, tiny_bundle_unchanged, tmp_path / "w")).exit_code == 0
    finally:
        os.umask(before)
    [run] = [name for name in seen if "/" not in name]
    assert seen[run] == 0o700
    files = {name: mode for name, mode in seen.items() if name.endswith((".parquet", ".npy", ".json"))}
    assert len(files) >= 4
    assert set(files.values()) == {0o600}


def test_what_a_killed_run_leaves_is_its_owner_s(warehouse: FolderWarehouse) -> None:
    with hold_partitions(warehouse, NEW.partitions, NEW.run_id):
        make_folder(warehouse.run(NEW.run_id))
        make_staging(warehouse, NEW.partitions, NEW.run_id)
    assert _mode(warehouse.all_staging) == _mode(warehouse.staging(NEW.run_id)) == 0o700
    with pytest.raises(FileExistsError):
        make_staging(warehouse, NEW.partitions, NEW.run_id)


def _another_group() -> int:
    """A group that files may be given to, other than the one they have by themselves."""
    if os.geteuid() == 0:
        return 12345
    others = [group for group in os.getgroups() if group != os.getegid()]
    if not others:
        pytest.skip("this user is in one group only")
    return others[0]


@pytest.mark.parametrize(("mode", "file_mode"), [(0o2770, 0o660), (0o2750, 0o640), (0o755, 0o644), (0o700, 0o600)])
def test_a_new_partition_follows_the_folder_of_its_table(warehouse: FolderWarehouse, mode: int, file_mode: int) -> None:
    group = _another_group()
    for table in TABLES:
        (warehouse.root / table).mkdir()
        os.chown(warehouse.root / table, -1, group)
        (warehouse.root / table).chmod(mode)
    NEW.publish(warehouse)
    for table in TABLES:
        for path in (warehouse.root / table).rglob("*"):
            assert path.stat().st_gid == group, path
            assert oct(_mode(path)) == oct(mode if path.is_dir() else file_mode), path


def test_a_partition_that_was_restricted_stays_so_when_it_is_replaced(warehouse: FolderWarehouse) -> None:
    OLD.publish(warehouse)
    restricted, *others = [warehouse.partition("escalations", partition) for partition in OLD.partitions]
    restricted.chmod(0o700)
    NEW.publish(warehouse)
    assert _mode(restricted) == 0o700
    assert set(_below(restricted).values()) == {0o600}
    assert {_mode(folder) for folder in others} == {0o755}


def test_a_group_that_this_user_cannot_give_is_not_replaced_by_its_own(
    warehouse: FolderWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    (warehouse.root / "escalations").mkdir()
    os.chown(warehouse.root / "escalations", -1, _another_group())
    (warehouse.root / "escalations").chmod(0o770)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.chown", refused)
    NEW.publish(warehouse)
    modes = _below(warehouse.root / "escalations").values()
    assert {mode & 0o077 for mode in modes} == {0}


_EVERYBODY_ELSE = 0xFFFFFFFF


def _default_acl() -> bytes:
    """Owner all, user 4321 read and look, group nothing, others nothing."""
    entries = [(0x01, 7, _EVERYBODY_ELSE), (0x02, 5, 4321), (0x04, 0, _EVERYBODY_ELSE), (0x10, 5, _EVERYBODY_ELSE)]
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *item) for item in [*entries, (0x20, 0, _EVERYBODY_ELSE)]
    )


def test_the_access_control_list_of_a_table_reaches_its_new_partitions(warehouse: FolderWarehouse) -> None:
    table = warehouse.root / "escalations"
    table.mkdir()
    try:
        os.setxattr(table, "system.posix_acl_default", _default_acl())
    except OSError as error:
        pytest.skip(f"the file system keeps no access control lists: {error.strerror}")
    by_the_system = table / "made_by_the_system"
    by_the_system.touch()
    expected = os.getxattr(by_the_system, "system.posix_acl_access")
    by_the_system.unlink()
    NEW.publish(warehouse)
    for path in table.rglob("*"):
        access = os.getxattr(path, "system.posix_acl_access")
        assert struct.pack("<HHI", 0x02, 5, 4321) in access
        if path.is_dir():
            assert os.getxattr(path, "system.posix_acl_default") == _default_acl()
        else:
            assert access == expected, path
            assert _mode(path) & 0o007 == 0


def test_a_warehouse_that_a_group_shares_lets_everybody_in_it_stage_and_lock(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (tmp_path / "w").mkdir()
        (tmp_path / "w").chmod(0o2770)
        warehouse = opened(tmp_path / "w")
        NEW.publish(warehouse)
        make_staging(warehouse, [], NEW.run_id)
    finally:
        os.umask(before)
    assert {_mode(path) & 0o777 for path in (warehouse.all_staging, warehouse.locks, warehouse.runs)} == {0o770}
    assert {_mode(path) for path in warehouse.locks.iterdir()} == {0o660}
    assert _mode(warehouse.run(NEW.run_id) / "manifest.json") == 0o660
    assert _mode(warehouse.staging(NEW.run_id)) & 0o777 == 0o700


def test_a_file_is_its_owner_s_and_one_that_is_replaced_keeps_its_readers(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    write_durably(path, b"1")
    assert _mode(path) == 0o600
    path.chmod(0o640)
    write_durably(path, b"2")
    assert (_mode(path), path.read_bytes()) == (0o640, b"2")


# --- what the system forbids is found by trying it ---


@contextlib.contextmanager
def _nobody() -> Iterator[Path]:
    """A folder of root's that everybody may enter, seen with the rights of nobody."""
    if os.geteuid() != 0:
        pytest.skip("only root can take on the rights of another user")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o755)
        for name in ("table", "table/partition", "scratch"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        (folder / "table/partition/_SUCCESS").touch()
        os.seteuid(65534)
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def _try(folder: Path) -> None:
    with scratch_folder(folder / "scratch/here") as scratch:
        for name in ("partition", "new", "further/new"):
            try_replacing(folder / "table" / name, scratch)


def test_a_partition_that_may_be_replaced_stays_as_it_is_when_that_is_tried() -> None:
    with _nobody() as folder:
        before = _below(folder)
        _try(folder)
        assert _below(folder) == before


@pytest.mark.parametrize(
    ("path", "mode", "says"),
    [
        ("table/partition", 0o755, "Permission denied"),  # another owner's folder cannot be given a new place
        ("table", 0o755, "Permission denied"),
        ("table", 0o1777, "Operation not permitted"),  # sticky: only the owner may move what lies there
        ("table", 0o700, "Permission denied"),
    ],
)
def test_a_partition_that_this_user_may_not_replace_is_found(path: str, mode: int, says: str) -> None:
    with _nobody() as folder:
        os.seteuid(0)
        (folder / path).chmod(mode)
        os.seteuid(65534)
        with pytest.raises(StorageError, match=f"a partition cannot be replaced: {folder}/table.*: {says}; give"):
            _try(folder)
        assert not list((folder / "scratch").iterdir())


def test_a_link_or_a_file_in_the_place_of_a_partition_is_found(warehouse: FolderWarehouse) -> None:
    OLD.publish(warehouse)
    target = warehouse.partition("escalations", OLD.partitions[0])
    target.rename(target.with_name("aside"))
    for make, says in ((target.touch, "a file lies where"), (lambda: target.symlink_to("aside"), "it is a link")):
        make()
        with pytest.raises(StorageError, match=f"{target} cannot be replaced: {says}"):
            SmallRun("refused", {"receipt": 1}).publish(warehouse)
        target.unlink()
    target.with_name("aside").rename(target)
    NEW.publish(warehouse)


@pytest.mark.parametrize("name", ["mine.parquet", "_notes", "part-of-mine.parquet", "folder"])
def test_a_file_of_somebody_else_s_in_a_partition_is_not_deleted(warehouse: FolderWarehouse, name: str) -> None:
    OLD.publish(warehouse)
    foreign = warehouse.partition("classifications", OLD.partitions[0]) / name
    foreign.write_text("mine")
    with pytest.raises(StorageError, match=f"{foreign}: Docyard did not write this file, .*; move it away"):
        warehouse.check_places(OLD.partitions)
    with pytest.raises(StorageError, match="Docyard did not write this file"):
        NEW.publish(warehouse)
    assert foreign.read_text() == "mine"
    foreign.rename(foreign.with_name(".DS_Store"))
    NEW.publish(warehouse)


@pytest.mark.parametrize("place", ["runs", "classifications/run_date=2026-01-31", "."])
def test_a_dry_run_names_a_folder_that_may_not_be_written_to(
    tiny_bundle_unchanged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(3))
    arguments = [*classify_arguments(source, tiny_bundle_unchanged, tmp_path / "w"), "--dry-run"]
    forbidden = tmp_path / "w" / place
    forbidden.mkdir(parents=True)
    assert docyard(*arguments).exit_code == 0
    # The superuser, who may write everywhere, runs tests too.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != forbidden)
    ended = docyard(*arguments)
    assert (ended.exit_code, ended.stderr.split(": this user")[0]) == (StorageError.exit_code, f"error: {forbidden}")
