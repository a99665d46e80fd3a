"""Kills `docyard classify` again and again, and reads what it left behind as someone who knows nothing of Docyard.

    python tests/support/kill_runs.py --kills 30 --bundle models/bundles/tickets --input documents/

Two contents take turns on one run date: the input, and a changed copy of it. Some kills fall anywhere in the run,
some are aimed at the moment of publishing. After each, every partition folder must hold one of the two contents, whole;
the next command that opens the warehouse must leave all of them with the last one that was decided.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.runs import list_runs
from pipelines.verification import verify_run
from tests.support.forked import run_docyard, start_docyard
from warehouse.folder import FolderWarehouse
from warehouse.publication import JOURNAL_FILE, published_by

RUN_DATE = "2026-01-31"
TABLES = ("classifications", "escalations", "rejections")

# What a kill waits for in the run's staging folder: nothing, the first step of publishing, the moment of decision.
AIMS = {"anywhere": "", "publish": "ready", "decision": JOURNAL_FILE}

Rows = Counter[str]


class ViolationError(Exception):
    """A reader saw a state that it must never see."""


def check(holds: bool, message: str) -> None:
    if not holds:
        raise ViolationError(message)


@dataclass(frozen=True)
class Content:
    """One of the two contents: how to run it, and what an undisturbed run of it publishes.

    Attributes:
        rows: table → its rows.
        hashes: path in the warehouse of every data file → sha256.
        seconds: the undisturbed run's, from start to exit.
    """

    name: str
    arguments: tuple[str, ...]
    rows: dict[str, Rows]
    hashes: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class Kill:
    """One kill and what came of it.

    Attributes:
        after_seconds: from the start of the process.
        phase: how far the run had come, from what it left on the disk.
        found: table → name of the content a reader found at once.
        holds: name of the content after the warehouse was opened again, or "" where the next run was to do that.
    """

    number: int
    aim: str
    after_seconds: float
    phase: str
    found: dict[str, str]
    holds: str

    def __str__(self) -> str:
        seen = ", ".join(sorted(set(self.found.values())))
        then = f"then {self.holds}" if self.holds else "left for the next run to mend"
        when = f"aimed at {self.aim:<8} after {self.after_seconds:5.2f} s"
        return f"kill {self.number:>3}  {when}  {self.phase:<12} readers saw {seen}; {then}"


def classify_arguments(source: Path, bundle: Path, config: Path) -> tuple[str, ...]:
    return (
        *("classify", "--config", str(config), "--input", str(source), "--document-type", "ticket"),
        *("--bundle", str(bundle), "--run-date", RUN_DATE, "--warehouse"),
    )


def read_rows(warehouse: Path, table: str) -> Rows:
    """The rows of the run date as pandas reads them, without an option."""
    frame = pd.read_parquet(warehouse / table / f"run_date={RUN_DATE}")
    return Counter(map(str, frame.astype(str).itertuples(index=False, name=None)))


def file_hashes(warehouse: Path) -> dict[str, str]:
    return {
        path.relative_to(warehouse).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for table in TABLES
        for path in (warehouse / table).rglob("*")
        if path.is_file() and path.name != "_SUCCESS"
    }


def undisturbed(name: str, arguments: tuple[str, ...], warehouse: Path) -> Content:
    started = time.monotonic()
    complete(arguments, warehouse)
    seconds = time.monotonic() - started
    return Content(
        name, arguments, {table: read_rows(warehouse, table) for table in TABLES}, file_hashes(warehouse), seconds
    )


def complete(arguments: tuple[str, ...], warehouse: Path) -> str:
    """Runs to the end; gives the run's id."""
    ended = run_docyard(*arguments, warehouse)
    check(ended.returncode == 0, ended.stderr)
    return str(list_runs(warehouse)[0]["run_id"])


