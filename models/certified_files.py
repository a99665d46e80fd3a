"""The files of a bundle that a certification changes: policy, certificate and its page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models.bundle import ModelBundle
from models.bundle_manifest import FileRecord
from models.certificate import FILE_NAME, PAGE_NAME, Certificate, ValidFor, make_certificate
from models.certificate_page import certificate_page
from models.certification import Certification
from models.policy import policy_toml


def certified_files(
    bundle: ModelBundle,
    certification: Certification,
    *,
    valid_for: ValidFor,
    data_sha256: str,
    choosing_rows: int,
    created: str,
    reference: Mapping[str, Any] | None = None,
) -> tuple[dict[str, bytes], Certificate]:
    """Writes a proof and its policy down.

    Args:
        bundle: the one that was certified.
        certification: the proof.
        valid_for: the documents it holds for.
        data_sha256: hash of the labelled rows' files.
        choosing_rows: number of rows that fixed the order of the tests.
        created: ISO 8601 date.
        reference: distributions of the certifying rows.

    Returns:
        Content by file name, and the certificate.
    """
    selection = {"method": certification.method, "certified_on": created}
    policy = policy_toml(replace(certification.policy, selection=selection)).encode()
    record = FileRecord(hashlib.sha256(policy).hexdigest(), len(policy))
    certificate = make_certificate(
        certification,
        {**bundle.manifest.files, "policy.toml": record},
        valid_for=valid_for,
        data_sha256=data_sha256,
        choosing_rows=choosing_rows,
        created=created,
        reference=reference,
    )
    page = certificate_page(certificate, bundle.name).encode()
    return {"policy.toml": policy, FILE_NAME: certificate.to_bytes(), PAGE_NAME: page}, certificate


def label_groups(bundle: ModelBundle) -> dict[str, list[str]]:
    """The labels by the data sets of their training rows, joined by " + "."""
    groups: dict[str, list[str]] = {}
    for label, sources in bundle.label_sources.items():
        groups.setdefault(" + ".join(sources) or "no source", []).append(label)
    return groups
