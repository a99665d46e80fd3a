"""Inputs of the type "auto": one input per kind that has a bundle, and one for what is of none of these kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.bundle import ModelBundle, load_bundle
from schemas.errors import BundleError
from schemas.run_config import UNKNOWN_TYPE, InputConfig

KINDS_FOLDER, PAGE_PAIRS_FOLDER = "kinds", "page_pairs"


def kinds_folder(item: InputConfig) -> Path:
    """The folder of the kind bundle, in the input's folder of bundles."""
    return Path(item.bundles).absolute() / KINDS_FOLDER


def page_pairs_folder(item: InputConfig) -> Path | None:
    """The folder of the bundle of page pairs likewise; None where packets are not to be split, or it is not there."""
    folder = Path(item.bundles).absolute() / PAGE_PAIRS_FOLDER
    return folder if item.split_packets and folder.exists() else None


def bundles_by_kind(item: InputConfig, kinds: tuple[str, ...]) -> dict[str, ModelBundle]:
    """The bundles of the input's folder that answer for one of the kinds, by document type, sorted.

    Raises:
        BundleError: there is none, two are for one type, or one cannot be loaded.
    """
    found: dict[str, ModelBundle] = {}
    for folder in sorted(path.parent for path in Path(item.bundles).absolute().glob("*/model.onnx")):
        bundle = load_bundle(folder)
        if bundle.document_type not in kinds:
            continue
        if bundle.document_type in found:
            raise BundleError(
                f"{item.bundles}: {found[bundle.document_type].folder.name} and {folder.name} are both for documents "
                f"of type {bundle.document_type!r}; leave one of them in the folder"
            )
        found[bundle.document_type] = bundle
    if not found:
        raise BundleError(f"{item.bundles}: expected bundles of the kinds {', '.join(kinds)}, found none of them")
    return dict(sorted(found.items()))


def inputs_by_kind(item: InputConfig, bundles: dict[str, ModelBundle]) -> tuple[InputConfig, ...]:
    """One input per bundle, and a last one for documents of none of their kinds.

    All of them have the paths and fields of `item`, by which its documents are read, whatever their kind.
    """
    own = [
        replace(
            item, document_type=kind, bundles="", bundle=str(bundle.folder), split=item.split or bundle.reading.split
        )
        for kind, bundle in bundles.items()
    ]
    return (*own, replace(item, document_type=UNKNOWN_TYPE, bundles="", bundle=str(kinds_folder(item))))
