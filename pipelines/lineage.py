"""The lineage of a run as OpenLineage events: what it read, what it published, and how it ended.

Source: OpenLineage, https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from schemas.errors import DocyardError
from schemas.run_config import RunConfig
from schemas.system import pip_install
from schemas.tables import PUBLISHED_TABLES, Table
from schemas.watching_config import WatchingConfig
from transforms.commit_run import QUALITY_FILE
from transforms.readers.files import local_path
from transforms.run_plan import RunPlan
from warehouse.manifest import Manifest, record_name

logger = logging.getLogger(__name__)

_SWITCHES = re.compile(r"OPENLINEAGE_(URL|CONFIG|_TRANSPORT_.*)")
_RUN_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "docyard:runs")  # OpenLineage wants a UUID for each run
_PRODUCER = "urn:docyard"
_HOST = re.compile(r"\w+://(?:[^/]*@)?([^/?#@]+)")
_GLOB = re.compile(r"[^/]*[*?\[].*")


@dataclass
class Lineage:
    """The end of a run; `manifest` is set when it has published."""

    manifest: Manifest | None = None


@contextlib.contextmanager
def lineage_of(config: RunConfig, plan: RunPlan | None) -> Iterator[Lineage]:
    """Tells of the run's start, and of its end when the block ends; where nobody is to be told, nothing is done.

    An event that cannot be sent is a warning.

    Args:
        config: as it was given: it names the job, whatever bundles its type "auto" finds.
        plan: of the run; None for one that was refused before it had a plan.
    """
    lineage = Lineage()
    client = _open_client(config.watching)
    if client is None:
        yield lineage
        return
    run = str(uuid.uuid5(_RUN_IDS, plan.run_id) if plan else uuid.uuid4())

    def emit(state: str, manifest: Manifest | None = None, error: BaseException | None = None) -> None:
        try:
            client.emit(_run_event(config, plan, run, state, manifest, error))
        except Exception as failure:  # of the network, the endpoint, or the client
            receiver = _receiver(client.transport)
            logger.warning("the lineage event %s cannot be sent to %s: %s", state, receiver, type(failure).__name__)

    emit("START")
    try:
        yield lineage
    except BaseException as error:
        emit("FAIL" if isinstance(error, Exception) else "ABORT", error=error)
        raise
    else:
        emit("COMPLETE", lineage.manifest)
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=5.0)


def _open_client(watching: WatchingConfig) -> Any:
    """The client of the configured transport, or of the environment's; None where nothing configures one."""
    transport: dict[str, Any] = {}
    if watching.openlineage_file:
        transport = {"type": "file", "log_file_path": watching.openlineage_file, "append": True}
    elif watching.openlineage_url:
        transport = {"type": "http", "url": watching.openlineage_url}
        if key := os.environ.get("OPENLINEAGE_API_KEY"):
            transport["auth"] = {"type": "api_key", "apiKey": key}
    elif not any(_SWITCHES.fullmatch(name) for name in os.environ):
        return None
    try:
        from openlineage.client import OpenLineageClient

        return OpenLineageClient(config={"transport": transport} if transport else None)
    except ModuleNotFoundError:
        logger.warning("no lineage is told: openlineage-python is missing: %s", pip_install("lineage"))
    except Exception as error:
        logger.warning("no lineage is told: its configuration cannot be used: %s", type(error).__name__)
    return None


def _receiver(transport: Any) -> str:
    """Of an address only host and port, because the rest may hold a secret; else the kind of the transport."""
    found = _HOST.match(str(getattr(transport, "url", "")))
    return found[1] if found else f"its {transport.kind}"


