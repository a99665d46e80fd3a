"""`docyard evaluate`: measures a bundle on a file of labelled text, and writes the figures down."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation.measurement import evaluate
from models.evaluation.report import evaluation_page
from models.labelled import Columns, read_evaluation_data
from schemas.errors import ConfigError, system_error
from schemas.fields import parse_text_template


def evaluate_file(
    bundle_folder: Path,
    data: Path,
    columns: Columns,
    *,
    none_label: str = "",
    positive_label: str = "",
    first_tier: str = "strict",
    html_path: Path | None = None,
) -> dict[str, Any]:
    """Evaluates, speed included.

    Args:
        bundle_folder: of the bundle.
        data: .parquet, .csv or .jsonl.
        columns: those of its columns to read; without a text column, the bundle's template makes the text, or else it
            is the column "text".
        none_label: as for `evaluate`.
        positive_label: as for `evaluate`.
        first_tier: as for `Classifier`.
        html_path: file for the page.

    Raises:
        BundleError: the bundle cannot be used.
        InputError: the file cannot be read, or a row of it.
        ConfigError: a column or label is not there, or a file cannot be written.
    """
    if html_path is not None:
        _prepare(html_path)
    bundle = load_bundle(bundle_folder)
    template = bundle.manifest.reading.template
    if not columns.text:
        columns = (
            dataclasses.replace(columns, template=parse_text_template(template))
            if template
            else dataclasses.replace(columns, text="text")
        )
    labelled = read_evaluation_data(data, columns)
    classifier = Classifier(bundle, first_tier=first_tier)
    try:
        result = evaluate(
            classifier,
            labelled.texts,
            labelled.labels,
            right_labels=labelled.right_labels,
            columns=labelled.slices,
            none_label=none_label,
            positive_label=positive_label,
            with_speed=True,
        )
    finally:
        classifier.close()
    if html_path is not None:
        _write(html_path, evaluation_page(result, data.name))
    return result


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise system_error(error, path) from None


def _prepare(path: Path) -> None:
    """Refuses what cannot become a file before the measuring, which takes long; an old file stays as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; name another file") from None
