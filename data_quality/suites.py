"""Great Expectations suites, built from the table definitions and the run's own limits."""

from __future__ import annotations

from typing import Any

from schemas.reasons import Route
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, Column, Table

_SHA256 = r"^[0-9a-f]{64}$"


def documents_suite(max_rejected_share: float) -> list[Any]:
    """What must hold for the documents that came in, judged on one row of counts per document type.

    Args:
        max_rejected_share: of the records, in [0, 1].
    """
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnValuesToNotBeNull(column="document_type"),
        gxe.ExpectColumnValuesToBeBetween(column="read", min_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="documents", min_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="rejected_share", min_value=0.0, max_value=max_rejected_share),
    ]


def table_suite(table: Table) -> list[Any]:
    """What must hold for the rows of one published table, from its column definitions."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column as Condition

    expectations = [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=[column.name for column in table.flat_columns])
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
            )
        )
    if table in (CLASSIFICATIONS, ESCALATIONS):
        expectations.append(gxe.ExpectColumnValuesToMatchRegex(column="content_hash", regex=_SHA256))
    return expectations


def _column_expectations(column: Column) -> list[Any]:
    import great_expectations.expectations as gxe

    expectations: list[Any] = []
    if not column.nullable:
        expectations.append(gxe.ExpectColumnValuesToNotBeNull(column=column.name))
    if column.values:
        expectations.append(gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.values)))
    if column.minimum is not None or column.maximum is not None:
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=column.minimum, max_value=column.maximum)
        )
    if column.unique:
        # In a partition, that is: a run may publish several types, each with ids of its own.
        expectations.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=[column.name, "document_type"]))
    return expectations
