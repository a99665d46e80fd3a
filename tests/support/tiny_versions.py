"""Further versions of the tiny bundle, each with a digest of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from models.bundle import ModelBundle, load_bundle, write_bundle_manifest


def tiny_version(source: Path, folder: Path, *, min_confidence: float = 0.8, document_type: str = "ticket") -> Path:
    """A copy of the tiny bundle with another threshold; its certificate, if it has one, is left out."""
    bundle: ModelBundle = load_bundle(source)
    shutil.copytree(source, folder)
    for left in folder.glob("certificate.*"):
        left.unlink()
    policy = (folder / "policy.toml").read_text().replace("min_confidence = 0.8", f"min_confidence = {min_confidence}")
    (folder / "policy.toml").write_text(policy)
    write_bundle_manifest(
        folder,
        name="tiny",
        created="2026-11-22",
        document_type=document_type,
        max_tokens=bundle.max_tokens,
        fingerprint=bundle.fingerprint,
        reading=bundle.reading,
    )
    return folder
