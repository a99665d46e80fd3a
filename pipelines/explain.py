"""`docyard explain`: the words of one text that moved its label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.bundle import load_bundle
from models.classifier import Classifier
from models.explanation import Explanation, explain
from schemas.errors import InputError

_SHOWN = 10
CAVEAT = (
    "A weight is what leaving the words out takes from the label's log-odds. It is not a proof and not the cause: "
    "words that count only together, or that say the same twice, show no weight of their own."
)


def explain_file(bundle: Path, text_file: Path, label: str | None) -> tuple[str, Explanation]:
    """The text of a UTF-8 file, and the explanation of its label, or of `label`, by a bundle's encoder.

    Raises:
        BundleError: the bundle cannot be used.
        InputError: the file cannot be read, or its text cannot be explained.
        ConfigError: the bundle has no such label.
    """
    try:
        text = text_file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{text_file}: cannot be read: {error.strerror}; give a file with the text") from None
    except UnicodeDecodeError:
        raise InputError(f"{text_file}: the file is not UTF-8; convert it to UTF-8") from None
    classifier = Classifier(load_bundle(bundle), first_tier="off")
    try:
        return text, explain(classifier, text, label)
    finally:
        classifier.close()


def explanation_figures(text: str, found: Explanation) -> dict[str, Any]:
    """The explanation as plain values, its spans in the order of the text."""
    spans = [
        {"start": span.start, "end": span.end, "weight": round(span.weight, 6), "text": text[span.start : span.end]}
        for span in found.spans
    ]
    return {"label": found.label, "log_odds": round(found.log_odds, 6), "probes": found.probes, "spans": spans}


def describe_explanation(text: str, found: Explanation) -> str:
    """The strongest words for the label and against it, one per line, and what they are not."""
    lines = [f"{found.label}, log-odds {found.log_odds:+.2f}; {found.probes} texts through the model"]
    strongest = sorted(found.spans, key=lambda span: (-abs(span.weight), span.start))[:_SHOWN]
    for span in strongest:
        words = " ".join(text[span.start : span.end].split())
        lines.append(f"  {span.weight:+7.2f}  {span.start:>6,}  {words if len(words) <= 60 else words[:59] + '…'}")
    return "\n".join([*lines, CAVEAT])
