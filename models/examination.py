"""Examines a bundle on this machine: everything a run would refuse it for, and how far its answers are off."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from models.bundle import bundle_reference, load_bundle
from models.classifier import FINGERPRINT_TOLERANCE, Classifier
from schemas.errors import BundleError, DocyardError

_TIMED_TEXTS = 256


@dataclass(frozen=True)
class AnswerDifference:
    """A fingerprint text that this machine answers otherwise than recorded.

    Attributes:
        text: its number in bundle.json, from 0.
        recorded_label: the label it must be.
        recorded_confidence: likewise.
        label: the one that this machine gives.
        confidence: likewise.
    """

    text: int
    recorded_label: str
    recorded_confidence: float
    label: str
    confidence: float


@dataclass(frozen=True)
class Examination:
    """The result of examining one bundle.

    Attributes:
        folder: as it was named.
        reference: name and digest; None where the bundle does not load, like all that follows but `problem`.
        problem: the reason it does not load or run; None where it does.
        fingerprint_texts: number of texts its fingerprint has.
        differences: those that are answered otherwise, so that a run would refuse the bundle here.
        largest_difference: in confidence, over all texts with the recorded label.
        documents_per_second: roughly, of short texts such as those of the fingerprint.
    """

    folder: str
    reference: str | None = None
    problem: str | None = None
    fingerprint_texts: int | None = None
    differences: tuple[AnswerDifference, ...] = ()
    largest_difference: float | None = None
    documents_per_second: float | None = None

    @property
    def sound(self) -> bool:
        """True where a run would use the bundle on this machine."""
        return self.problem is None and not self.differences


def examine_bundle(folder: Path) -> Examination:
    """Loads a bundle, opens its model and asks it the texts of its fingerprint; never raises for what it finds."""
    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        return Examination(str(folder), problem=str(error))
    reference = bundle_reference(bundle)
    try:
        classifier = Classifier(bundle, check_fingerprint=False)
        texts = [row.text for row in bundle.fingerprint]
        answers = classifier.fingerprint(texts)
        speed = _documents_per_second(classifier, texts)
        classifier.close()
    except DocyardError as error:
        return Examination(str(folder), reference, problem=str(error))
    differences, largest = [], 0.0
    for number, (recorded, found) in enumerate(zip(bundle.fingerprint, answers, strict=True)):
        distance = abs(recorded.confidence - found.confidence)
        if found.label == recorded.label:
            largest = max(largest, distance)
        if found.label != recorded.label or distance > FINGERPRINT_TOLERANCE:
            differences.append(
                AnswerDifference(number, recorded.label, recorded.confidence, found.label, found.confidence)
            )
    return Examination(str(folder), reference, None, len(texts), tuple(differences), largest, speed)


def _documents_per_second(classifier: Classifier, texts: list[str]) -> float | None:
    if not texts:
        return None
    many = (texts * _TIMED_TEXTS)[:_TIMED_TEXTS]
    started = time.perf_counter()
    classifier.classify(many)
    return len(many) / (time.perf_counter() - started)
