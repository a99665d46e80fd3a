"""Publishing to an object store under kills, sleepers, competitors and readers, on a real server.

python -m tests.scale.lake [--only kills …] [--kills 200] [--rounds 20] [--replacements 50] [--shards 1000]
                           [--azurite PROGRAM | --uri URI]

It starts SeaweedFS, from the wheel of the dev extra, or Azurite, which is installed by npm. Processes are killed by
SIGKILL: before a step that changes the store, or in the middle of the copies; the competitors at random moments. After
each kill, sleep and round the readers of Delta must find every table whole, and after the next command readers of plain
Parquet too, with nothing left over; the first state that is not so ends the script with an AssertionError.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context

from schemas.errors import LockedError
from schemas.tables import CLASSIFICATIONS
from tests.support.lake_runs import (
    LakeRun,
    Sight,
    at_step,
    check_each_table_is_whole,
    check_settled,
    dying_at,
    seen_through_delta,
    whole,
)
from tests.support.object_store import BUCKET, azurite_server, object_server
from warehouse.delta import live_files, publisher
from warehouse.lake_publication import finish_interrupted, is_decided, publish
from warehouse.manifest import is_published
from warehouse.objects import ObjectStore

OLD, NEW = {"ticket": 2, "receipt": 1}, {"ticket": 1, "receipt": 2}
_STEPS = 13  # of a publication that replaces partitions
_forks = get_context("forkserver")
_forks.set_forkserver_preload(["deltalake", "obstore", "tests.support.lake_runs"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Publishing to an object store under kills, competitors and readers.")
    for name, default in (("kills", 200), ("rounds", 20), ("replacements", 50), ("shards", 1000), ("seed", 20261129)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of the trials, as they are printed; all without it"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--azurite", metavar="PROGRAM", help="path of azurite-blob, to start in place of SeaweedFS")
    place.add_argument("--uri", help="a place that is empty, in place of a server that is started here")
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    with contextlib.ExitStack() as stack:
        uri = chosen.uri
        if chosen.azurite:
            os.environ.update(stack.enter_context(azurite_server(chosen.azurite)))
            uri = f"az://{BUCKET}/trials"
        elif uri is None:
            server = stack.enter_context(object_server())
            os.environ.update(server.environment)
            uri = server.new_uri()
        trials = {
            "kills": lambda store: kills(store, chosen.kills),
            "sleepers": sleepers,
            "competitors": lambda store: competitors(store, chosen.rounds),
            "readers": lambda store: readers(store, chosen.replacements),
            "commit": lambda store: commit(store, chosen.shards),
        }
        for name in chosen.only or trials:
            trial = trials[name]
            started = time.monotonic()
            told = trial(ObjectStore(f"{uri}/{name}"))
            print(f"{name}: {told} ({time.monotonic() - started:.0f} s)", flush=True)


def kills(store: ObjectStore, count: int) -> str:
    """Kills one process that publishes and one that finishes, in turns, each before a random step."""
    last = LakeRun("old", OLD)
    last.publish(store)
    killed, kept, finished = Counter[str](), 0, 0
    while killed.total() < count:
        run = LakeRun(f"run{killed.total()}", random.choice((OLD, NEW)))
        died = _in_a_process(_publish_and_die, store.uri, run, random.randint(1, _STEPS))
        killed["publishing"] += died
        check_each_table_is_whole(store, whole(last), whole(run))
        while is_decided(store, run.run_id) and random.random() < 0.6 and killed.total() < count:
            died = _in_a_process(_finish_and_die, store.uri, random.randint(1, 8))
            killed["finishing"] += died
            check_each_table_is_whole(store, whole(last), whole(run))
        finish_interrupted(store)
        if is_published(store, run.run_id):
            last, finished = run, finished + 1
        else:
            kept += 1
        check_settled(store, whole(last))
    return (
        f"{killed.total()} of {killed.total()} whole: {killed['publishing']} killed while publishing, "
        f"{killed['finishing']} while finishing; {finished} runs new, {kept} old, none mixed"
    )


def sleepers(store: ObjectStore) -> str:
    """Lets a run sleep before each of its steps, while a later one publishes, or dies half-way."""
    woken = 0
    LakeRun("old", OLD).publish(store)
    for step in range(1, _STEPS + 1):
        for dies in (False, True):
            early, late = LakeRun(f"early{woken}", NEW), LakeRun(f"late{woken}", OLD)
            manifest, staged = early.stage(store, early.take_token(store))
            with contextlib.suppress(LockedError), at_step(step, _publishes(store, late, dies)) as steps:
                publish(store, manifest, staged)
            assert steps.reached
            finish_interrupted(store)
            check_settled(store, whole(late))
            woken += 1
    return f"{woken} of {woken} whole, the later run on top: {_STEPS} steps, the later run alive or killed half-way"


def competitors(store: ObjectStore, rounds: int) -> str:
    """Three processes publish partitions that overlap, and up to three of them are killed at random moments."""
    state = whole(LakeRun("old", OLD))
    LakeRun("old", OLD).publish(store)
    published, killed = 0, 0
    for number in range(rounds):
        shapes = ({"ticket": 1, "receipt": 2}, {"ticket": 2}, {"ticket": 3, "receipt": 1})
        runs = [LakeRun(f"round{number}-{i}", shape) for i, shape in enumerate(shapes)]
        processes = [_forks.Process(target=_compete, args=(store.uri, run)) for run in runs]
        for process in processes:
            process.start()
        victims = random.sample(processes, random.randint(0, 3))
        time.sleep(0.5)
        for process in victims:
            time.sleep(random.uniform(0, 0.8))
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGKILL)
                killed += 1
        for process in processes:
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
        check_each_partition_is_whole(store, [state, *map(whole, runs)])
        finish_interrupted(store)
        decided = sorted(_decided(store, runs))
        published += len(decided)
        for _, run in decided:
            state |= whole(run)
        check_settled(store, state)
    return (
        f"{rounds} of {rounds} whole, the higher epoch on top: {3 * rounds} runs, {killed} killed, {published} decided"
    )


def readers(store: ObjectStore, count: int) -> str:
    """Readers of Delta and of plain Parquet poll one table while its partitions are replaced."""
    LakeRun("old", OLD).publish(store)
    states = {"old": OLD} | {f"run{i}": NEW if i % 2 else OLD for i in range(count)}
    ended = threading.Event()
    polls, wrong = Counter[str](), Counter[str]()

    def poll(kind: str, find: Callable[[], list[str]]) -> None:
        while not ended.is_set():
            polls[kind] += 1
            try:
                keys = find()
                for key in keys:
                    store.read_range(key, 0, 4)
            except FileNotFoundError:
                wrong[f"{kind}, a file gone"] += 1
                continue
            by_partition: dict[str, Counter[str | None]] = {}
            for key in keys:
                by_partition.setdefault(key.split("document_type=")[1].split("/")[0], Counter())[publisher(key)] += 1
            for document_type in OLD:
                found = by_partition.get(document_type, Counter())
                if found not in [Counter({run: shape[document_type]}) for run, shape in states.items()]:
                    wrong[f"{kind}, mixed"] += 1
                    break

    finds = {
        "Delta": lambda: live_files(store, CLASSIFICATIONS),
        "plain Parquet": lambda: [i.key for i in store.list("classifications/") if "/_delta_log/" not in i.key],
    }
    threads = [threading.Thread(target=poll, args=item) for item in finds.items()]
    for thread in threads:
        thread.start()
    try:
        for run_id, shape in states.items():
            if run_id != "old":
                LakeRun(run_id, shape).publish(store)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    told = [
        f"{kind}: {wrong[f'{kind}, mixed']} of {polls[kind]} polls mixed, "
        f"{wrong[f'{kind}, a file gone']} ended with an error, because a file had been deleted"
        for kind in finds
    ]
    return f"{count} replacements; {'; '.join(told)}"


def commit(store: ObjectStore, shards: int) -> str:
    """Times the publication of a run of many shards, and of its replacement."""
    seconds = []
    for run_id in ("first", "second"):
        run = LakeRun(run_id, {"ticket": shards})
        manifest, staged = run.stage(store, run.take_token(store))
        started = time.monotonic()
        publish(store, manifest, staged)
        seconds.append(time.monotonic() - started)
        check_settled(store, whole(run))
    return f"{shards:,} shards, {len(staged):,} objects: {seconds[0]:.1f} s, to replace them {seconds[1]:.1f} s"


def check_each_partition_is_whole(store: ObjectStore, states: list[Sight]) -> None:
    """In every partition a reader of Delta finds one of the states."""
    for place, files in seen_through_delta(store).items():
        assert files in [state.get(place) for state in states], (place, files)


def _decided(store: ObjectStore, runs: list[LakeRun]) -> list[tuple[int, LakeRun]]:
    found = []
    for run in runs:
        with contextlib.suppress(FileNotFoundError):
            manifest = json.loads(store.read(f"runs/{run.run_id}/commit.json"))["manifest"]
            if manifest["status"] == "published":
                found.append((manifest["epoch"], run))
    return found


def _publishes(store: ObjectStore, run: LakeRun, dies: bool) -> Callable[[], None]:
    def act() -> None:
        manifest, staged = run.stage(store, run.take_token(store))
        with dying_at(5 if dies else 0):
            publish(store, manifest, staged)

    return act


def _in_a_process(function: Callable[..., None], *arguments: object) -> bool:
    """Runs a function in a process of its own; True where it was killed."""
    process = _forks.Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _publish_and_die(uri: str, run: LakeRun, step: int) -> None:
    store = ObjectStore(uri)
    manifest, staged = run.stage(store, run.take_token(store))
    with at_step(step, _die):
        publish(store, manifest, staged)


def _finish_and_die(uri: str, step: int) -> None:
    with at_step(step, _die):
        finish_interrupted(ObjectStore(uri))


def _compete(uri: str, run: LakeRun) -> None:
    store = ObjectStore(uri)
    with contextlib.suppress(LockedError):
        if random.random() < 0.2:  # takes those for dead that staged and are not decided
            finish_interrupted(store)
        run.publish(store)


if __name__ == "__main__":
    main()