def _run_event(
    config: RunConfig,
    plan: RunPlan | None,
    run: str,
    state: str,
    manifest: Manifest | None,
    error: BaseException | None,
) -> Any:
    """An event of a run, as `openlineage.client.event_v2.RunEvent`.

    Args:
        config: as it was given.
        plan: of the run, if it has one.
        run: its UUID.
        state: START, COMPLETE, FAIL or ABORT.
        manifest: of a run that published.
        error: that ended the run. Only the message of a `DocyardError` is told, because it never holds document text.
    """
    from openlineage.client import event_v2, facet_v2

    facet_v2.set_producer(_PRODUCER)
    run_facets = {
        "nominalTime": facet_v2.nominal_time_run.NominalTimeRunFacet(f"{config.run_date}T00:00:00Z"),
        "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet(
            importlib.metadata.version("docyard"), "Docyard"
        ),
    }
    if plan is not None:
        run_facets["tags"] = facet_v2.tags_run.TagsRunFacet(
            [facet_v2.tags_run.TagsRunFacetFields("docyard.run_id", plan.run_id, "DOCYARD")]
        )
    if parent := _parent():
        run_facets["parent"] = parent
    if error is not None:
        message = str(error) if isinstance(error, DocyardError) else type(error).__name__
        run_facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(message, "PYTHON")
    quality = {} if plan is None or state == "START" else _quality(plan)
    types = "-".join(sorted({item.document_type for item in config.inputs}))
    return event_v2.RunEvent(
        eventTime=datetime.now(UTC).isoformat(timespec="milliseconds"),
        eventType=event_v2.RunState(state),
        producer=_PRODUCER,
        run=event_v2.Run(runId=run, facets=run_facets),
        job=event_v2.Job(
            namespace=os.environ.get("OPENLINEAGE_NAMESPACE", "docyard"),
            name=f"docyard.classify.{types}",
            facets={"jobType": facet_v2.job_type_job.JobTypeJobFacet("BATCH", "DOCYARD", jobType="JOB")},
        ),
        inputs=_inputs(config, manifest),
        outputs=[_output(kind, config, manifest, quality.get(kind.name)) for kind in PUBLISHED_TABLES],
    )


def _parent() -> Any:
    """The run that started this one, as schedulers name it: namespace/job/UUID."""
    from openlineage.client import facet_v2

    namespace, _, rest = os.environ.get("OPENLINEAGE_PARENT_ID", "").partition("/")
    name, _, run_id = rest.rpartition("/")
    try:
        of_run = facet_v2.parent_run.Run(str(uuid.UUID(run_id)))
    except ValueError:
        return None
    return facet_v2.parent_run.ParentRunFacet(run=of_run, job=facet_v2.parent_run.Job(namespace, name))


def _inputs(config: RunConfig, manifest: Manifest | None) -> list[Any]:
    from openlineage.client import event_v2, facet_v2

    names = list(dict.fromkeys(dataset_name(path) for item in config.inputs for path in item.paths))
    facets = {}
    if manifest is not None and len(names) == 1:  # which records came from where is known only then
        read = manifest.counts["read"]
        facets["inputStatistics"] = facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(read)
    return [
        event_v2.InputDataset(namespace=namespace, name=name, inputFacets=dict(facets)) for namespace, name in names
    ]


def _output(kind: Table, config: RunConfig, manifest: Manifest | None, suite: dict[str, Any] | None) -> Any:
    from openlineage.client import event_v2, facet_v2

    namespace, name = dataset_name(f"{config.warehouse.rstrip('/')}/{kind.name}")
    fields = [
        facet_v2.schema_dataset.SchemaDatasetFacetFields(column.name, str(column.type), column.description)
        for column in kind.columns
    ]
    facets: dict[str, Any] = {"schema": facet_v2.schema_dataset.SchemaDatasetFacet(fields)}
    statistics = {}
    if suite is not None:
        told = facet_v2.data_quality_assertions_dataset
        facets["dataQualityAssertions"] = told.DataQualityAssertionsDatasetFacet(
            [
                told.Assertion(check["check"], check["passed"], check["column"] or None, description=check["requires"])
                for check in suite["checks"]
            ]
        )
    if manifest is not None:
        files = [file for file in manifest.files if file.table == kind.name]
        rows, size = sum(file.rows for file in files), sum(file.bytes for file in files)
        facets["version"] = facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet(manifest.run_id)
        facets["dataQualityMetrics"] = facet_v2.data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
            columnMetrics={}, rowCount=rows, bytes=size, fileCount=len(files)
        )
        statistics["outputStatistics"] = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rows, size, len(files)
        )
    return event_v2.OutputDataset(namespace=namespace, name=name, facets=facets, outputFacets=statistics)


def _quality(plan: RunPlan) -> dict[str, Any]:
    """The suites of the run's quality report; none where it did not come so far."""
    try:
        suites: dict[str, Any] = json.loads(plan.warehouse.read(record_name(plan.run_id, QUALITY_FILE)))["suites"]
    except (OSError, DocyardError, ValueError):
        return {}
    return suites


def dataset_name(path: str) -> tuple[str, str]:
    """Namespace and name of a path or URI, as OpenLineage names data sets; a glob is named by its folder."""
    local = local_path(path) if "://" in path else path
    if local is not None:
        return "file", _GLOB.sub("", os.path.abspath(local)).rstrip("/") or "/"  # noqa: PTH100 - a glob is no path
    parts = urlsplit(path)
    return f"{parts.scheme}://{parts.netloc}", _GLOB.sub("", parts.path).strip("/") or "/"