class Killer:
    """One warehouse whose runs are killed.

    Attributes:
        current: the content that was decided last.
    """

    def __init__(self, contents: tuple[Content, Content], warehouse: Path, log: Path, seed: int) -> None:
        self.contents = contents
        self.current = contents[0]
        self.warehouse = warehouse
        self._log = log
        self._random = random.Random(seed)
        self._ids: dict[str, Content] = {}  # of every run that was decided

    def other(self) -> Content:
        return self.contents[self.current is self.contents[0]]

    def kill(self, number: int) -> Kill:
        """Starts a run of the other content, kills it, and checks what is there before and after mending."""
        content = self.other()
        aim = list(AIMS)[number % len(AIMS)]
        before = {run["run_id"] for run in self._manifests()}
        after_seconds = self._start_and_kill(content, aim)
        phase, decided = self._phase(before)
        if decided:
            self.current = content
        found = {table: self._whose(table) for table in TABLES}
        if not any((path / JOURNAL_FILE).exists() for path in (self.warehouse / "_staging").iterdir()):
            check(set(found.values()) == {self.current.name}, f"{phase}: {found}, expected {self.current.name}")
        holds = ""
        if number % 4 < 3:
            self._check_mended()
            holds = self.current.name
        return Kill(number, aim, after_seconds, phase, found, holds)

    def complete(self) -> None:
        """Runs the other content to its end: the same rows and the same bytes as ever."""
        content = self.other()
        run_id = complete(content.arguments, self.warehouse)
        self.current = content
        self._check_mended()
        check(file_hashes(self.warehouse) == content.hashes, f"run {run_id}: other bytes than an undisturbed run")
        verified = run_docyard("verify", run_id, "--warehouse", self.warehouse)
        check(verified.returncode == 0, f"docyard verify {run_id}: {verified.stderr}")

    def _start_and_kill(self, content: Content, aim: str) -> float:
        started = time.monotonic()
        process = start_docyard(*content.arguments, self.warehouse, output=self._log)
        if aim != "anywhere":
            staging = self.warehouse / "_staging"
            before = set(staging.iterdir())
            while process.poll() is None and not self._is_there(staging, before, AIMS[aim]):
                time.sleep(0.0005)
            time.sleep(self._random.uniform(0.0, 0.01))
        else:
            time.sleep(self._random.uniform(0.0, content.seconds))
        after_seconds = time.monotonic() - started
        process.kill()
        return after_seconds

    @staticmethod
    def _is_there(staging: Path, before: set[Path], name: str) -> bool:
        return any((path / name).exists() for path in staging.iterdir() if path not in before)

    def _manifests(self) -> list[dict[str, object]]:
        return [json.loads(path.read_bytes()) for path in (self.warehouse / "runs").glob("*/manifest.json")]

    def _phase(self, before: set[object]) -> tuple[str, bool]:
        """The last step of the killed run, and its decision; from the disk only."""
        new = [manifest for manifest in self._manifests() if manifest["run_id"] not in before]
        check(len(new) <= 1, f"{len(new)} runs of one command")
        if not new:
            return "not begun", False
        run_id = str(new[0]["run_id"])
        staging = self.warehouse / "_staging" / run_id
        if new[0]["status"] == "published":
            phase = "published"
        elif (staging / JOURNAL_FILE).exists():
            phase = "decided"
        elif (staging / "ready").exists():
            phase = "making ready"
        else:
            phase = "working"
        decided = phase in ("published", "decided")
        if decided:
            self._ids[run_id] = self.other()
        return phase, decided

    def _whose(self, table: str) -> str:
        """The name of the content that a reader finds; exactly one, and whole."""
        folder = self.warehouse / table / f"run_date={RUN_DATE}"
        check(all((path / "_SUCCESS").is_file() for path in folder.iterdir()), f"{table}: no _SUCCESS")
        rows = read_rows(self.warehouse, table)
        names = [content.name for content in self.contents if content.rows[table] == rows]
        check(len(names) == 1, f"{table}: {rows.total()} rows are neither content nor the other")
        return names[0]

    def _check_mended(self) -> None:
        runs = list_runs(self.warehouse)
        published = [str(run["run_id"]) for run in runs if run["status"] == "published"]
        others = {run["status"] for run in runs} - {"published"}
        check(len(published) == 1, f"{len(published)} runs are listed as published")
        check(others <= {"superseded", "abandoned"}, f"runs are listed as {others}")
        verify_run(FolderWarehouse(self.warehouse.absolute()), published[0])
        check(self._ids.get(published[0], self.current) is self.current, f"run {published[0]} holds the wrong content")
        for table in TABLES:
            check(self._whose(table) == self.current.name, f"{table}: not {self.current.name} after mending")
            folder = self.warehouse / table / f"run_date={RUN_DATE}"
            check({published_by(path) for path in folder.iterdir()} == {published[0]}, f"{table}: another run's")
        check(set(file_hashes(self.warehouse)) == set(self.current.hashes), "a stray file in a table's folder")
        check(not any((self.warehouse / "_staging").iterdir()), "something is left in _staging")


def kill_runs(
    kills: int,
    bundle: Path,
    source: Path,
    work: Path,
    seed: int = 7,
    complete_every: int = 10,
    shard_bytes: int = 2**24,
) -> Iterator[Kill]:
    """Kills so many runs in the folder `work`, and ends with one that is left to complete.

    Raises:
        ViolationError: a reader found anything but the old or the new content.
    """
    config = work / "run.toml"
    config.write_text(f"[reading]\nshard_bytes = {shard_bytes}\n[classification]\nthreads = 1\n")
    first, second = work / "first", work / "second"
    for folder in (first, second):
        if source.is_dir():
            shutil.copytree(source, folder)
        else:
            folder.mkdir()
            shutil.copy(source, folder)
    added = (
        {"id": f"added-{i}", "text": f"please refund my card payment, it was charged {i} times"} for i in range(50)
    )
    (second / "added.jsonl").write_text("".join(json.dumps(document) + "\n" for document in added))
    contents = tuple(
        undisturbed(folder.name, classify_arguments(folder, bundle, config), work / f"{folder.name}-warehouse")
        for folder in (first, second)
    )
    for table in TABLES[:1]:
        check(contents[0].rows[table] != contents[1].rows[table], f"{table}: the two contents are the same")
    warehouse = work / "warehouse"
    shutil.copytree(work / "first-warehouse", warehouse)  # the first content, published undisturbed
    killer = Killer((contents[0], contents[1]), warehouse, work / "killed.log", seed)
    for number in range(1, kills + 1):
        yield killer.kill(number)
        if number % complete_every == 0 and number < kills:
            killer.complete()
    killer.complete()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--input", type=Path, required=True, help="a file or a folder of tickets")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--complete-every", type=int, default=10, metavar="N", help="let every N-th run end")
    parser.add_argument("--shard-bytes", type=int, default=2**16, help="small shards make for many files to publish")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        phases: Counter[str] = Counter()
        for kill in kill_runs(
            given.kills, given.bundle, given.input, Path(work), given.seed, given.complete_every, given.shard_bytes
        ):
            print(kill, flush=True)
            phases[kill.phase] += 1
    reached = ", ".join(f"{phase} {count}" for phase, count in phases.most_common())
    print(
        f"{given.kills} kills ({reached}): every reader saw the old content or the new one, whole; nothing is left over"
    )


if __name__ == "__main__":
    main()
