"""Gives a bundle of the tests a certificate: made-up counts that prove the thresholds its policy has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.bundle import ModelBundle, write_bundle_manifest
from models.certificate import FILE_NAME, PINNED, Certificate, CertifiedThreshold, ValidFor
from models.evaluation.intervals import exact_upper_bound
from models.policy import parse_policy

MAX_ERROR, ROWS = 0.02, 1000


def made_up_certificate(
    folder: Path,
    document_type: str = "ticket",
    *,
    reference: Mapping[str, Any] | None = None,
    last_date: str | None = None,
) -> None:
    """Writes certificate.json over the files that lie in `folder`; without a readable policy it writes none."""
    if any(not (folder / name).is_file() for name in ("labels.json", "policy.toml")):
        return
    labels = [label["name"] for label in json.loads((folder / "labels.json").read_text())["labels"]]
    policy = parse_policy((folder / "policy.toml").read_bytes(), labels, "policy.toml")
    paths = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    thresholds = sorted({*policy.finite_thresholds()})
    tail = 0.05 / max(1, len(thresholds))
    certificate = Certificate(
        max_error=MAX_ERROR,
        confidence=0.95,
        per="all",
        rows=ROWS,
        errors=0,
        accepted=ROWS // 2,
        coverage=0.5,
        method="made up for tests",
        positive_label="",
        data_sha256="0" * 64,
        valid_for=ValidFor(document_type, ("made_up",), last_date, last_date),
        thresholds=tuple(
            CertifiedThreshold("encoder", f"part {number}", value, 500, 0, exact_upper_bound(0, 500, tail), tail, 149)
            for number, value in enumerate(thresholds)
        ),
        choosing_rows=ROWS,
        design_effect=1.0,
        strangers=0,
        strangers_accepted=0,
        curve=((0.5, 0.0), (1.0, 0.02)),
        files={name: files[name] for name in sorted(files) if name in PINNED},
        created="2026-11-22",
        reference=dict(reference or {}),
    )
    (folder / FILE_NAME).write_bytes(certificate.to_bytes())


def write_certified_manifest(folder: Path, **facts: Any) -> ModelBundle:
    """As `write_bundle_manifest`, with a made-up certificate of the files as they are."""
    made_up_certificate(folder, facts["document_type"])
    return write_bundle_manifest(folder, **facts)
