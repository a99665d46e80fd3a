"""Great Expectations suites, built from the table definitions and the run's own limits."""

from __future__ import annotations

from typing import Any

from schemas.codes import Route
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, Column, Table

_SHA256 = r"^[0-9a-f]{64}$"


def documents_suite(max_rejected_share: float) -> list[Any]:
    """Expectations of the documents that came in, judged on one row of counts per document type.

    Args:
        max_rejected_share: of the records, in [0, 1].
    """
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnValuesToNotBeNull(column="document_type", meta=_requires("every record has a document type")),
        gxe.ExpectColumnValuesToBeBetween(
            column="read", min_value=1, meta=_requires("a record of every document type was read")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="documents", min_value=1, meta=_requires("a document of every document type was classified")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="rejected_share",
            min_value=0.0,
            max_value=max_rejected_share,
            meta=_requires(f"at most {max_rejected_share:.2%} of the records of a document type are rejected"),
        ),
    ]


def table_suite(table: Table) -> list[Any]:
    """Expectations of the rows of one published table, from its column definitions."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column as Condition

    expectations = [
        gxe.ExpectTableColumnsToMatchOrderedList(
            column_list=[column.name for column in table.flat_columns],
            meta=_requires("the columns are those of the data dictionary, in its order"),
        )
    ]
    for column in table.flat_columns:
        expectations += _column_expectations(column)
    if table is CLASSIFICATIONS:
        # Law 4: an answer that stands has reached its threshold.
        expectations.append(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="confidence",
                column_B="threshold",
                or_equal=True,
                row_condition=Condition("route") == Route.ACCEPTED.value,
                meta=_requires("every accepted answer's confidence reaches its threshold"),
            )
        )
    if table in (CLASSIFICATIONS, ESCALATIONS):
        expectations.append(
            gxe.ExpectColumnValuesToMatchRegex(
                column="content_hash", regex=_SHA256, meta=_requires("every content_hash is a SHA-256 in hexadecimal")
            )
        )
    return expectations


def _column_expectations(column: Column) -> list[Any]:
    import great_expectations.expectations as gxe

    expectations: list[Any] = []
    if not column.nullable:
        expectations.append(
            gxe.ExpectColumnValuesToNotBeNull(column=column.name, meta=_requires(f"every row has a {column.name}"))
        )
    if column.values:
        expectations.append(
            gxe.ExpectColumnValuesToBeInSet(
                column=column.name,
                value_set=list(column.values),
                meta=_requires(f"every {column.name} is one of the values of the data dictionary"),
            )
        )
    if column.minimum is not None or column.maximum is not None:
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column.name,
                min_value=column.minimum,
                max_value=column.maximum,
                meta=_requires(f"every {column.name} lies within the bounds of the data dictionary"),
            )
        )
    if column.unique:
        # In a partition, that is: a run may publish several types, each with ids of its own.
        expectations.append(
            gxe.ExpectCompoundColumnsToBeUnique(
                column_list=[column.name, "document_type"],
                meta=_requires(f"no {column.name} occurs twice in a document type"),
            )
        )
    return expectations


def _requires(sentence: str) -> dict[str, str]:
    """The subject of an expectation, in words for those who do not know its library."""
    return {"requires": sentence}
