"""The plan of one run, decided once by the launcher, that every step has to know."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.certificate import Certificate
from models.drift import Reference
from schemas.errors import BundleError, DocyardError, error_named, is_explained, system_error
from schemas.run_config import RunConfig
from warehouse.interface import Warehouse
from warehouse.layout import Partition
from warehouse.manifest import Manifest, RunStatus
from warehouse.places import warehouse_at
from warehouse.register import RegisterEnd

RECEIPTS = "receipts"
_FAILURE = "failure.json"
_WARNINGS = "warnings"


@dataclass(frozen=True)
class BundleChoice:
    """The ModelBundle of one input, pinned.

    Attributes:
        folder: absolute path; the same on every worker, where the warehouse is a folder.
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
        folder: absolute path of the kind bundle; the same on every worker, where the warehouse is a folder.
        reference: name@digest of the kind bundle.
        digest: a worker that finds another one in the folder ends the run.
        page_pairs: the bundle that splits packets; None where they stay whole.
    """

    first: int
    document_types: tuple[str, ...]
    folder: str
    reference: str
    digest: str
    page_pairs: BundleChoice | None = None

    @property
    def inputs(self) -> range:
        """Numbers of the inputs."""
        return range(self.first, self.first + len(self.document_types))


@dataclass(frozen=True)
class Redo:
    """The documents of a published date that a run does again; it takes over the published rows of all others.

    Attributes:
        run_id: of the run that published them.
        document_ids: of single documents, and of mails, archives and packets with all that lies in them; those that
            were not published yet are added.
        source_uris: of files whose documents are all done again.
    """

    run_id: str
    document_ids: tuple[str, ...] = ()
    source_uris: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunPlan:
    """One run, before it starts.

    Attributes:
        warehouse_place: an absolute path, the same on every worker, or a URI.
        bundles: one per `config.inputs`.
        n_shards: number of shards that must come back.
        withheld: document types of which nothing is accepted, because the certificate is stale.
        demoted: one per `config.inputs`: the labels whose answers the register lets no run accept.
        register: the end of the register that the plan rests on.
        kind_groups: one per configured input of type "auto".
        redo: the documents of a run over a few; None for one over all.
        traceparent: the span of the run, as W3C Trace Context writes it; "" where nothing is traced.
    """

    run_id: str
    started_at: str
    config: RunConfig
    warehouse_place: str
    bundles: tuple[BundleChoice, ...]
    n_shards: int
    demoted: tuple[frozenset[str], ...] = ()
    register: RegisterEnd = field(default_factory=RegisterEnd)
    versions: dict[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    kind_groups: tuple[KindGroup, ...] = ()
    redo: Redo | None = None
    traceparent: str = ""

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse the run writes to."""
        return warehouse_at(self.warehouse_place)

    @property
    def document_types(self) -> tuple[str, ...]:
        """Every document type of the run, sorted."""
        return tuple(sorted({item.document_type for item in self.config.inputs}))

    def bundle_folder(self, chosen: BundleChoice | KindGroup) -> Path:
        """A folder of this machine with a bundle of the run."""
        return self.warehouse.sent_bundle(chosen.reference, Path(chosen.folder), chosen.digest)

    def check_planned(self, chosen: BundleChoice | KindGroup, digest: str) -> None:
        """Makes sure that a worker's bundle is the one that the launcher found.

        Raises:
            BundleError: its digest is another one.
        """
        if digest != chosen.digest:
            raise BundleError(
                f"{chosen.reference}: its digest is {digest[:12]}, the run {self.run_id} was planned with "
                f"{chosen.digest[:12]}; give every worker the same bundle"
            )

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
            redo_of="" if self.redo is None else self.redo.run_id,
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
            found = system_error(error, self.warehouse.folder)
            self._report(found)
            raise found from error

    def _report(self, error: DocyardError) -> None:
        content = json.dumps({"error": type(error).__name__, "message": str(error)})
        self.warehouse.leave_note(self.run_id, _FAILURE, content.encode())

    def reported_failure(self) -> DocyardError | None:
        """The error a worker left, or None."""
        try:
            values = json.loads(self.warehouse.note(self.run_id, _FAILURE))
        except (OSError, ValueError):
            return None
        return error_named(values["error"], values["message"])

    def leave_warning(self, about: str, message: str) -> None:
        """Leaves a worker's warning for the manifest, the last one about each thing; a lost warning ends no run."""
        with contextlib.suppress(OSError, DocyardError):
            self.warehouse.leave_note(self.run_id, f"{_WARNINGS}/{about}.json", json.dumps(message).encode())

    def left_warnings(self) -> tuple[str, ...]:
        """The warnings that workers left, one about each thing."""
        names = self.warehouse.notes(self.run_id, _WARNINGS)
        return tuple(json.loads(self.warehouse.note(self.run_id, name)) for name in names)
