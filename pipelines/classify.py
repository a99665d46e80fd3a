"""`docyard classify`: plans a run, locks its partitions, runs the walk, and settles whatever interrupts it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import platform
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extraction.cache import trim
from models.bundle import ModelBundle, load_bundle
from models.certificate import FILE_NAME as CERTIFICATE_NAME
from models.drift import parse_reference
from models.kind import KindModel, load_kinds
from models.page_pairs import load_page_pairs
from pipelines.kinds import bundles_by_kind, inputs_by_kind, kinds_folder, page_pairs_folder
from pipelines.lineage import lineage_of
from pipelines.overlap import check_apart, check_not_listed
from pipelines.progress import show_progress
from pipelines.promotion import load_standing
from pipelines.redo import check_not_replaced, describe_redo, plan_redo, survey_redo
from pipelines.runners import read_beam_options, run_job, worker_message
from pipelines.survey import describe_survey, survey_documents
from pipelines.terminal import counted
from schemas.errors import BundleError, ConfigError, ContractError, DocyardError, describe_system_error, system_error
from schemas.log_context import log_context
from schemas.run_config import AUTO_TYPE, DEFAULT_TEXT_FIELD, STANDING, InputConfig, RunConfig
from schemas.shards import Shard
from schemas.tables import CLASSIFICATIONS
from transforms.check_drift import outlived, stale_types
from transforms.classify_documents import classifier_for, compact_answers
from transforms.commit_run import QUALITY_FILE
from transforms.plan_shards import plan_shards
from transforms.read_shard import read_shard
from transforms.run_plan import BundleChoice, KindGroup, RunPlan
from transforms.tracing import traced_run
from transforms.validate_documents import validate_documents
from warehouse.interface import Warehouse
from warehouse.manifest import Manifest, RunStatus, read_manifest, record_name, write_manifest
from warehouse.places import open_warehouse, warehouse_at
from warehouse.register import Entry, demoted_labels, read_register, register_end

logger = logging.getLogger(__name__)

_RECORDED_PACKAGES = ("docyard", "apache-beam", "great-expectations", "onnxruntime", "pyarrow", "tokenizers")

_FILES_TRIED, _RECORDS_TRIED = 100, 100  # in a dry run


def classify(
    config: RunConfig,
    beam_options: Sequence[str],
    *,
    only: Sequence[str] = (),
    only_rejected: bool = False,
    progress_seconds: int = 0,
) -> Manifest:
    """Runs the main job and returns the manifest of what it published.

    Drift shows when all documents are classified. Where the configuration escalates them then, the run is left on
    record as failed, and done again with nothing of these document types accepted.

    Args:
        config: of the run.
        beam_options: what the command takes after `--`.
        only: ids of documents to add to the published date or to do again; all other rows are taken over.
        only_rejected: True to do the files again of which something was rejected.
        progress_seconds: seconds from one line of progress to the next, where standard error is no terminal.

    Raises:
        DocyardError: the run cannot be done; nothing was published.
    """
    try:
        plan, shards = prepare(config)
        if only or only_rejected:
            if plan.warehouse.exists():
                _finish_interrupted(plan)  # so that the rows to take over are those of the last run that was decided
            plan, shards = plan_redo(plan, shards, only, only_rejected=only_rejected)
    except Exception:
        with lineage_of(config, None):
            raise
    try:
        return _run(config, plan, shards, beam_options, progress_seconds)
    except ContractError:
        stale = _drifted_types(plan)
        if not stale:
            raise
    logger.warning("run %s: the certificate of %s is stale; nothing of it is accepted", plan.run_id, ", ".join(stale))
    run_id, started_at = _new_run()
    again = replace(plan, run_id=run_id, started_at=started_at, withheld=tuple(sorted({*plan.withheld, *stale})))
    return _run(config, again, shards, beam_options, progress_seconds)


def _drifted_types(plan: RunPlan) -> tuple[str, ...]:
    """The document types for which a run that published nothing is to be done again."""
    if plan.config.quality.on_drift != "escalate":
        return ()
    report = json.loads(plan.warehouse.read(record_name(plan.run_id, QUALITY_FILE)))
    return tuple(sorted({*stale_types(report["drift"])} - {*plan.withheld})) if report["passed"] else ()


def _run(
    config: RunConfig, plan: RunPlan, shards: list[Shard], beam_options: Sequence[str], progress_seconds: int
) -> Manifest:
    with log_context(run_id=plan.run_id), lineage_of(config, plan) as lineage, traced_run(plan) as traced:
        lineage.manifest = _run_held(traced, shards, beam_options, progress_seconds)
        return lineage.manifest


def _run_held(plan: RunPlan, shards: list[Shard], beam_options: Sequence[str], progress_seconds: int) -> Manifest:
    config = plan.config
    options = read_beam_options(beam_options, len(shards))
    warehouse = open_warehouse(config.warehouse)
    with warehouse.hold(plan.partitions, plan.run_id):
        _finish_interrupted(plan)
        check_not_replaced(plan)
        write_manifest(warehouse, plan.manifest())
        try:
            warehouse.make_staging(plan.partitions, plan.run_id)
            _send_bundles(plan)
            if trouble := _compact(plan):  # leftovers of a killed run
                plan.leave_warning("cache", trouble)
            with show_progress(plan, len(shards), progress_seconds):
                run_job(plan, shards, options)
        except BaseException as error:
            if not _published_after_all(plan, error):
                if isinstance(error, OSError):
                    raise system_error(error, warehouse.folder) from error
                raise
            logger.warning(
                "%s after run %s was decided; its data is published, whole", type(error).__name__, plan.run_id
            )
        manifest = read_manifest(warehouse, plan.run_id)
        for warning in manifest.warnings:
            logger.warning("%s", warning)
        if (trouble := _compact(plan)) and not manifest.warnings:
            logger.warning("%s", trouble)
        return manifest


def _finish_interrupted(plan: RunPlan) -> None:
    for run_id in plan.warehouse.finish_interrupted(plan.partitions):
        logger.info("completed run %s, which was interrupted while publishing", run_id)


def _send_bundles(plan: RunPlan) -> None:
    pairs = [group.page_pairs for group in plan.kind_groups if group.page_pairs is not None]
    sent: list[BundleChoice | KindGroup] = [*plan.bundles, *plan.kind_groups, *pairs]
    for chosen in sent:
        plan.warehouse.send_bundle(chosen.reference, Path(chosen.folder))


def _compact(plan: RunPlan) -> str:
    """Compacts the caches of answers and texts; returns why that failed, or "". No published table depends on them."""
    if trouble := compact_answers(plan):
        return trouble
    if (extracted := plan.warehouse.extracted) is not None:
        try:
            trim(extracted, plan.config.extraction.cache_megabytes * 10**6)
        except OSError as error:
            return f"the extracted texts cannot be trimmed: {describe_system_error(error, extracted)}"
    return ""


def dry_run(
    config: RunConfig, beam_options: Sequence[str] = (), *, only: Sequence[str] = (), only_rejected: bool = False
) -> dict[str, Any]:
    """Checks everything that can be checked before the first document, and writes nothing.

    The documents of a run over a few are read, to find them.

    Args:
        config: of the run.
        beam_options: what the command takes after `--`.
        only: as for `classify`.
        only_rejected: likewise.

    Returns:
        `files` (those that would be read; text files and documents are counted per input), `shards`, `documents` (as
        `survey_documents` finds them), `bundles` (document type -> reference), `replaced` (partition -> id of the
        run whose data it holds now, or None) and, of a run over a few documents, `redo` (as `survey_redo` finds it).

    Raises:
        DocyardError: the run could not be done.
    """
    plan, shards = prepare(config)
    is_redo = bool(only or only_rejected)
    if is_redo:
        plan, shards = plan_redo(plan, shards, only, only_rejected=only_rejected)
    read_beam_options(beam_options, len(shards))
    plan.warehouse.check_places(plan.partitions)
    types = [item.document_type for item in plan.config.inputs]
    rejections = {} if is_redo else _first_rejections(plan.config, shards)
    files: dict[tuple[int, str, str], dict[str, Any]] = {}
    for shard in sorted(shards, key=lambda shard: bool(shard.files)):
        uri = "" if shard.files else shard.source_uri
        kind = AUTO_TYPE if plan.kind_group(shard.input_index) else types[shard.input_index]
        file = files.setdefault(
            (shard.input_index, shard.format, uri),
            {"document_type": kind, "format": shard.format, "uri": uri, "files": 0, "shards": 0}
            | {"problem": "", "first_rejections": rejections.get(uri, "")},
        )
        file["shards"] += 1
        file["files"] = file["files"] + len(shard.files) if shard.files else 1
        file["problem"] = file["problem"] or ": ".join(shard.problem or ())
    return {
        "files": list(files.values()),
        "shards": len(shards),
        "documents": {} if is_redo else survey_documents(plan, shards),
        "bundles": {kind: chosen.reference for kind, chosen in zip(types, plan.bundles, strict=True)},
        "replaced": {
            str(partition): plan.warehouse.published_by(CLASSIFICATIONS, partition) for partition in plan.partitions
        },
        "redo": survey_redo(plan, shards) if is_redo else None,
    }


def describe_dry_run(found: dict[str, Any]) -> str:
    """The result of `dry_run` for a terminal."""
    n_files = sum(file["files"] for file in found["files"])
    lines = [f"would read {counted(n_files, 'file')} in {counted(found['shards'], 'shard')}"]
    for file in found["files"]:
        fate = f"would be rejected: {file['problem']}" if file["problem"] else counted(file["shards"], "shard")
        first = f"; {file['first_rejections']}" if file["first_rejections"] else ""
        name = file["uri"] or counted(file["files"], "document" if file["format"] == "document" else "text file")
        lines.append(f"  {file['document_type']}: {name} ({fate}{first})")
    lines += describe_survey(found["documents"])
    lines += describe_redo(found["redo"]) if found["redo"] else []
    lines += [f"would classify {kind} with {reference}" for kind, reference in found["bundles"].items()]
    for partition, holder in found["replaced"].items():
        lines.append(f"would replace {partition}: {f'now holds run {holder}' if holder else 'empty so far'}")
    return "\n".join([*lines, "nothing was written"])


def _first_rejections(config: RunConfig, shards: list[Shard]) -> dict[str, str]:
    """Rejections among the first records of the first files, by file: a wrong field name shows there."""
    reading = replace(config.reading, shard_rows=_RECORDS_TRIED)
    trial = replace(config, reading=reading)
    found = {}
    for shard in [shard for shard in shards if not (shard.problem or shard.start or shard.files)][:_FILES_TRIED]:
        table = next(read_shard(shard, trial)).table
        assert table is not None
        rejected = [row for row in validate_documents(table, reading).to_pylist() if row["reason_code"]]
        if rejected:
            found[shard.source_uri] = (
                f"{len(rejected)} of its first {len(table)} records would be rejected, the first one as "
                f"{rejected[0]['reason_code']}: {rejected[0]['detail']}"
            )
    return found


def prepare(config: RunConfig) -> tuple[RunPlan, list[Shard]]:
    """Checks the bundles, lists the inputs and plans the run.

    Raises:
        BundleError: a bundle cannot be loaded, does not answer here as recorded, or is made for another document type.
        ConfigError: an input contradicts its bundle about the fields that make a text.
        InputError: there is nothing to read.
        VerificationError: the register of the warehouse was changed.
    """
    warehouse = warehouse_at(config.warehouse)
    entries = read_register(warehouse)
    chosen: list[tuple[InputConfig, BundleChoice]] = []
    planned: dict[int, InputConfig] = {}  # inputs whose files are planned, by their number in the run
    groups: list[KindGroup] = []
    references: dict[str, str] = {}
    for item in config.inputs:
        first = len(chosen)
        if item.document_type == AUTO_TYPE:
            kinds, own = _choose_bundles_by_kind(item)
            chosen += own
            types = tuple(each.document_type for each, _ in own)
            group = KindGroup(first, types, str(kinds_folder(item)), kinds.reference, kinds.digest)
            pairs_folder = page_pairs_folder(item)
            if pairs_folder is not None:
                pairs = load_page_pairs(pairs_folder)
                chosen_pairs = BundleChoice(str(pairs_folder), pairs.reference, pairs.digest)
                group = replace(group, page_pairs=chosen_pairs)
                references["page_pairs"] = pairs.reference
            groups.append(group)
        else:
            chosen.append(_choose_bundle(item, warehouse, entries))
        planned[first] = chosen[first][0]
    check_apart(config, warehouse)
    numbers = list(planned)
    shards = plan_shards(replace(config, inputs=tuple(planned.values())))
    shards = [replace(shard, input_index=numbers[shard.input_index]) for shard in shards]
    config = replace(config, inputs=tuple(item for item, _ in chosen))
    check_not_listed(shards, warehouse)
    run_id, started_at = _new_run()
    plan = RunPlan(
        run_id=run_id,
        started_at=started_at,
        config=config,
        warehouse_place=warehouse.place,
        bundles=tuple(bundle for _, bundle in chosen),
        n_shards=len(shards),
        demoted=tuple(frozenset(demoted_labels(entries, bundle.name)) for _, bundle in chosen),
        register=register_end(entries),
        versions={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _RECORDED_PACKAGES}
        | references,
        withheld=_outlived_types(config, [bundle for _, bundle in chosen]),
        kind_groups=tuple(groups),
    )
    # A model that does not open, or answers otherwise here, is found now; workers in this process use what is loaded.
    of_no_kind = {group.inputs[-1] for group in groups}
    for index in range(len(plan.bundles)):
        if index not in of_no_kind:
            classifier_for(plan, index)
    return plan, shards


def _new_run() -> tuple[str, str]:
    """The id and the start of a run that begins now."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}", now.isoformat(timespec="milliseconds")


