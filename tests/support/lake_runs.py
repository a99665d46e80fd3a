"""Runs that are only published, on an object store; the ways they die, sleep or compete; and the sight of readers."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from schemas.tables import PUBLISHED_TABLES, Table
from tests.support.dying import RUN_DATE
from warehouse.delta import live_files, publisher
from warehouse.lake_publication import STAGING, publish
from warehouse.layout import Partition
from warehouse.manifest import COUNTS, Manifest, RunStatus, TableFile
from warehouse.objects import ObjectStore
from warehouse.tokens import take_token

# Of a step on the store and of a commit: whatever changes what others find.
_CHANGES = (
    (ObjectStore, ("put_versioned", "put_new", "copy_all", "delete")),
    (DeltaTable, ("create_write_transaction",)),
)


@dataclass(frozen=True)
class LakeRun:
    """A run that has nothing but files to publish.

    Attributes:
        n_files: document type → files of each of its tables; the i-th file has i + 1 rows.
    """

    run_id: str
    n_files: dict[str, int]
    run_date: str = RUN_DATE

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return tuple(Partition(self.run_date, document_type) for document_type in sorted(self.n_files))

    def take_token(self, store: ObjectStore) -> int:
        return take_token(store, self.partitions, self.run_id)

    def stage(self, store: ObjectStore, epoch: int) -> tuple[Manifest, dict[str, str]]:
        """Stages every file; gives what `publish` wants to know of them."""
        files, staged = [], {}
        for table in PUBLISHED_TABLES:
            for partition in self.partitions:
                for number in range(self.n_files[partition.document_type]):
                    content = parquet(table, self.run_id, number + 1)
                    path = f"{table.name}/{partition.path}/part-{number:05d}-0000.parquet"
                    staged[path] = f"{STAGING}{self.run_id}/staged/{path}"
                    store.put_new(staged[path], content)
                    files.append(TableFile(table.name, path, number + 1, len(content), sha256(content).hexdigest()))
        manifest = Manifest(
            self.run_id,
            self.run_date,
            RunStatus.PUBLISHED,
            started_at="",
            document_types=tuple(sorted(self.n_files)),
            counts=dict.fromkeys(COUNTS, 0),
            seconds={"wall": 0.0},
            files=tuple(files),
            epoch=epoch,
        )
        return manifest, staged

    def publish(self, store: ObjectStore) -> Manifest:
        return publish(store, *self.stage(store, self.take_token(store)))

    def failed(self) -> Manifest:
        return Manifest(self.run_id, self.run_date, RunStatus.FAILED, "", document_types=tuple(sorted(self.n_files)))


def parquet(table: Table, text: str, rows: int) -> bytes:
    """A file of the table's schema, with the same text in every column of text."""
    schema = table.schema()
    arrays = [pa.array([_value(field.type, text)] * rows, field.type) for field in schema]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _value(kind: pa.DataType, text: str) -> object:
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return text
    if pa.types.is_list(kind):
        return [_value(kind.value_type, text)]
    if pa.types.is_struct(kind):
        return {field.name: _value(field.type, text) for field in kind}
    return True if pa.types.is_boolean(kind) else 0


# The sight of readers

Sight = dict[tuple[str, str], Counter[str | None]]
"""(table, partition) → run → its files there."""


def seen_through_delta(store: ObjectStore) -> Sight:
    """The files that a reader of Delta reads."""
    return _sight(key for table in PUBLISHED_TABLES for key in live_files(store, table))


def seen_as_files(store: ObjectStore) -> Sight:
    """The files that lie in the partitions' folders, which is what a reader of plain Parquet reads."""
    keys = [item.key for table in PUBLISHED_TABLES for item in store.list(f"{table.name}/")]
    return _sight(key for key in keys if key.endswith(".parquet") and "/_delta_log/" not in key)


def _sight(keys: Any) -> Sight:
    found: Sight = {}
    for key in keys:
        table, place = key.split("/", 1)
        found.setdefault((table, place.rsplit("/", 1)[0]), Counter())[publisher(key)] += 1
    return found


def whole(*runs: LakeRun) -> Sight:
    """The rows that readers are to find once these runs were published, one after the other."""
    found: Sight = {}
    for run in runs:
        for table in PUBLISHED_TABLES:
            for partition in run.partitions:
                found[table.name, partition.path] = Counter({run.run_id: run.n_files[partition.document_type]})
    return found


def check_each_table_is_whole(store: ObjectStore, *states: Sight) -> None:
    """In every table a reader of Delta finds one of the states, in all partitions at once."""
    found = seen_through_delta(store)
    for table in PUBLISHED_TABLES:
        assert _of(found, table) in [_of(state, table) for state in states], table.name


def _of(sight: Sight, table: Table) -> Sight:
    return {place: files for place, files in sight.items() if place[0] == table.name}


def check_settled(store: ObjectStore, expected: Sight) -> None:
    """Readers of Delta and of plain Parquet find the same, and nothing is left of what was staged."""
    for found in (seen_through_delta(store), seen_as_files(store)):
        assert found == expected, {place: found.get(place) for place in found if found[place] != expected.get(place)}
    assert store.list(STAGING) == ()


# Death and sleep


class Died(BaseException):
    """Caught by nothing in Docyard."""


@dataclass
class Steps:
    """Attributes: count: of the steps so far; reached: whether the awaited one came."""

    count: int = 0
    reached: bool = False


@contextlib.contextmanager
def at_step(step: int, act: Callable[[], None]) -> Iterator[Steps]:
    """Acts before the block's step number `step` that changes the store; steps count from 1.

    All copies of a run are one step, of which the first half happens before the act.
    """
    steps = Steps()

    def watched(name: str, change: Any) -> Any:
        def changed(*arguments: Any, **options: Any) -> Any:
            steps.count += 1
            if steps.count == step:
                steps.reached = True
                if name == "copy_all":
                    owner, pairs = arguments[0], list(arguments[1])
                    change(owner, pairs[: len(pairs) // 2])
                    arguments = (owner, pairs)
                patch.undo()
                act()
            return change(*arguments, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for owner, names in _CHANGES:
            for name in names:
                patch.setattr(owner, name, watched(name, getattr(owner, name)))
        yield steps


@contextlib.contextmanager
def dying_at(step: int) -> Iterator[Steps]:
    """Ends the block before its step number `step`, as a kill would."""

    def die() -> None:
        raise Died

    with contextlib.suppress(Died), at_step(step, die) as steps:
        yield steps


def copy_warehouse(source: ObjectStore, target: ObjectStore) -> None:
    """Copies all objects of a warehouse below another place of the bucket, which is faster than publishing."""
    bucket, _, place = target.uri.removeprefix("s3://").partition("/")
    prefix = source.uri.removeprefix(f"s3://{bucket}/")
    keys = [item.key for item in source.list()]
    ObjectStore(f"s3://{bucket}").copy_all((f"{prefix}/{key}", f"{place}/{key}") for key in keys)
