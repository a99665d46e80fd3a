"""Numbers that order the runs of a warehouse on an object store, and signs of life of their launchers.

Object stores have no locks that end with their holder. Instead every run takes the next number, its *epoch*, by
creating an object that only one run can create: the token, which names the partitions. A run may publish only while no
later token names one of them, but those of runs that were given up. Where two runs got that far nevertheless, the
tables keep the one with the higher epoch (`warehouse.delta`). This needs no clock and no launcher that answers.

The signs of life only serve people: a second run is refused at its start, and what a dead run left is cleared.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.errors import DocyardError, LockedError, StorageError
from schemas.tables import PUBLISHED_TABLES, Table
from warehouse.delta import open_table
from warehouse.layout import Partition
from warehouse.objects import ObjectStore

ALIVE_SECONDS = 30.0
DEAD_AFTER_SECONDS = 150.0  # a run that was killed keeps its partitions from the next one for so long
_TOKENS, _ALIVE = "_tokens/", "_alive/"
_TOKEN = re.compile(rf"{_TOKENS}(\d{{8}})\.json")

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def hold_partitions(
    store: ObjectStore, partitions: Sequence[Partition], run_id: str, first: Table = PUBLISHED_TABLES[0]
) -> Iterator[int]:
    """Takes the partitions over for a run, and shows for the length of the block that its launcher lives.

    Args:
        store: of the warehouse.
        partitions: that the run is to replace.
        run_id: of the run.
        first: the table that it replaces them in first.

    Yields:
        The run's epoch.

    Raises:
        LockedError: another run that lives writes one of the partitions. Where two start at the same moment, both
            begin, and the one with the lower epoch ends so when it wants to publish, unless the other was given up.
    """
    places = {partition.path for partition in partitions}
    for other, held in live_runs(store).items():
        if shared := sorted(places & set(held)):
            raise LockedError(
                f"{shared[0]} is being written by run {other}; wait for it to end ({DEAD_AFTER_SECONDS:.0f} seconds if "
                "it was killed on another machine), then run again"
            )
    with _signs_of_life(store, partitions, run_id):
        yield take_token(store, partitions, run_id, first)


def take_token(
    store: ObjectStore, partitions: Sequence[Partition], run_id: str, first: Table = PUBLISHED_TABLES[0]
) -> int:
    """The next epoch, taken for all the partitions at once: every run that took one before has a lower one.

    Args:
        store: of the warehouse.
        partitions: that the run is to replace.
        run_id: of the run.
        first: the table that it replaces them in first. Its epochs count, too, in case the tokens were deleted.
    """
    table = open_table(store, first)
    committed = 0 if table is None else max(map(table.epoch, partitions), default=0)
    while True:
        epoch = max([committed, *_epochs(store)]) + 1
        try:
            store.put_new(_token_key(epoch), _content(run_id, partitions))
        except FileExistsError:
            continue
        return epoch


def later_runs(store: ObjectStore, partitions: Sequence[Partition], epoch: int) -> Iterator[tuple[str, str]]:
    """The runs that took one of the partitions after this epoch, each with the path of one that it took."""
    places = {partition.path for partition in partitions}
    for later in _epochs(store, after=epoch):
        token = _read(store, _token_key(later))
        if shared := sorted(places & {*token["partitions"]}):
            yield token["run_id"], shared[0]


def epoch_of(store: ObjectStore, run_id: str) -> int | None:
    """The epoch that a run took; None where it has no token."""
    return next((epoch for epoch, token in _newest_tokens(store) if token["run_id"] == run_id), None)


def partitions_of(store: ObjectStore, run_id: str) -> frozenset[str]:
    """The paths of the partitions that a run took; none where it has no token."""
    found = (token["partitions"] for _, token in _newest_tokens(store) if token["run_id"] == run_id)
    return frozenset(next(found, ()))


def live_runs(store: ObjectStore) -> Mapping[str, tuple[str, ...]]:
    """Paths of the partitions of each run whose launcher gave a sign of life in the last minutes, by run id."""
    return {values["run_id"]: tuple(values["partitions"]) for _, values in _signs(store) if values is not None}


def clear_signs(store: ObjectStore) -> None:
    """Removes the signs of life that launchers left which were killed, as far as this user may."""
    try:
        if dead := [key for key, values in _signs(store) if values is None]:
            store.delete(dead)
    except DocyardError as error:
        logger.warning("%s", error)


def forget(store: ObjectStore, run_id: str) -> None:
    """Removes the sign of life of a run that ended."""
    store.delete([_alive_key(run_id)])


@contextlib.contextmanager
def _signs_of_life(store: ObjectStore, partitions: Sequence[Partition], run_id: str) -> Iterator[None]:
    key, content = _alive_key(run_id), _content(run_id, partitions, processes=_processes(), process=os.getpid())
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(ALIVE_SECONDS):
            try:
                store.write(key, content)
            except DocyardError as error:  # the run itself will meet it, if it stays
                logger.debug("no sign of life: %s", error)

    store.write(key, content)
    thread = threading.Thread(target=repeat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        try:
            forget(store, run_id)
        except DocyardError as error:
            logger.warning("run %s will look alive for some minutes: %s", run_id, error)


def _signs(store: ObjectStore) -> list[tuple[str, dict[str, Any] | None]]:
    """The key and the content of each sign of life; None where the launcher is taken for dead."""
    signs = store.list(_ALIVE)
    if not signs:
        return []
    try:
        now = store.clock()
    except StorageError:  # only to be read by this user
        now = datetime.datetime.now(datetime.UTC)
    dead_before = now - datetime.timedelta(seconds=DEAD_AFTER_SECONDS)
    found: list[tuple[str, dict[str, Any] | None]] = []
    for sign in signs:
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            values = _read(store, sign.key) if sign.modified > dead_before else None
            found.append((sign.key, None if values is None or _ended_here(values) else values))
    return found


def _content(run_id: str, partitions: Sequence[Partition], **more: Any) -> bytes:
    values = {"run_id": run_id, "partitions": sorted(partition.path for partition in partitions), **more}
    return json.dumps(values).encode() + b"\n"


def _processes() -> str:
    """A name of all processes that this one can see, the same for each of them; "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _ended_here(values: Mapping[str, Any]) -> bool:
    """True where the launcher was a process of this machine that is gone, so that nobody waits for a killed run."""
    if values.get("processes") in (None, "") or values["processes"] != _processes():
        return False
    try:
        os.kill(values["process"], 0)  # sends nothing; /proc may hide the processes of other users
    except PermissionError:
        return False
    except ProcessLookupError:
        return True
    return False


def _token_key(epoch: int) -> str:
    return f"{_TOKENS}{epoch:08d}.json"


def _epochs(store: ObjectStore, after: int | None = None) -> list[int]:
    """The epochs that were taken, in order; what is no token lies among them for somebody else's reasons."""
    items = store.list(_TOKENS, None if after is None else _token_key(after))
    return [int(match[1]) for item in items if (match := _TOKEN.fullmatch(item.key))]


def _newest_tokens(store: ObjectStore) -> Iterator[tuple[int, dict[str, Any]]]:
    """The epochs and their tokens, the newest first."""
    for epoch in reversed(_epochs(store)):
        yield epoch, _read(store, _token_key(epoch))


def _read(store: ObjectStore, key: str) -> dict[str, Any]:
    """The content of a token or a sign of life."""
    try:
        values: dict[str, Any] = json.loads(store.read(key))
        return values | {"run_id": str(values["run_id"]), "partitions": list(values["partitions"])}
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{store.location(key)}: not as Docyard wrote it; delete it") from None


def _alive_key(run_id: str) -> str:
    return f"{_ALIVE}{run_id}.json"
