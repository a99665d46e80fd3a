"""Labelled examples of a document type: the configured file, read and embedded once per process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.bundle import ModelBundle, load_bundle
from models.classifier import Classifier
from models.labelled import Columns, read_evaluation_data
from models.neighbours import Example, ExampleIndex
from schemas.errors import ConfigError
from schemas.examples_config import ExamplesConfig
from schemas.fields import parse_text_template


@dataclass(frozen=True)
class LabelledExamples:
    """The examples of one document type.

    Attributes:
        index: finds the nearest of them.
        identity: a hash of the bundle, the file and its columns: 64 hexadecimal digits.
    """

    index: ExampleIndex
    identity: str


def open_examples(configs: Iterable[ExamplesConfig]) -> dict[str, LabelledExamples]:
    """Reads and embeds every configured file: document type -> examples. It takes about as long as classifying them.

    Raises:
        BundleError: a bundle cannot be used.
        InputError: a file cannot be read, or a row of it.
        ConfigError: a column is not there, or two files are for one document type.
    """
    found: dict[str, LabelledExamples] = {}
    for config in configs:
        bundle = load_bundle(Path(config.bundle))
        if bundle.document_type in found:
            raise ConfigError(
                f"examples: two files are for the document type {bundle.document_type!r}; put their rows into one"
            )
        examples = read_examples(config, bundle)
        file = hashlib.sha256(Path(config.path).read_bytes()).hexdigest()
        columns = (config.text_column, config.label_column, config.document_column)
        parts = "\n".join((bundle.digest, file, *columns))
        identity = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()
        index = ExampleIndex(Classifier(bundle, first_tier="off"), examples)
        found[bundle.document_type] = LabelledExamples(index, identity)
    return found


def read_examples(config: ExamplesConfig, bundle: ModelBundle) -> list[Example]:
    """The rows of one configured file.

    Raises:
        InputError: the file cannot be read, or a row of it.
        ConfigError: a column is not there.
    """
    slices = (config.document_column,) if config.document_column else ()
    columns = Columns(config.text_column, config.label_column, slices=slices)
    template = bundle.reading.template
    if not columns.text and template:
        columns = dataclasses.replace(columns, template=parse_text_template(template))
    elif not columns.text:
        columns = dataclasses.replace(columns, text="text")
    data = read_evaluation_data(Path(config.path), columns)
    documents = data.slices[config.document_column] if config.document_column else ("",) * len(data.texts)
    return [Example(*row) for row in zip(data.texts, data.labels, documents, strict=True)]
