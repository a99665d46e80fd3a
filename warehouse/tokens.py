"""Numbers that order the runs of a warehouse on an object store, and signs of life of their launchers.

Object stores have no locks that end with their holder. Instead every run takes the next number, its *epoch*, by
creating an object that only one run can create: the token, which names the partitions. A run may publish only while no
later token names one of them, and where two runs got that far nevertheless, the tables keep the one with the higher
epoch (`warehouse.delta`). This needs no clock and no launcher that answers.

The signs of life only serve people: a second run is refused at its start, and what a dead run left is cleared.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.errors import DocyardError, LockedError, StorageError
from schemas.tables import PUBLISHED_TABLES, Table
from warehouse.delta import open_table
from warehouse.layout import Partition
from warehouse.objects import ObjectStore

ALIVE_SECONDS = 30.0
DEAD_AFTER_SECONDS = 150.0  # a run that was killed keeps its partitions from the next one for so long
_TOKENS, _ALIVE = "_tokens/", "_alive/"

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
            begin, and the one with the lower epoch ends so when it wants to publish.
    """
    places = {partition.path for partition in partitions}
    for other, held in live_runs(store).items():
        if shared := sorted(places & set(held)):
            raise LockedError(
                f"{shared[0]} is being written by run {other}; wait for it to end ({DEAD_AFTER_SECONDS:.0f} seconds if "
                "it was killed), then run again"
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
        epoch = max([committed, *map(_epoch, store.list(_TOKENS))]) + 1
        try:
            store.put_new(_token_key(epoch), _content(run_id, partitions))
        except FileExistsError:
            continue
        return epoch


def check_token(store: ObjectStore, partitions: Sequence[Partition], epoch: int) -> None:
    """Makes sure that no later run took one of the partitions over.

    Raises:
        LockedError: a later token names one.
    """
    places = {partition.path for partition in partitions}
    for item in store.list(_TOKENS, after=_token_key(epoch)):
        later = json.loads(store.get(item.key))
        if shared := sorted(places & set(later["partitions"])):
            raise LockedError(f"{shared[0]} was taken over by run {later['run_id']}; this run publishes nothing")


def epoch_of(store: ObjectStore, run_id: str) -> int | None:
    """The epoch that a run took; None where it has no token. Its token is among the newest."""
    for item in reversed(store.list(_TOKENS)):
        if json.loads(store.get(item.key))["run_id"] == run_id:
            return _epoch(item)
    return None


def live_runs(store: ObjectStore) -> Mapping[str, tuple[str, ...]]:
    """Paths of the partitions of each run whose launcher gave a sign of life in the last minutes, by run id."""
    signs = store.list(_ALIVE)
    if not signs:
        return {}
    try:
        now = store.clock()
    except StorageError:  # only to be read by this user
        now = datetime.datetime.now(datetime.UTC)
    dead_before = now - datetime.timedelta(seconds=DEAD_AFTER_SECONDS)
    found = {}
    for sign in signs:
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            if sign.modified > dead_before:
                values = json.loads(store.get(sign.key))
                found[values["run_id"]] = tuple(values["partitions"])
    return found


def forget(store: ObjectStore, run_id: str) -> None:
    """Removes the sign of life of a run that ended."""
    store.delete([_alive_key(run_id)])


@contextlib.contextmanager
def _signs_of_life(store: ObjectStore, partitions: Sequence[Partition], run_id: str) -> Iterator[None]:
    key, content = _alive_key(run_id), _content(run_id, partitions)
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(ALIVE_SECONDS):
            try:
                store.put(key, content)
            except DocyardError as error:  # the run itself will meet it, if it stays
                logger.debug("no sign of life: %s", error)

    store.put(key, content)
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


def _content(run_id: str, partitions: Sequence[Partition]) -> bytes:
    values: dict[str, Any] = {"run_id": run_id, "partitions": sorted(partition.path for partition in partitions)}
    return json.dumps(values).encode() + b"\n"


def _token_key(epoch: int) -> str:
    return f"{_TOKENS}{epoch:08d}.json"


def _epoch(item: Any) -> int:
    return int(item.key.removeprefix(_TOKENS).removesuffix(".json"))


def _alive_key(run_id: str) -> str:
    return f"{_ALIVE}{run_id}.json"
