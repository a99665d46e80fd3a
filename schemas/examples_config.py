"""The configuration of labelled examples, which the queue and the review share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from schemas.configuration import PathText, validated


def _named(text: str) -> str:
    if not text:
        raise ValueError("expected a path, found an empty string")
    return text


@validated
class ExamplesConfig:
    """Labelled texts of one document type, the nearest of which are shown beside a document."""

    bundle: Annotated[PathText, AfterValidator(_named)]
    """Folder of the ModelBundle whose encoder tells which texts are near; its document type is theirs."""
    path: Annotated[PathText, AfterValidator(_named)]
    """File of labelled texts: Parquet, CSV or JSON Lines."""
    text_column: str = ""
    """Its column with the text; `""` for what the bundle's template makes, or else for `text`."""
    label_column: str = "label"
    """Its column with the right label."""
    document_column: str = ""
    """Its column with the document a text is or comes from, as `document_id` or `parent_id` have it; none of the same
    document is shown. `""` for none: then only the same text is left out."""
