"""`docyard certify`: proves on labelled rows that what a bundle accepts keeps a bound on its error."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.bundle import ModelBundle, load_bundle, put_into_place, write_bundle_manifest
from models.certificate import Certificate, ValidFor, data_sha256
from models.certification import OCR, LabelledScores, Target
from models.certified_files import labelled_scores, prove
from models.classifier import Classifier
from models.labelled import Columns, EvaluationData, read_evaluation_data
from models.trained_rows import FILE_NAME as ROWS_NAME
from models.trained_rows import TrainedRows, parse_trained_rows, same_text, unit_hash
from schemas.errors import BundleError, CertificationError, ConfigError, InputError, VerificationError, system_error
from schemas.fields import parse_text_template

CHOOSING_SHARE = 0.5
OCR_COLUMN = "ocr_confidence"


@dataclass(frozen=True)
class LabelledRows:
    """Files of labelled rows, and the meaning of their columns; "" for a column there is none of.

    Attributes:
        paths: .parquet, .csv or .jsonl.
        text: with the text; "" takes the bundle's template, else the column "text".
        label: with the right label; a label that the bundle does not have marks a stranger.
        id: with the id, for a bundle whose training rows are known by it.
        cluster: with what rows that stand or fall together have in common; "" takes the one of the training.
        date: with the date, in ISO 8601.
        since: first date that certifies; earlier rows may choose.
        slices: to certify by.
        ocr_paths: files of labelled rows whose texts OCR read, with its confidence in `OCR_COLUMN`.
        min_ocr_confidence: from which on such a text may be accepted.
        labels: with all right labels of a row; any of them counts as right. "" counts only `label`, None takes the
            column of the training.
    """

    paths: tuple[Path, ...]
    text: str = ""
    label: str = "label"
    id: str = "id"
    cluster: str = ""
    date: str = ""
    since: str = ""
    slices: tuple[str, ...] = ()
    labels: str | None = None
    ocr_paths: tuple[Path, ...] = ()
    min_ocr_confidence: float = 0.9


def certify_bundle(folder: Path, rows: LabelledRows, target: Target, check: bool = False) -> Certificate:
    """Proves the target and writes policy, certificate and page into the bundle; or only proves its certificate again.

    Args:
        folder: of the bundle; replaced as a whole.
        rows: labelled rows that the bundle was not trained on.
        target: the promise.
        check: True to prove the bundle's own certificate again, of these rows, and to write nothing.

    Raises:
        BundleError: the bundle cannot be used.
        InputError: a file cannot be read, or a row of it.
        ConfigError: a column is not there.
        CertificationError: the rows do not prove the target, or the bundle was trained on some of them.
        VerificationError: `check`, and the certificate does not follow from these rows.
    """
    bundle = load_bundle(folder)
    if check and bundle.certificate is None:
        raise VerificationError(f"{folder}: has no certificate; make one with docyard certify")
    if target.per == "group" and not target.none_label:
        target = dataclasses.replace(target, none_label=_trained_with(bundle, "card", "none_label"))
    cluster = rows.cluster or _trained_with(bundle, "data", "group_column")
    if rows.labels is None:
        rows = dataclasses.replace(rows, labels=_trained_with(bundle, "data", "labels_column"))
    data = _read(bundle, rows, cluster)
    _refuse_training_rows(bundle, data, rows.id)
    choosing, certifying = _parted(bundle, data, rows, cluster)
    classifier = Classifier(bundle)
    try:
        clusters = data.slices[cluster] if cluster else None
        slices = {name: data.slices[name] for name in rows.slices}
        scored = labelled_scores(classifier, data.texts, data.labels, clusters, slices, data.right_labels)
        ocr_rows = _ocr_rows(classifier, rows) if rows.ocr_paths else None
    finally:
        classifier.close()
    dates = [date for date, taken in zip(_dates(data, rows), certifying, strict=True) if taken]
    files, certificate = prove(
        bundle,
        scored.take(choosing),
        scored.take(certifying),
        np.array([len(text) for text in data.texts])[certifying],
        target,
        valid_for=ValidFor(
            bundle.document_type,
            tuple("/".join(path.parts[-3:]) for path in rows.paths),  # no path of this machine
            min(filter(None, dates), default=None),
            max(filter(None, dates), default=None),
        ),
        data_sha256=data_sha256((*rows.paths, *rows.ocr_paths)),
        created=bundle.certificate.created if check and bundle.certificate else _today(),  # the policy names the day
        ocr_rows=ocr_rows,
    )
    if check:
        _compare(bundle, certificate)
    else:
        _write(bundle, files)
    return certificate


def describe_certificate(certificate: Certificate) -> list[str]:
    """The certificate in lines for a terminal."""
    one = certificate
    if one.positive_label:
        promise = f"of documents that are {one.positive_label!r}, at most {one.max_error:.1%} are accepted as another"
    else:
        promise = f"of the documents nobody looks at, at most {one.max_error:.1%} are wrong"
    if one.any_right_label:
        promise += " (right is any of a document's right labels)"
    lines = [
        f"certified: {promise}, {100 * one.confidence:g} times in 100",
        f"  accepted    {one.coverage:.1%} of {one.rows:,} rows in scope, {one.errors:,} errors",
        f"  forecast    {1000 * (1 - one.coverage):,.0f} of 1,000 documents like these are escalated",
    ]
    if one.strangers:
        lines.append(
            f"  strangers   {one.strangers_accepted:,} of {one.strangers:,} accepted; the promise is not about them"
        )
    for proof in (proof for proof in one.thresholds if proof.door == OCR):
        found = f"{proof.errors:,} errors in {proof.rows:,} accepted rows that OCR read"
        lines.append(
            f"  OCR         its texts are accepted from a confidence of {proof.threshold:g}: {found}"
            if proof.threshold is not None
            else f"  OCR         its texts are escalated: {found}; at least {proof.rows_needed:,}, all right, would do"
        )
    failed = [proof for proof in one.thresholds if proof.threshold is None and proof.door != OCR]
    if failed:
        needed = min(proof.rows_needed for proof in failed)
        names = ", ".join(repr(proof.answers) for proof in failed[:5]) + (", …" if len(failed) > 5 else "")
        lines.append(
            f"  escalated   {len(failed):,} of {len(one.thresholds):,} kinds of answers ({names}): "
            f"not proven; each takes at least {needed:,} accepted rows, all right"
        )
    return lines


def _trained_with(bundle: ModelBundle, section: str, key: str) -> str:
    """A value of the configuration that the bundle was trained with; "" where it is not on record."""
    configuration = bundle.manifest.training.get("configuration", {})
    values = configuration.get(section, {}) if isinstance(configuration, Mapping) else {}
    return str(values.get(key, "")) if isinstance(values, Mapping) else ""


def _read(bundle: ModelBundle, rows: LabelledRows, cluster: str) -> EvaluationData:
    if not rows.paths:
        raise ConfigError("--data: name at least one file of labelled rows")
    by_id = ROWS_NAME in bundle.manifest.files and _training_rows(bundle).by_id
    names = [name for name in (cluster, rows.date, *((rows.id,) if by_id else ()), *rows.slices) if name]
    template = bundle.reading.template
    columns = Columns(
        rows.text or ("" if template else "text"),
        rows.label,
        rows.labels or "",
        slices=tuple(dict.fromkeys(names)),
        template=parse_text_template(template) if template and not rows.text else None,
    )
    parts = [read_evaluation_data(path, columns) for path in rows.paths]
    return EvaluationData(
        tuple(text for part in parts for text in part.texts),
        tuple(label for part in parts for label in part.labels),
        tuple(right for part in parts for right in part.right_labels or ()) if rows.labels else None,
        slices={name: tuple(value for part in parts for value in part.slices[name]) for name in columns.slices},
    )


def _ocr_rows(classifier: Classifier, rows: LabelledRows) -> tuple[LabelledScores, npt.NDArray[np.floating], float]:
    """The bundle's answers to the rows that OCR read, its confidence in each, and the least one."""
    if not 0.0 <= rows.min_ocr_confidence <= 1.0:
        raise ConfigError(f"--min-ocr-confidence: expected a number in [0, 1], found {rows.min_ocr_confidence}")
    data = _read(classifier.bundle, dataclasses.replace(rows, paths=rows.ocr_paths, slices=(OCR_COLUMN,), date=""), "")
    _refuse_training_rows(classifier.bundle, data, rows.id)
    try:
        confidence = np.array([float(value) for value in data.slices[OCR_COLUMN]], dtype=np.float32)
    except ValueError:
        raise InputError(f"{OCR_COLUMN}: expected a number in every row that OCR read") from None
    return (
        labelled_scores(classifier, data.texts, data.labels, None, {}, data.right_labels),
        confidence,
        (rows.min_ocr_confidence),
    )


