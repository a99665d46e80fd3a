"""Runs that are only published, on an object store, and the ways they may die or sleep."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from schemas.tables import PUBLISHED_TABLES, Table
from tests.support.dying import RUN_DATE
from warehouse.delta import live_files, published_by
from warehouse.lake_publication import STAGING, publish
from warehouse.layout import Partition
from warehouse.manifest import COUNTS, Manifest, RunStatus, TableFile
from warehouse.objects import ObjectStore
from warehouse.tokens import take_token


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

    def stage(self, store: ObjectStore) -> tuple[Manifest, dict[str, str]]:
        """Stages every file; gives the manifest, without an epoch, and the key of each file by its path."""
        files, staged = [], {}
        for table in PUBLISHED_TABLES:
            for partition in self.partitions:
                for number in range(self.n_files[partition.document_type]):
                    content = _parquet(self.run_id, table, number + 1)
                    path = f"{table.name}/{partition.path}/part-{number:05d}-0000.parquet"
                    staged[path] = f"_staging/{self.run_id}/staged/{path}"
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
        )
        return manifest, staged

    def publish(self, store: ObjectStore) -> Manifest:
        epoch = self.take_token(store)
        manifest, staged = self.stage(store)
        return publish(store, replace(manifest, epoch=epoch), staged)

    def names(self, table: Table, partition: Partition, epoch: int) -> set[str]:
        """The names of its files in a published partition."""
        return {
            f"part-{number:05d}-0000.{epoch:08d}.{self.run_id}.parquet"
            for number in range(self.n_files[partition.document_type])
        }


def _parquet(run_id: str, table: Table, rows: int) -> bytes:
    """A file of the table's schema; its first column of text holds the run's id."""
    schema = table.schema()
    arrays = [pa.array([_value(field, run_id, table)] * rows, field.type) for field in schema]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _value(field: pa.Field, run_id: str, table: Table) -> object:
    if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type):
        return run_id
    if pa.types.is_list(field.type):
        return []
    return True if pa.types.is_boolean(field.type) else 0


class Died(BaseException):
    """Caught by nothing in Docyard."""


@dataclass
class Death:
    """Attributes: at: 1 for the first step; died: whether that step came; steps: those that came."""

    at: int
    died: bool = False
    steps: int = 0


_CHANGES = ("put_versioned", "put_new", "copy_all", "delete")


@contextlib.contextmanager
def dying_at(step: int) -> Iterator[Death]:
    """Ends the block before its step number `step` that changes the store; steps count from 1.

    All copies of a run are one step, of which the first half happens.
    """
    death = Death(step)
    with pytest.MonkeyPatch.context() as patch:

        def dies(name: str, change: Any) -> Any:
            def changed(self: Any, *arguments: Any, **options: Any) -> Any:
                death.steps += 1
                if death.steps == death.at:
                    death.died = True
                    if name == "copy_all":
                        pairs = list(arguments[0])
                        change(self, pairs[: len(pairs) // 2])
                    raise Died
                return change(self, *arguments, **options)

            return changed

        for owner, names in ((ObjectStore, _CHANGES), (DeltaTable, ("create_write_transaction",))):
            for name in names:
                patch.setattr(owner, name, dies(name, getattr(owner, name)))
        with contextlib.suppress(Died):
            yield death


def check_whole(store: ObjectStore, run: LakeRun, epoch: int) -> None:
    """Readers of Delta and of plain Parquet find the run's files in every partition of every table, and no other."""
    for table in PUBLISHED_TABLES:
        for partition in run.partitions:
            place = f"{table.name}/{partition.path}/"
            expected = {place + name for name in run.names(table, partition, epoch)}
            assert set(live_files(store, table, partition)) == expected
            assert {item.key for item in store.list(place)} == expected


def holders(store: ObjectStore, partitions: Sequence[Partition]) -> dict[str, set[str | None]]:
    """For each table, the runs whose data a reader of Delta finds in the partitions."""
    return {
        table.name: {published_by(store, table, partition) for partition in partitions} for table in PUBLISHED_TABLES
    }


def strays(store: ObjectStore) -> list[str]:
    """Files in the tables' folders that no version names now, and whatever lies in the staging."""
    live = {key for table in PUBLISHED_TABLES for key in live_files(store, table)}
    return [
        item.key
        for item in store.list()
        if item.key.startswith(STAGING) or (item.key.endswith(".parquet") and item.key not in live)
    ]