def _outlived_types(config: RunConfig, bundles: Sequence[BundleChoice]) -> tuple[str, ...]:
    """The document types of which nothing is accepted from the start, because of the run's date."""
    if config.quality.on_drift != "escalate":
        return ()
    days = config.quality.certificate_days
    pairs = zip(config.inputs, bundles, strict=True)
    return tuple(sorted({item.document_type for item, one in pairs if outlived(one, config.run_date, days)}))


def _choose_bundle(
    item: InputConfig, warehouse: Warehouse, entries: Sequence[Entry]
) -> tuple[InputConfig, BundleChoice]:
    if item.bundle == STANDING:
        bundle = load_standing(warehouse, entries, item.document_type)
        item = replace(item, bundle=str(bundle.folder))
    else:
        bundle = load_bundle(Path(item.bundle).absolute())
    if bundle.document_type != item.document_type:
        raise BundleError(
            f"{item.bundle}: made for documents of type {bundle.document_type!r}, the input has type "
            f"{item.document_type!r}; name another bundle"
        )
    return _as_the_bundle_says(item, bundle), _pinned(bundle)


def _choose_bundles_by_kind(item: InputConfig) -> tuple[KindModel, list[tuple[InputConfig, BundleChoice]]]:
    """The kind model of an input of type "auto", and an input with its bundle per kind."""
    kinds = load_kinds(kinds_folder(item))
    bundles = bundles_by_kind(item, kinds.kinds)
    pinned = [*map(_pinned, bundles.values()), BundleChoice(str(kinds_folder(item)), kinds.reference, kinds.digest)]
    return kinds, list(zip(inputs_by_kind(item, bundles), pinned, strict=True))


