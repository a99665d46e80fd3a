"""DAGs that run `docyard`; the tests run them, and they serve as examples.

DOCYARD_EXAMPLE names a folder with `nightly.toml`, whose paths hold `{run_date}`.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from airflow.sdk import DAG, Asset, task
from docyard_airflow.operators import DocyardClassifyOperator, DocyardOperator

FOLDER = Path(os.environ.get("DOCYARD_EXAMPLE", "/srv/docyard"))
CONFIG = str(FOLDER / "nightly.toml")
WAREHOUSE = str(FOLDER / "warehouse")
TICKETS = Asset("docyard_warehouse", uri=f"file://{WAREHOUSE}")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
AT_ONCE = datetime.timedelta(0)

with DAG("docyard_nightly", schedule="@daily", start_date=START, catchup=False, max_active_runs=1):

    @task.docyard
    def list_runs(run: dict[str, object]) -> list[str]:
        """The runs of the warehouse, of whose manifest `run` is a summary."""
        return ["runs", "--warehouse", WAREHOUSE, "--json"] if run else ["--version"]

    classify = DocyardClassifyOperator(
        task_id="classify", config=CONFIG, outlets=[TICKETS], retries=2, retry_delay=AT_ONCE, progress_seconds=1
    )
    verify = DocyardOperator(
        task_id="verify",
        arguments=["verify", "{{ ti.xcom_pull('classify')['run_id'] }}", "--warehouse", WAREHOUSE, "--json"],
    )
    classify >> verify
    list_runs(classify.output)

with DAG("docyard_once", schedule=None, start_date=START):
    DocyardClassifyOperator(task_id="classify", config=CONFIG, progress_seconds=1)

with DAG("docyard_stale", schedule=None, start_date=START):
    DocyardClassifyOperator(task_id="classify", config=CONFIG, docyard_path=str(FOLDER / "stale_docyard"))

with DAG("docyard_again", schedule=None, start_date=START):
    DocyardClassifyOperator(task_id="classify", config=CONFIG, arguments=["--only", "no-such-document"])

with DAG("docyard_without_bundle", schedule=None, start_date=START):
    DocyardClassifyOperator(
        task_id="classify",
        config=str(FOLDER / "without_bundle.toml"),
        retries=2,
        retry_delay=AT_ONCE,
    )

with DAG("docyard_without_job_service", schedule=None, start_date=START):
    DocyardClassifyOperator(
        task_id="classify",
        config=CONFIG,
        beam_options=[
            "--runner=PortableRunner",
            "--job_endpoint=localhost:1",
            "--environment_type=LOOPBACK",
            "--job_server_timeout=1",
        ],
        retries=1,
        retry_delay=AT_ONCE,
    )