def _training_rows(bundle: ModelBundle) -> TrainedRows:
    return parse_trained_rows(bundle.read(ROWS_NAME), str(bundle.folder / ROWS_NAME))


def _refuse_training_rows(bundle: ModelBundle, data: EvaluationData, id_column: str) -> None:
    if ROWS_NAME not in bundle.manifest.files:
        raise BundleError(f"{bundle.folder}: has no {ROWS_NAME}, which tells its training rows; build the bundle again")
    known = _training_rows(bundle)
    trained = known.holds(data.texts, data.slices[id_column] if known.by_id else None)
    if trained.any():
        raise CertificationError(
            f"{int(trained.sum()):,} of {len(trained):,} rows trained the bundle, the first is row "
            f"{int(np.argmax(trained))}; give rows that it has never seen"
        )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _dates(data: EvaluationData, rows: LabelledRows) -> list[str | None]:
    """The date of each row; None where no column has it."""
    if not rows.date:
        return [None] * len(data.texts)
    dates: list[str | None] = []
    for number, value in enumerate(data.slices[rows.date]):
        try:
            dates.append(datetime.datetime.fromisoformat(value).date().isoformat())
        except ValueError:
            raise InputError(f"row {number}, {rows.date!r}: expected a date in ISO 8601; correct it") from None
    return dates


