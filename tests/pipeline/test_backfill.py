"""A range of dates, one run per date, from the command line."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from pipelines.backfill import gravest
from pipelines.runs import list_runs
from schemas.codes import RunStatus
from schemas.errors import BundleError, DocyardError, InputError, LockedError, StorageError
from schemas.run_config import load_config
from tests.support.read_metrics import read_metrics
from tests.support.small_runs import check_refused, documents, docyard, write_jsonl
from warehouse.manifest import Manifest

TINY_BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
THREE_DATES = ("2026-01-01", "2026-01-02", "2026-01-03")
LAST_SUCCESS = "docyard_backfill_date_last_success_timestamp_seconds"
RANGE = ("--from", THREE_DATES[0], "--to", THREE_DATES[-1])


def write_run(folder: Path, paths: str = "inbox/{run_date}/") -> Path:
    """A run of tickets that lie in a folder per date."""
    for number, date in enumerate(THREE_DATES):
        write_jsonl(folder / "inbox" / date / "in.jsonl", documents(6, f"day{number}-"))
    path = folder / "run.toml"
    path.write_text(
        f'run_date = 2026-01-31\nwarehouse = "{folder / "warehouse"}"\n[[inputs]]\npaths = ["{folder / paths}"]\n'
        f'document_type = "ticket"\nbundle = "{TINY_BUNDLE}"\n'
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dates")


@pytest.fixture(scope="module")
def calls(folder: Path) -> dict[str, Result]:
    """One call after the other over three dates, the second of which has no documents before "mended"."""
    config = write_run(folder)
    missing = folder / "inbox" / THREE_DATES[1] / "in.jsonl"
    missing.unlink()
    made = {}

    def backfill(name: str, *flags: str) -> None:
        metrics = folder / "backfill.prom"
        made[name] = docyard("backfill", *flags, "--config", config, "--metrics-file", metrics)
        (folder / f"{name}.prom").write_bytes(metrics.read_bytes())

    backfill("stopped", *RANGE)
    backfill("went on", *RANGE, "--keep-going")
    write_jsonl(missing, documents(6))
    backfill("mended", *RANGE)
    backfill("again", *RANGE)
    backfill("replaced", "--from", THREE_DATES[0], "--to", THREE_DATES[0], "--all", "--json")
    return made


@pytest.mark.slow
def test_a_date_that_fails_ends_the_backfill(calls: dict[str, Result]) -> None:
    result = calls["stopped"]
    assert result.exit_code == InputError.exit_code
    published, tally = result.stdout.splitlines()
    assert published.startswith(f"{THREE_DATES[0]}  published by run ")
    assert published.endswith(": 5 accepted, 1 escalated, 0 rejected")
    assert tally == "3 dates: 1 published, 1 failed, 1 not tried"
    assert result.stderr.startswith(f"error: {THREE_DATES[1]}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_it_keeps_going_where_that_is_asked(calls: dict[str, Result]) -> None:
    assert calls["went on"].exit_code == InputError.exit_code
    assert calls["went on"].stdout.splitlines()[-1] == "3 dates: 1 published, 1 published before, 1 failed"


@pytest.mark.slow
def test_it_runs_what_is_missing_and_then_nothing(calls: dict[str, Result], folder: Path) -> None:
    assert calls["mended"].stdout.splitlines()[-1] == "3 dates: 1 published, 2 published before"
    assert calls["again"].stdout.splitlines()[-1] == "3 dates: 3 published before"
    assert [calls[name].exit_code for name in ("mended", "again")] == [0, 0]
    published = [run["run_date"] for run in list_runs(folder / "warehouse") if run["status"] == "published"]
    assert sorted(published) == list(THREE_DATES)


@pytest.mark.slow
def test_all_replaces_what_is_published(calls: dict[str, Result], folder: Path) -> None:
    [found] = map(json.loads, calls["replaced"].stdout.splitlines())
    assert (found["run_date"], found["outcome"], found["counts"]["read"]) == (THREE_DATES[0], "published", 6)
    runs = [run for run in list_runs(folder / "warehouse") if run["run_date"] == THREE_DATES[0]]
    assert [(run["run_id"] == found["run_id"], run["status"]) for run in runs] == [
        (True, "published"),
        (False, "superseded"),
    ]


OUTCOMES = ("published", "skipped", "failed", "not_tried")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "exit_code", "counts", "with_data"),
    [
        ("stopped", 3, (1, 0, 1, 1), {THREE_DATES[0]: True, THREE_DATES[1]: False}),
        ("went on", 3, (1, 1, 1, 0), {THREE_DATES[0]: True, THREE_DATES[1]: False, THREE_DATES[2]: True}),
        ("mended", 0, (1, 2, 0, 0), dict.fromkeys(THREE_DATES, True)),
        ("again", 0, (0, 3, 0, 0), dict.fromkeys(THREE_DATES, True)),
    ],
)
def test_metrics_count_the_dates_and_name_those_without_data(
    name: str,
    exit_code: int,
    counts: tuple[int, ...],
    with_data: dict[str, bool],
    calls: dict[str, Result],
    folder: Path,
) -> None:
    found = read_metrics((folder / f"{name}.prom").read_text())
    assert found["docyard_backfill_exit_code",] == calls[name].exit_code == exit_code
    assert tuple(found["docyard_backfill_dates", outcome] for outcome in OUTCOMES) == counts
    published = {date: value for (metric, *of), value in found.items() for date in of if metric == LAST_SUCCESS}
    assert {date: value > 0 for date, value in published.items()} == with_data


@pytest.mark.slow
def test_metrics_keep_the_time_at_which_a_date_was_published(calls: dict[str, Result], folder: Path) -> None:
    went_on, mended, again, replaced = (
        read_metrics((folder / f"{name}.prom").read_text()) for name in ("went on", "mended", "again", "replaced")
    )
    assert [again[LAST_SUCCESS, date] for date in THREE_DATES] == [mended[LAST_SUCCESS, date] for date in THREE_DATES]
    assert went_on[LAST_SUCCESS, THREE_DATES[0]] == again[LAST_SUCCESS, THREE_DATES[0]]
    assert replaced[LAST_SUCCESS, THREE_DATES[0]] > again[LAST_SUCCESS, THREE_DATES[0]]


def test_a_backfill_that_is_refused_tells_metrics_that_no_date_was_tried(tmp_path: Path) -> None:
    config, metrics = write_run(tmp_path, "inbox/2026-01-01/"), tmp_path / "backfill.prom"
    assert docyard("backfill", *RANGE, "--config", config, "--metrics-file", metrics).exit_code == 2
    found = read_metrics(metrics.read_text())
    assert (found["docyard_backfill_exit_code",], found["docyard_backfill_dates", "not_tried"]) == (2, 3)


def test_a_dry_run_names_the_missing_dates_and_writes_nothing(tmp_path: Path) -> None:
    config, metrics = write_run(tmp_path), tmp_path / "backfill.prom"
    result = docyard("backfill", *RANGE, "--config", config, "--dry-run", "--metrics-file", metrics)
    assert result.stdout.splitlines() == [
        *(f"{date}  would read 1 file in 1 shard" for date in THREE_DATES),
        "3 dates: 3 missing",
    ]
    assert not (tmp_path / "warehouse").exists()
    assert not metrics.exists()


def test_paths_that_do_not_follow_the_date_are_refused(tmp_path: Path) -> None:
    config = write_run(tmp_path, "inbox/2026-01-01/")
    check_refused(docyard("backfill", *RANGE, "--config", config), 2, "every date would read the same files", "{run_")
    backwards = docyard("backfill", "--from", "2026-01-02", "--to", "2026-01-01", "--config", config)
    check_refused(backwards, 2, "--from 2026-01-02 is later than --to 2026-01-01")


@pytest.mark.parametrize(
    ("path", "filled"),
    [
        ("inbox/{run_date}/*.pdf", "inbox/2026-01-02/*.pdf"),
        ("inbox/{run_date:%Y/%m/%d}/", "inbox/2026/01/02/"),
        ("s3://bucket/run_date={run_date}/", "s3://bucket/run_date=2026-01-02/"),
        ("inbox/{id}/", "inbox/{id}/"),
    ],
)
def test_a_path_takes_the_date_of_the_run(path: str, filled: str) -> None:
    item = {"paths": [path], "document_type": "ticket"}
    config = load_config(None, {"run_date": "2026-01-02", "warehouse": "warehouse", "inputs": [item]})
    assert config.inputs[0].paths == (filled,)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([InputError("none"), LockedError("held")], LockedError),
        ([LockedError("held"), StorageError("read-only"), BundleError("missing")], StorageError),
        ([InputError("none"), InputError("none")], InputError),
    ],
)
def test_the_gravest_error_is_one_that_somebody_has_to_correct(
    errors: list[DocyardError], expected: type[DocyardError]
) -> None:
    assert type(gravest(errors)) is expected


@pytest.mark.slow
def test_an_interrupt_that_python_drops_ends_the_backfill_after_the_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def classify(config: object, **settings: object) -> Manifest:
        begun.append(settings["run_date"])
        with contextlib.suppress(KeyboardInterrupt):  # as in a destructor
            signal.raise_signal(signal.SIGINT)
        return Manifest("run", "", RunStatus.PUBLISHED, "")

    monkeypatch.setattr("pipelines.api.classify", classify)
    result = docyard("backfill", *RANGE, "--config", write_run(tmp_path))
    assert (result.exit_code, begun) == (130, [THREE_DATES[0]])


def test_a_run_tells_its_progress_and_sigterm_ends_it_as_ctrl_c_does(tmp_path: Path) -> None:
    config = write_run(tmp_path)
    write_jsonl(tmp_path / "inbox" / THREE_DATES[0] / "more.jsonl", documents(20_000))
    with config.open("a") as file:
        file.write("[reading]\nshard_bytes = 4000\n")
    run = ("classify", "--config", str(config), "--run-date", THREE_DATES[0], "--progress", "1")
    with subprocess.Popen((sys.executable, "-m", "pipelines.cli", *run), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert re.fullmatch(r"progress: [\d,]+ of [\d,]+ shards, [\d,]+ documents\n", line)
    assert process.returncode == 130, said
    assert "error: interrupted" in said
    (run,) = list_runs(tmp_path / "warehouse")
    assert (run["status"], run["error"]) == ("failed", "interrupted by Ctrl-C or SIGTERM")
    assert not list((tmp_path / "warehouse/_staging").iterdir())
