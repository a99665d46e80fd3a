"""certificate.json: the proof of a bundle's policy, and the files that it holds for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AllowInfNan

from models.bundle_manifest import FileRecord, parse_json, read_json
from models.certification import NEVER, Certification, Target, p_value
from models.evaluation.intervals import exact_upper_bound
from schemas.configuration import IsoDate, Matching, Within, validated
from schemas.errors import BundleError

FILE_NAME, PAGE_NAME = "certificate.json", "certificate.html"
FORMAT = 1
# The files that an answer and its route depend on, as far as a bundle has them.
PINNED = (
    "model.onnx", "tokenizer.json", "labels.json", "calibration.json", "policy.toml", "first_tier.npz", "words.npz",
    "deferral.npz", "guard.npz", "training_rows.npz",
)  # fmt: skip
_ROUNDING = 1e-9

Share = Annotated[float, Within("[0, 1]")]
Count = Annotated[int, Within("[0, inf)")]
Sha256 = Annotated[str, Matching("[0-9a-f]{64}", "64 hexadecimal digits in lower case")]


@validated(error=BundleError)
class CertifiedThreshold:
    """A threshold with its proof."""

    door: str
    """The part of the bundle that answers: `encoder`, or `first_tier.` with the criterion. `ocr` for texts by OCR."""
    answers: str
    """The answers it is for: `all`, a label, or the name of a group."""
    threshold: Annotated[float, AllowInfNan(True)] | None
    """Least confidence that is accepted, of the answer or of OCR; null where nothing could be proven."""
    rows: Count
    """Certifying rows it accepts; with a recall, the rows of the positive label."""
    errors: Count
    """Those that are wrong; with a recall, those that are missed."""
    bound: Share | None
    """Upper bound of the share of errors, with probability 1 - `tail`; null where nothing could be proven."""
    tail: Share
    """The part of 1 - `confidence` that this proof uses."""
    rows_needed: Count
    """Accepted rows, all right, that would have been enough."""


@validated(error=BundleError)
class ValidFor:
    """The documents that the promise is about: those drawn as the certifying rows were."""

    document_type: str
    """Their kind."""
    data: tuple[str, ...]
    """Names of the files, or data sets, of the rows."""
    first_date: IsoDate | None
    """Date of the earliest certifying row; null where the rows have none."""
    last_date: IsoDate | None
    """Date of the latest."""


@validated(error=BundleError)
class Certificate:
    """The content of certificate.json."""

    max_error: Annotated[float, Within("(0, 1)")]
    """Largest share of wrong answers among the accepted ones; with `method` a recall, of positives that are missed."""
    confidence: Annotated[float, Within("(0, 1)")]
    """Probability, over the draw of the rows, that the promise holds."""
    per: Literal["all", "label", "group", "slice"]
    """The answers it holds for: all together, each label's, each group's, or each slice of the rows."""
    rows: Count
    """Certifying rows in scope; none of them trained the bundle or chose anything."""
    errors: Count
    """Wrong answers among those accepted; with a recall, positives accepted as something else."""
    accepted: Count
    """Certifying rows in scope that are accepted."""
    coverage: Share
    """Their share: the forecast of what nobody needs to look at."""
    method: str
    """The name of the proof's method."""
    positive_label: str
    """The label that must not be missed; empty where the error among accepted answers is bounded."""
    data_sha256: Sha256
    """Hash of the labelled file; of several, of their hashes one after the other."""
    valid_for: ValidFor
    """The documents it holds for."""
    thresholds: tuple[CertifiedThreshold, ...]
    """Every threshold with its proof."""
    choosing_rows: Count
    """Rows that fixed the order of the tests, and nothing else here."""
    design_effect: Annotated[float, Within("[1, inf)")]
    """The factor by which rows of one cluster, such as one contract, are worth less than independent ones."""
    strangers: Count
    """Certifying rows that belong to no label; the promise is not about them."""
    strangers_accepted: Count
    """Those that are accepted all the same."""
    curve: tuple[tuple[Share, Share], ...]
    """Coverage and error of the most confident certifying rows."""
    files: Mapping[str, Sha256]
    """SHA-256 of every file of the bundle that its answers depend on."""
    created: IsoDate
    """Date of the proof."""
    any_right_label: bool = False
    """True where an answer counts as right if it is any of a row's several right labels, not only its first."""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """Distributions of the certifying rows, which a run's are compared with."""

    def __post_init__(self) -> None:
        """Recomputes what follows from the counts, so that no figure can be changed by itself."""
        if self.errors > self.accepted or self.accepted > self.rows or self.strangers_accepted > self.strangers:
            raise ValueError(".rows: expected errors <= accepted <= rows")
        if abs(self.coverage - (self.accepted / self.rows if self.rows else 0.0)) > _ROUNDING:
            raise ValueError(".coverage: is not accepted / rows")
        proven = [one for one in self.thresholds if one.threshold is not None]
        if not proven:
            raise ValueError(".thresholds: expected at least one that is proven")
        for one in proven:
            errors, rows = one.errors / self.design_effect, one.rows / self.design_effect
            if p_value(errors, rows, self.max_error) > one.tail + _ROUNDING:
                raise ValueError(f".thresholds: {one.errors} errors of {one.rows} do not prove {self.max_error}")
            if one.bound is None or abs(one.bound - exact_upper_bound(errors, rows, one.tail)) > _ROUNDING:
                raise ValueError(f".thresholds: {one.bound} is not the bound of {one.errors} errors of {one.rows}")
        for door in {one.door for one in proven}:
            tails = [one.tail for one in proven if one.door == door]
            if sum(tails) > 1 - self.confidence + _ROUNDING:
                raise ValueError(".thresholds: their tails are more than 1 - confidence")

    def to_bytes(self) -> bytes:
        """certificate.json as written: the same content always gives the same bytes."""
        values = {"format": FORMAT} | asdict(self)
        return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @property
    def sha256(self) -> str:
        """Hash of its file, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def make_certificate(
    certification: Certification,
    files: Mapping[str, FileRecord],
    *,
    valid_for: ValidFor,
    data_sha256: str,
    choosing_rows: int,
    created: str,
    any_right_label: bool = False,
    reference: Mapping[str, Any] | None = None,
) -> Certificate:
    """Writes a proof down.

    Args:
        certification: the proof.
        files: those of the bundle with the certified policy.
        valid_for: the documents it holds for.
        data_sha256: hash of the labelled rows' files.
        choosing_rows: number of rows that fixed the order of the tests.
        created: ISO 8601 date.
        any_right_label: True where any of a row's right labels counted as right.
        reference: distributions of the certifying rows.
    """
    target: Target = certification.target
    return Certificate(
        max_error=target.max_error,
        confidence=target.confidence,
        per=target.per,
        rows=certification.rows,
        errors=certification.errors,
        accepted=certification.accepted,
        coverage=certification.coverage,
        method=certification.method,
        positive_label=target.positive_label,
        data_sha256=data_sha256,
        valid_for=valid_for,
        thresholds=tuple(
            CertifiedThreshold(**(asdict(proof) | {"threshold": None if proof.threshold == NEVER else proof.threshold}))
            for proof in certification.proofs
        ),
        choosing_rows=choosing_rows,
        design_effect=certification.design_effect,
        strangers=certification.strangers,
        strangers_accepted=certification.strangers_accepted,
        curve=certification.curve,
        files={name: record.sha256 for name, record in sorted(files.items()) if name in PINNED},
        created=created,
        any_right_label=any_right_label,
        reference=dict(reference or {}),
    )


def data_sha256(paths: Sequence[Path]) -> str:
    """The hash of a file's bytes; of several files, that of their hashes one after the other."""
    hashes = []
    for path in paths:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def parse_certificate(content: bytes, where: str) -> Certificate:
    """Reads the content of certificate.json.

    Raises:
        BundleError: it is not JSON of this format, a key is unknown or missing, or its figures contradict each other.
    """
    values = parse_json(content, where)
    if isinstance(values, dict) and (found := values.pop("format", None)) != FORMAT:
        raise BundleError(f"{where}: expected certificate format {FORMAT}, found {found!r}; certify the bundle again")
    return read_json(Certificate, values, where)


def check_certificate(
    certificate: Certificate, files: Mapping[str, FileRecord], thresholds: Sequence[float], where: str
) -> None:
    """Refuses a certificate of other files, or of another policy.

    Args:
        certificate: of the bundle.
        files: of the bundle, as its manifest lists them.
        thresholds: every finite threshold of its policy.
        where: names the certificate's file in errors.

    Raises:
        BundleError: naming the first file or threshold that differs.
    """
    expected = {name: record.sha256 for name, record in sorted(files.items()) if name in PINNED}
    for name in sorted(expected.keys() | certificate.files.keys()):
        if expected.get(name) != certificate.files.get(name):
            raise BundleError(f"{where}: certifies another {name} than the bundle has; certify the bundle again")
    proven = {np.float32(one.threshold) for one in certificate.thresholds if one.threshold is not None}
    for threshold in thresholds:
        if np.float32(threshold) not in proven:
            raise BundleError(f"{where}: does not prove the threshold {threshold} of policy.toml; certify it again")
