"""Further versions of the tiny bundle, each with a digest of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from models.bundle import ModelBundle, load_bundle, write_bundle_manifest
from tests.support.made_up_certificate import write_certified_manifest


def tiny_version(
    source: Path,
    folder: Path,
    *,
    min_confidence: float = 0.8,
    document_type: str = "ticket",
    extra: Mapping[str, bytes] | None = None,
    certified: bool = True,
) -> Path:
    """A copy of the tiny bundle with another threshold and further files, certified anew unless told."""
    bundle: ModelBundle = load_bundle(source)
    shutil.copytree(source, folder)
    for left in folder.glob("certificate.*"):
        left.unlink()
    policy = (folder / "policy.toml").read_text().replace("min_confidence = 0.8", f"min_confidence = {min_confidence}")
    (folder / "policy.toml").write_text(policy)
    for name, content in (extra or {}).items():
        (folder / name).write_bytes(content)
    write = write_certified_manifest if certified else write_bundle_manifest
    write(
        folder,
        name="tiny",
        created="2026-11-22",
        document_type=document_type,
        max_tokens=bundle.max_tokens,
        fingerprint=bundle.fingerprint,
        reading=bundle.reading,
    )
    return folder
