"""The plan of one run, decided once by the launcher, that every step has to know."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.certificate import Certificate
from models.drift import Reference
from schemas.errors import DocyardError, error_named, is_explained, system_error
from schemas.run_config import RunConfig
from warehouse.files import write_durably
from warehouse.layout import Partition, Warehouse
from warehouse.manifest import Manifest, RunStatus
from warehouse.register import RegisterEnd

_FAILURE_FILE = "failure.json"
_WARNINGS_FOLDER = "warnings"


@dataclass(frozen=True)
class BundleChoice:
    """The ModelBundle of one input, pinned.

    Attributes:
        folder: absolute path, the same on every worker.
        reference: name@digest as it stands in the `bundle` column.
        digest: a worker that finds another one in the folder ends the run.
        certificate: its proof; None where it has none.
        spread: of the certifying rows; None where the certificate does not hold it.
        tree_separator: of its labels; "" where they are no tree.
    """

    folder: str
    reference: str
    digest: str
    certificate: Certificate | None = None
    spread: Reference | None = None
    tree_separator: str = ""

    @property
    def name(self) -> str:
        """The bundle's name, without the digest."""
        return self.reference.rpartition("@")[0]


@dataclass(frozen=True)
class KindGroup:
    """The inputs that stand for a configured one of type "auto".

    Attributes:
        first: number of the first of them among `config.inputs`; documents are read as by that one.
        document_types: of the inputs from `first` on, one per kind that has a bundle; the last one, UNKNOWN_TYPE, takes
            what is rejected before its kind is known, or is of none of these kinds.
        folder: absolute path of the kind bundle, the same on every worker.
        reference: name@digest of the kind bundle.
        digest: a worker that finds another one in the folder ends the run.
        page_pairs_folder: likewise, of the bundle of page pairs; "" where packets are not split.
        page_pairs_digest: likewise.
    """

    first: int
    document_types: tuple[str, ...]
    folder: str
    reference: str
    digest: str
    page_pairs_folder: str = ""
    page_pairs_digest: str = ""

    @property
    def inputs(self) -> range:
        """Numbers of the inputs."""
        return range(self.first, self.first + len(self.document_types))


@dataclass(frozen=True)
class RunPlan:
    """One run, before it starts.

    Attributes:
        warehouse_root: absolute path, the same on every worker.
        bundles: one per `config.inputs`.
        n_shards: number of shards that must come back.
        withheld: document types of which nothing is accepted, because the certificate is stale.
        demoted: one per `config.inputs`: the labels whose answers the register lets no run accept.
        register: the end of the register that the plan rests on.
        kind_groups: one per configured input of type "auto".
    """

    run_id: str
    started_at: str
    config: RunConfig
    warehouse_root: str
    bundles: tuple[BundleChoice, ...]
    n_shards: int
    demoted: tuple[frozenset[str], ...] = ()
    register: RegisterEnd = field(default_factory=RegisterEnd)
    versions: dict[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    kind_groups: tuple[KindGroup, ...] = ()

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse the run writes to."""
        return Warehouse(Path(self.warehouse_root))

    @property
    def staging(self) -> Path:
        """The folder of everything that the run has not published yet."""
        return self.warehouse.staging(self.run_id)

    @property
    def staged_files(self) -> Path:
        """The folder into which workers stage their files."""
        return self.warehouse.staged_files(self.run_id)

    @property
    def id_hashes(self) -> Path:
        """The folder in which the shards keep the hashes of their document ids; the launcher makes it.

        A worker that outlived its run finds it gone and stages nothing.
        """
        return self.staged_files / "ids"

    @property
    def document_types(self) -> tuple[str, ...]:
        """Every document type of the run, sorted."""
        return tuple(sorted({item.document_type for item in self.config.inputs}))

    def kind_group(self, input_index: int) -> KindGroup | None:
        """The group that an input belongs to; None where its documents have a given type."""
        return next((group for group in self.kind_groups if input_index in group.inputs), None)

    def bundle_of(self, document_type: str) -> BundleChoice:
        """The bundle of a document type: inputs of one type have one bundle."""
        types = [item.document_type for item in self.config.inputs]
        return self.bundles[types.index(document_type)]

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The partitions that the run replaces."""
        return tuple(Partition(self.config.run_date, document_type) for document_type in self.document_types)

    def manifest(self) -> Manifest:
        """The manifest of the run when it has only started."""
        return Manifest(
            run_id=self.run_id,
            run_date=self.config.run_date,
            status=RunStatus.RUNNING,
            started_at=self.started_at,
            document_types=self.document_types,
            config=self.config.to_dict(),
            config_sha256=self.config.sha256(),
            bundles={
                item.document_type: {"reference": bundle.reference, "digest": bundle.digest}
                for item, bundle in zip(self.config.inputs, self.bundles, strict=True)
            },
            register=self.register,
            versions=self.versions,
        )

    @contextlib.contextmanager
    def reporting_failures(self) -> Iterator[None]:
        """Leaves a worker's error where the launcher finds it: runners pass on only a traceback."""
        try:
            yield
        except DocyardError as error:
            self._report(error)
            raise
        except OSError as error:
            if not is_explained(error):
                raise
            found = system_error(error, self.warehouse.root)
            self._report(found)
            raise found from error

    def _report(self, error: DocyardError) -> None:
        if self.staging.is_dir():
            content = json.dumps({"error": type(error).__name__, "message": str(error)})
            write_durably(self.staging / _FAILURE_FILE, content.encode())

    def reported_failure(self) -> DocyardError | None:
        """The error a worker left, or None."""
        try:
            values = json.loads((self.staging / _FAILURE_FILE).read_bytes())
        except (OSError, ValueError):
            return None
        return error_named(values["error"], values["message"])

    def leave_warning(self, about: str, message: str) -> None:
        """Leaves a worker's warning for the manifest, the last one about each thing; a lost warning ends no run."""
        folder = self.staging / _WARNINGS_FOLDER
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            write_durably(folder / f"{about}.json", json.dumps(message).encode())

    def left_warnings(self) -> tuple[str, ...]:
        """The warnings that workers left, one about each thing."""
        files = sorted((self.staging / _WARNINGS_FOLDER).glob("*.json"))
        return tuple(json.loads(path.read_bytes()) for path in files)
