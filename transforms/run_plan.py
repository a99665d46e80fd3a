"""The plan of one run, decided once by the launcher, that every step has to know."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import DocyardError, error_named
from schemas.run_config import RunConfig
from schemas.system_errors import is_explained, system_error
from warehouse.files import write_durably
from warehouse.layout import Partition, Warehouse

_FAILURE_FILE = "failure.json"
_WARNINGS_FOLDER = "warnings"


@dataclass(frozen=True)
class BundleChoice:
    """The ModelBundle of one input, pinned.

    Attributes:
        folder: absolute path, the same on every worker.
        reference: name@digest as it stands in the `bundle` column.
        digest: a worker that finds another one in the folder ends the run.
    """

    folder: str
    reference: str
    digest: str


@dataclass(frozen=True)
class RunPlan:
    """One run, before it starts.

    Attributes:
        warehouse_root: absolute path, the same on every worker.
        bundles: one per `config.inputs`.
        n_shards: number of shards that must come back.
    """

    run_id: str
    started_at: str
    config: RunConfig
    warehouse_root: str
    bundles: tuple[BundleChoice, ...]
    n_shards: int
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse the run writes to."""
        return Warehouse(Path(self.warehouse_root))

    @property
    def document_types(self) -> tuple[str, ...]:
        """Every document type of the run, sorted."""
        return tuple(sorted({item.document_type for item in self.config.inputs}))

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The partitions that the run replaces."""
        return tuple(Partition(self.config.run_date, document_type) for document_type in self.document_types)


@contextlib.contextmanager
def reporting_failures(plan: RunPlan) -> Iterator[None]:
    """Leaves a worker's error where the launcher finds it: runners pass on only a traceback."""
    try:
        yield
    except DocyardError as error:
        _report(plan, error)
        raise
    except OSError as error:
        if not is_explained(error):
            raise
        found = system_error(error, plan.warehouse.root)
        _report(plan, found)
        raise found from error


def _report(plan: RunPlan, error: DocyardError) -> None:
    staging = plan.warehouse.staging(plan.run_id)
    if staging.is_dir():
        content = json.dumps({"error": type(error).__name__, "message": str(error)})
        write_durably(staging / _FAILURE_FILE, content.encode())


def reported_failure(plan: RunPlan) -> DocyardError | None:
    """The error a worker left, or None."""
    try:
        values = json.loads((plan.warehouse.staging(plan.run_id) / _FAILURE_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return error_named(values["error"], values["message"])


def leave_warning(plan: RunPlan, about: str, message: str) -> None:
    """Leaves a worker's warning for the manifest, the last one about each thing; a lost warning ends no run."""
    folder = plan.warehouse.staging(plan.run_id) / _WARNINGS_FOLDER
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        write_durably(folder / f"{about}.json", json.dumps(message).encode())


def left_warnings(plan: RunPlan) -> tuple[str, ...]:
    """Warnings of the workers, each only once."""
    folder = plan.warehouse.staging(plan.run_id) / _WARNINGS_FOLDER
    return tuple(json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json")))
