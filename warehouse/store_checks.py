"""Checks of an object store before it is trusted with a warehouse; each names the failure, its meaning and a remedy."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from schemas.errors import DocyardError, StorageError
from schemas.tables import PUBLISHED_TABLES
from warehouse.delta import open_table
from warehouse.objects import ObjectStore

_FOLDER = "_doctor/"
_WRITERS, _RACES = 8, 3
_ROUNDS = 10
_SKEW_SECONDS = 60.0  # S3 refuses requests from fifteen minutes on
_KEEPS_VERSIONS = ("s3://", "abfs", "az://")  # of Google's stores, every object has a version, kept or not


@dataclass(frozen=True)
class StoreCheck:
    """One check and its result.

    Attributes:
        name: of what was checked.
        passed: False where the store must not be used; None where it may, but somebody should know.
        found: in words; of a failed check also its meaning and what to change.
    """

    name: str
    passed: bool | None
    found: str


def check_store(store: ObjectStore) -> list[StoreCheck]:
    """Writes, races, reads, lists, copies and deletes small objects below `_doctor/`, and leaves none of them.

    Args:
        store: the warehouse's.

    Returns:
        One result per check. Where nothing can be written or deleted, the checks that need it are left out.
    """
    place = f"{_FOLDER}{secrets.token_hex(8)}/"
    rights = _told("rights", lambda: _rights(store, place))
    if not rights.passed:
        return [rights]
    checks = {
        "one creator": lambda: _one_creator(store, place),
        "read after write": lambda: _read_after_write(store, place),
        "list after write": lambda: _list_after_write(store, place),
        "copy": lambda: _copy(store, place),
        "tables": lambda: _tables(store),
        "clock": lambda: _clock(store),
        "versions": lambda: _versions(store, place),
    }
    try:
        return [rights, *(_told(name, check) for name, check in checks.items())]
    finally:
        with contextlib.suppress(DocyardError):
            store.delete([item.key for item in store.list(place)])


def refuse_careless(store: ObjectStore) -> None:
    """Creates an object twice, so that no warehouse begins where every writer is told that it was the first.

    Raises:
        StorageError: the second one succeeded, too.
    """
    key = f"{_FOLDER}{secrets.token_hex(8)}"
    store.put_new(key, b"first")
    try:
        store.put_new(key, b"second")
    except FileExistsError:
        return
    finally:
        store.delete([key])
    raise StorageError(
        f"{store.uri}: the store ignores conditional writes, so that two runs could both publish into a partition; "
        "`docyard doctor` says more"
    )


class _BrokenPromiseError(Exception):
    """The store breaks a promise; the message goes into the report."""


def _told(name: str, check: Callable[[], str | tuple[None, str]]) -> StoreCheck:
    try:
        found = check()
    except (_BrokenPromiseError, DocyardError) as failure:
        return StoreCheck(name, False, str(failure))
    return StoreCheck(name, True, found) if isinstance(found, str) else StoreCheck(name, *found)


def _rights(store: ObjectStore, place: str) -> str:
    store.list(place)  # first, because a store tells only then that a bucket is missing, not a right
    store.write(f"{place}rights", b"1")
    store.read(f"{place}rights")
    store.list(place)
    store.delete([f"{place}rights"])
    return "these credentials may write, read, list and delete"


def _one_creator(store: ObjectStore, place: str) -> str:
    for race in range(_RACES):
        key, gate = f"{place}race-{race}", threading.Barrier(_WRITERS)

        def create(number: int, key: str = key, gate: threading.Barrier = gate) -> bool:
            gate.wait()
            try:
                store.put_new(key, str(number).encode())
            except FileExistsError:
                return False
            return True

        with ThreadPoolExecutor(_WRITERS) as pool:
            winners = sum(pool.map(create, range(_WRITERS)))
        if winners != 1:
            raise _BrokenPromiseError(
                f"{winners} of {_WRITERS} writers that created one object at once were told that they did: two runs "
                "could both publish into a partition. The store or a gateway before it ignores conditional writes "
                "(If-None-Match); update it, or name another store"
            )
    return f"of {_WRITERS} writers that created one object at once, exactly one did, in {_RACES} of {_RACES} races"


def _read_after_write(store: ObjectStore, place: str) -> str:
    for number in range(_ROUNDS):
        content = str(number).encode()
        store.write(f"{place}read", content)
        if store.read(f"{place}read") != content:
            raise _BrokenPromiseError(
                "an object that was replaced was read as it had been before: a run could be published with old files. "
                "A cache or a replica answers in place of the store; name an address without one"
            )
    return f"an object was read as it had just been written, {_ROUNDS} of {_ROUNDS} times"


def _list_after_write(store: ObjectStore, place: str) -> str:
    for number in range(_ROUNDS):
        key = f"{place}list-{number}"
        tag, _ = store.put_versioned(key, str(number).encode())
        listed = {item.key: item.e_tag for item in store.list(place)}
        if listed.get(key) != tag:
            raise _BrokenPromiseError(
                f"an object that had just been written was listed with the tag {listed.get(key)}, expected {tag}: "
                "staged files could not be checked. A cache or a gateway answers in place of the store; name an "
                "address without one"
            )
        store.delete([key])
        if any(item.key == key for item in store.list(place)):
            raise _BrokenPromiseError(
                "an object that had just been deleted was still listed: readers would see replaced files. A cache or a "
                "gateway answers in place of the store; name an address without one"
            )
    return f"an object was listed as soon as it was written, and not once it was deleted, {_ROUNDS} of {_ROUNDS} times"


def _copy(store: ObjectStore, place: str) -> str:
    content = secrets.token_bytes(1000)
    store.write(f"{place}source", content)
    store.copy(f"{place}source", f"{place}target")
    if store.read(f"{place}target") != content:
        raise _BrokenPromiseError(
            "a copy within the store differs from its source; update the store, or name another one"
        )
    return "a copy within the store is like its source"


def _tables(store: ObjectStore) -> str:
    there = [table.name for table in PUBLISHED_TABLES if open_table(store, table) is not None]
    return f"{len(there)} of {len(PUBLISHED_TABLES)} are there, all of them ours" if there else "none yet"


def _clock(store: ObjectStore) -> str | tuple[None, str]:
    ahead = (datetime.datetime.now(datetime.UTC) - store.clock()).total_seconds()
    if abs(ahead) <= _SKEW_SECONDS:
        return "this machine's differs from the store's by less than a minute"
    way = "ahead of" if ahead > 0 else "behind"
    return None, (
        f"this machine's is {abs(ahead):,.0f} seconds {way} the store's; set it: from 15 minutes on, stores refuse "
        "requests"
    )


def _versions(store: ObjectStore, place: str) -> str | tuple[None, str]:
    _, version = store.put_versioned(f"{place}version", b"")
    if version is None or not store.uri.startswith(_KEEPS_VERSIONS):
        return "what is deleted is gone, as far as the store tells"
    return None, (
        "the bucket keeps earlier versions: replaced files, and texts that were staged, stay in it after they were "
        "deleted; give it a rule that deletes versions that are not current"
    )