def _parted(
    bundle: ModelBundle, data: EvaluationData, rows: LabelledRows, cluster: str
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Flags of the rows that choose and of those that certify, parted by hash as the training parted its own."""
    keys = data.slices[cluster] if cluster else [same_text(text) for text in data.texts]
    share = float(bundle.manifest.training.get("choosing_share", CHOOSING_SHARE))
    choosing = np.array([unit_hash(f"calibration:{key}") < share for key in keys], dtype=np.bool_)
    certifying = ~choosing
    if rows.since:
        certifying &= np.array([(date or "") >= rows.since for date in _dates(data, rows)], dtype=np.bool_)
    return choosing, certifying


def _compare(bundle: ModelBundle, found: Certificate) -> None:
    """Refuses the bundle's certificate unless it is what these rows give, but for the date of its making."""
    own = bundle.certificate
    assert own is not None
    for item in dataclasses.fields(Certificate):
        if item.name in ("created", "reference", "valid_for"):
            continue
        if getattr(own, item.name) != getattr(found, item.name):
            raise VerificationError(
                f"{bundle.folder}: its certificate says another {item.name!r} than these rows give; they are other "
                "rows, another target, or the certificate was changed"
            )


def _write(bundle: ModelBundle, files: Mapping[str, bytes]) -> None:
    """Replaces the bundle by one with these files, at once."""
    manifest = bundle.manifest
    try:
        with tempfile.TemporaryDirectory(dir=bundle.folder.parent, prefix=f".{bundle.folder.name}-") as scratch:
            folder = Path(scratch) / bundle.folder.name
            shutil.copytree(bundle.folder, folder)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            write_bundle_manifest(
                folder, name=manifest.name, created=manifest.created, document_type=manifest.document_type,
                max_tokens=manifest.max_tokens, training=manifest.training, fingerprint=manifest.fingerprint,
                reading=manifest.reading,
            )  # fmt: skip
            put_into_place(folder, bundle.folder, Path(scratch) / "replaced")
    except OSError as error:
        raise system_error(error, bundle.folder) from None
