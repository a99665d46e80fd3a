"""`docyard doctor`: the machine, int8 on it, bundles and their recorded answers, stores and what they promise."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.classifier import FINGERPRINT_TOLERANCE, Examination, examine_bundle
from models.machine import Int8Products, Machine, int8_products, this_machine
from warehouse.objects import object_store
from warehouse.store_checks import StoreCheck, check_store

_MARKS = {True: "ok", False: "FAILED", None: "note"}


@dataclass(frozen=True)
class StoreReport:
    """The checks of the object store that a warehouse is to lie on."""

    uri: str
    checks: tuple[StoreCheck, ...]

    @property
    def sound(self) -> bool:
        """True where no check failed."""
        return all(check.passed is not False for check in self.checks)


@dataclass(frozen=True)
class Diagnosis:
    """All that the doctor found."""

    machine: Machine
    onnxruntime: str
    int8: Int8Products
    bundles: tuple[Examination, ...]
    stores: tuple[StoreReport, ...] = ()

    @property
    def unsound_stores(self) -> list[str]:
        """URIs of the stores that must not hold a warehouse."""
        return [store.uri for store in self.stores if not store.sound]

    @property
    def unsound(self) -> list[str]:
        """Folders of the bundles that a run would refuse here."""
        return [bundle.folder for bundle in self.bundles if not bundle.sound]

    def figures(self) -> dict[str, Any]:
        """The diagnosis as JSON values."""
        values = dataclasses.asdict(self)
        values["int8"]["saturates"] = self.int8.used.saturates
        for listed, bundle in zip(values["bundles"], self.bundles, strict=True):
            listed["sound"] = bundle.sound
        for listed, store in zip(values["stores"], self.stores, strict=True):
            listed["sound"] = store.sound
        return values


def diagnose(bundles: Sequence[Path], stores: Sequence[str] = ()) -> Diagnosis:
    """Looks at the machine, examines every bundle and checks every store; what is broken keeps none of the others.

    Args:
        bundles: their folders.
        stores: URIs of warehouses.

    Raises:
        ConfigError: no warehouse can be at a URI, or the extra `lake` is missing.
    """
    return Diagnosis(
        this_machine(),
        importlib.metadata.version("onnxruntime"),
        int8_products(),
        tuple(examine_bundle(folder) for folder in bundles),
        tuple(StoreReport(store.uri, tuple(check_store(store))) for store in map(object_store, stores)),
    )


def describe_diagnosis(diagnosis: Diagnosis) -> str:
    """The diagnosis for a terminal."""
    machine = diagnosis.machine
    memory = "unknown" if machine.memory_bytes is None else f"{machine.memory_bytes / 2**30:.1f} GiB"
    lines = [
        "this machine",
        f"  processor     {machine.processor}, {machine.architecture}",
        f"  cores         {machine.cores} usable",
        f"  memory        {memory}",
        f"  instructions  {_features(machine.features)}",
        f"  ONNX Runtime  {diagnosis.onnxruntime}",
        f"  int8          {_int8(diagnosis.int8)}",
    ]
    for bundle in diagnosis.bundles:
        lines += ["", *_describe_bundle(bundle)]
    for store in diagnosis.stores:
        lines += ["", f"store {store.uri}"]
        lines += [f"  {_MARKS[check.passed]:6} {check.name:17} {check.found}" for check in store.checks]
    return "\n".join(lines)


def _features(features: dict[str, bool] | None) -> str:
    if features is None:
        return "unknown: this system does not tell"
    return ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in features.items())


def _int8(products: Int8Products) -> str:
    error = f"{products.plain.largest_error:,.0f}"
    if products.exact_option:
        return (
            f"exact, by ONNX Runtime's slower products: the fastest saturate on this processor, by up to {error}, so "
            "that every session here is opened with session.x64quantprecision"
        )
    if products.used.saturates:
        return (
            f"SATURATES: products of the largest values are off by up to {error}, and ONNX Runtime has no exact ones "
            "for this processor; a bundle may answer otherwise here, which its fingerprint shows"
        )
    return "exact, by ONNX Runtime's fastest products"


def _describe_bundle(bundle: Examination) -> list[str]:
    lines = [f"bundle {bundle.folder}"]
    if bundle.reference is not None:
        lines.append(f"  loaded        {bundle.reference}: every file is as listed")
    if bundle.problem is not None:
        return [*lines, f"  REFUSED       {bundle.problem}"]
    if not bundle.fingerprint_texts:
        return [*lines, "  fingerprint   none: nothing tells whether it answers here as it should"]
    off = len(bundle.differences)
    lines.append(
        f"  fingerprint   {bundle.fingerprint_texts - off} of {bundle.fingerprint_texts} texts answered as recorded; "
        f"confidence off by at most {bundle.largest_difference:.4f} where the label is right, {FINGERPRINT_TOLERANCE} "
        "may be"
    )
    for answer in bundle.differences:
        lines.append(
            f"  DIFFERS       text {answer.text}: recorded {answer.recorded_label} ({answer.recorded_confidence:.3f}), "
            f"found {answer.label} ({answer.confidence:.3f})"
        )
    lines.append(f"  speed         about {bundle.documents_per_second:,.0f} short documents/s")
    return lines
