"""The files of a bundle that a certification changes: policy, certificate and its page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.bundle import ModelBundle
from models.bundle_manifest import FileRecord
from models.certificate import FILE_NAME, PAGE_NAME, Certificate, ValidFor, make_certificate
from models.certificate_page import certificate_page
from models.certification import LabelledScores, Target, certify, certify_ocr
from models.classifier import Classifier
from models.drift import drift_reference
from models.label_sets import right_flags
from models.policy import policy_toml
from schemas.codes import FIRST_TIER_CRITERIA


def prove(
    bundle: ModelBundle,
    choosing: LabelledScores,
    certifying: LabelledScores,
    characters: npt.NDArray[np.integer],
    target: Target,
    *,
    valid_for: ValidFor,
    data_sha256: str,
    created: str,
    ocr_rows: tuple[LabelledScores, npt.NDArray[np.floating], float] | None = None,
) -> tuple[dict[str, bytes], Certificate]:
    """Proves a target for a bundle, and writes the proof and its policy down.

    Args:
        bundle: with the guards of its policy.
        choosing: its answers to rows that trained nothing.
        certifying: its answers to n rows that were used for nothing.
        characters: (n,) length of the certifying texts.
        target: the promise.
        valid_for: the documents it holds for.
        data_sha256: hash of the labelled rows' files.
        created: ISO 8601 date.
        ocr_rows: answers to rows that OCR read, its confidence in each, and the least one that may be accepted.

    Returns:
        Content by file name, and the certificate.

    Raises:
        CertificationError: the rows do not prove the target.
    """
    certification = certify(bundle.policy, label_groups(bundle), choosing, certifying, target)
    if ocr_rows is not None:
        certification = certify_ocr(certification, *ocr_rows)
    policy = certification.policy
    criterion = FIRST_TIER_CRITERIA[0]
    reference = drift_reference(
        certifying.answers(policy, criterion), policy, characters, certifying.clusters, criterion
    )
    content = policy_toml(replace(policy, selection={"method": certification.method, "certified_on": created})).encode()
    certificate = make_certificate(
        certification,
        {**bundle.manifest.files, "policy.toml": FileRecord(hashlib.sha256(content).hexdigest(), len(content))},
        valid_for=valid_for,
        data_sha256=data_sha256,
        choosing_rows=len(choosing.gold_ids),
        any_right_label=certifying.also_right is not None,
        created=created,
        reference=reference,
    )
    page = certificate_page(certificate, bundle.name).encode()
    return {"policy.toml": content, FILE_NAME: certificate.to_bytes(), PAGE_NAME: page}, certificate


def labelled_scores(
    classifier: Classifier,
    texts: Sequence[str],
    labels: Sequence[str],
    clusters: Sequence[str] | None = None,
    slices: Mapping[str, Sequence[str]] = MappingProxyType({}),
    right_labels: Sequence[Sequence[str]] | None = None,
) -> LabelledScores:
    """The bundle's answers to labelled texts.

    Args:
        classifier: of the bundle.
        texts: (n,).
        labels: (n,) the right ones; others than the bundle's mark strangers.
        clusters: (n,) equal for rows that stand or fall together; None where rows are independent.
        slices: column -> (n,) values.
        right_labels: (n,) all right labels of each row: an answer that is any of them is right. None where only its
            label is.
    """
    position = {label: index for index, label in enumerate(classifier.bundle.labels)}
    return LabelledScores(
        classifier.classify(texts, encoder_only=True),
        np.array([position.get(label, -1) for label in labels], dtype=np.int64),
        classifier.first_tier_scores(texts) if classifier.has_first_tier else None,
        None if clusters is None else np.unique(np.array(clusters), return_inverse=True)[1],
        {name: np.array(values) for name, values in slices.items()},
        None if right_labels is None else right_flags(right_labels, classifier.bundle.labels),
    )


def label_groups(bundle: ModelBundle) -> dict[str, list[str]]:
    """The labels by the data sets of their training rows, joined by " + "."""
    groups: dict[str, list[str]] = {}
    for label, sources in bundle.label_sources.items():
        groups.setdefault(" + ".join(sources) or "no source", []).append(label)
    return groups
