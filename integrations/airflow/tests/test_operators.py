"""The DAGs of `dags/docyard_example.py`, each run by `airflow dags test`, with the real `docyard`."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("airflow", reason="needs Airflow, which is installed in an environment of its own")
DOCYARD = os.environ.get("DOCYARD_BIN", "")
if not DOCYARD:
    pytest.skip("needs DOCYARD_BIN, the docyard program of another environment", allow_module_level=True)

HERE = Path(__file__).parent
TINY_BUNDLE = HERE.parents[2] / "tests/tiny_bundle"
FIVE_DATES = tuple(f"2026-01-0{day}" for day in range(1, 6))
KILLED_DATE, EMPTY_DATE = "2026-01-10", "2026-01-20"
DATE_WITH_A_REJECTION = FIVE_DATES[1]


@dataclass
class Site:
    """A folder with documents per date, and an Airflow of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "DOCYARD_EXAMPLE": str(self.folder),
            "NO_COLOR": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("airflow")), *arguments]

    def test_dag(self, dag: str, date: str) -> str:
        """The log of one run of a DAG."""
        ended = subprocess.run(
            self.command("dags", "test", dag, date),
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip
        return ended.stdout

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.folder / "airflow/airflow.db") as database:
            return database.execute(sql).fetchall()

    def states(self, dag: str, date: str) -> dict[str, tuple[str, int]]:
        """State and number of tries of the tasks of a DAG at a date."""
        rows = self.query(
            "SELECT task_id, i.state, try_number FROM task_instance i JOIN dag_run USING (dag_id, run_id) "
            f"WHERE dag_id = '{dag}' AND logical_date LIKE '{date}%'"
        )
        return {str(task): (str(state), int(str(tries))) for task, state, tries in rows}

    def runs(self) -> dict[str, str]:
        """Status of the warehouse's runs by date."""
        command = [DOCYARD, "runs", "--warehouse", str(self.folder / "warehouse"), "--json"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {run["run_date"]: run["status"] for run in map(json.loads, said.splitlines())}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    for date in (*FIVE_DATES, KILLED_DATE):
        (folder / "inbox" / date).mkdir(parents=True)
        count = 20_000 if date == KILLED_DATE else 4
        (folder / "inbox" / date / "in.jsonl").write_text(
            "".join(f'{{"id": "d{i}", "text": "please refund my card payment twice"}}\n' for i in range(count))
            + ('{"id": "empty", "text": ""}\n' if date == DATE_WITH_A_REJECTION else "")
        )
    config = (
        f'run_date = 2026-01-31\nwarehouse = "{folder}/warehouse"\n[[inputs]]\n'
        f'paths = ["{folder}/inbox/{{run_date}}/"]\ndocument_type = "ticket"\nbundle = "{TINY_BUNDLE}"\n'
        "[reading]\nshard_bytes = 4000\n"
    )
    (folder / "nightly.toml").write_text(config)
    (folder / "without_bundle.toml").write_text(config.replace("tiny_bundle", "no_bundle"))
    found = Site(folder)
    subprocess.run(found.command("db", "migrate"), env=found.environment, capture_output=True, check=True)
    return found


def test_five_logical_dates_become_five_published_partitions_with_an_event_each(site: Site) -> None:
    logs = {}
    for date in FIVE_DATES:
        logs[date] = site.test_dag("docyard_nightly", date)
        assert site.states("docyard_nightly", date) == dict.fromkeys(
            ("classify", "verify", "list_runs"), ("success", 1)
        )
    assert {date: site.runs()[date] for date in FIVE_DATES} == dict.fromkeys(FIVE_DATES, "published")
    events = site.query("SELECT partition_key, extra FROM asset_event ORDER BY id")
    assert [key for key, _ in events] == [f"run_date={date}/document_type=ticket" for date in FIVE_DATES]
    counts = json.loads(str(events[0][1]))["counts"]
    assert (counts["read"], counts["classified"], counts["rejected"]) == (4, 4, 0)
    second = json.loads(str(events[1][1]))
    assert (second["rejections"], second["stale"], second["warnings"]) == ({"empty_text": 1}, [], [])
    assert "rejected: empty_text 1" in logs[DATE_WITH_A_REJECTION]
    [(listed,)] = site.query("SELECT value FROM xcom WHERE task_id = 'list_runs' ORDER BY timestamp DESC LIMIT 1")
    assert len(json.loads(str(listed))) == len(FIVE_DATES)


def test_a_date_without_documents_is_skipped_with_what_follows(site: Site) -> None:
    site.test_dag("docyard_nightly", EMPTY_DATE)
    states = site.states("docyard_nightly", EMPTY_DATE)
    assert states["classify"] == ("skipped", 1)
    assert states["verify"][0] == "skipped"


def test_a_stale_certificate_is_a_warning_in_the_log(site: Site) -> None:
    manifest = {
        **dict.fromkeys(("run_id", "run_date", "status", "started_at", "finished_at"), "a"),
        "document_types": ["ticket"],
        "seconds": {"wall": 1.0},
        "counts": {"accepted": 1, "reasons": {}},
        "drift": {"ticket": {"stale": True, "reasons": ["label_psi 1.526 exceeds its limit 0.648"]}},
        "warnings": [],
    }
    program = site.folder / "stale_docyard"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(manifest)}'\n")
    program.chmod(0o755)
    log = site.test_dag("docyard_stale", FIVE_DATES[0])
    assert "the certificate of ticket is stale: label_psi 1.526 exceeds its limit 0.648" in log
    assert site.states("docyard_stale", FIVE_DATES[0]) == {"classify": ("success", 1)}


def test_a_document_that_is_not_there_fails_the_task_that_names_it(site: Site) -> None:
    log = site.test_dag("docyard_again", FIVE_DATES[0])
    assert "docyard ended with exit code 3" in log
    assert site.states("docyard_again", FIVE_DATES[0]) == {"classify": ("failed", 1)}


def test_what_somebody_has_to_correct_fails_without_a_retry(site: Site) -> None:
    log = site.test_dag("docyard_without_bundle", FIVE_DATES[0])
    assert "docyard ended with exit code 4" in log
    assert site.states("docyard_without_bundle", FIVE_DATES[0]) == {"classify": ("failed", 1)}


def test_what_may_pass_is_tried_again(site: Site) -> None:
    log = site.test_dag("docyard_without_job_service", FIVE_DATES[0])
    assert log.count("error: no job service answers") == 2
    assert "up_for_retry" in log
    assert site.states("docyard_without_job_service", FIVE_DATES[0]) == {"classify": ("failed", 2)}


def test_a_kill_ends_docyard_cleanly(site: Site) -> None:
    command = site.command("dags", "test", "docyard_once", KILLED_DATE)
    with subprocess.Popen(
        command, env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if "progress: " in line:
                break
        process.terminate()
        log = process.communicate(timeout=120)[0]
    assert "error: interrupted" in log
    assert "docyard ended with exit code 130" in log
    assert site.states("docyard_once", KILLED_DATE) == {"classify": ("failed", 1)}
    assert site.runs()[KILLED_DATE] == "failed"
    assert not list((site.folder / "warehouse/_staging").iterdir())