def _pinned(bundle: ModelBundle) -> BundleChoice:
    certificate = bundle.certificate
    where = str(bundle.folder / CERTIFICATE_NAME)
    return BundleChoice(
        str(bundle.folder),
        bundle.reference,
        bundle.digest,
        certificate,
        parse_reference(certificate.reference, where) if certificate else None,
        bundle.tree_separator,
    )


def _as_the_bundle_says(item: InputConfig, bundle: ModelBundle) -> InputConfig:
    """The input, completed by its bundle's reading rules."""
    template = bundle.reading.template
    if template and not item.text_template:
        if item.text_field != DEFAULT_TEXT_FIELD:
            raise ConfigError(
                f"text_field {item.text_field!r}: {item.bundle} makes its texts by the template {template!r}; remove "
                f"text_field, or, where that field holds such texts ready made, write instead "
                f'text_template = "{{{item.text_field}}}"'
            )
        item = replace(item, text_template=template)
    return replace(item, split=item.split or bundle.reading.split)


def _told(error: BaseException) -> str:
    """The message of an error of ours; any other one may quote a document."""
    if isinstance(error, DocyardError):
        return str(error)
    return "interrupted by Ctrl-C or SIGTERM" if isinstance(error, KeyboardInterrupt) else type(error).__name__


def _published_after_all(plan: RunPlan, error: BaseException) -> bool:
    """Completes the run if it was decided before the error; leaves it on record as failed otherwise.

    Raises:
        RunFailedError: it is decided, and cannot be completed now.
        StorageError: likewise, until someone changes what the message says.
    """
    failed = replace(
        plan.manifest(),
        status=RunStatus.FAILED,
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        error={"error": type(error).__name__, "message": _told(error)},
    )
    try:
        return plan.warehouse.give_up(failed)
    except OSError as again:
        why = system_error(again, plan.warehouse.folder)
        raise type(why)(
            f"run {plan.run_id} failed ({worker_message(error)}) and the warehouse cannot be cleared up: {why}; the "
            "next run does the rest"
        ) from error
