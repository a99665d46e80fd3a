"""Checks the data contract of a run with Great Expectations, and reports it as plain JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from schemas.codes import Reason, Route
from schemas.run_config import QualityConfig
from schemas.system import settle_home
from schemas.tables import CLASSIFICATIONS, ESCALATIONS, PUBLISHED_TABLES, Column, Table

_SHA256 = r"^[0-9a-f]{64}$"
REASONS_TOLD = 3  # on a terminal; quality.json has them all


@dataclass(frozen=True)
class RejectedGroup:
    """The records of a document type that were rejected for the same reason.

    Attributes:
        count: records, and files that could not be read.
        source_uri: the file of the first of them.
        place: position in that file, such as "byte 120"; "" where the whole file is meant.
        detail: the content found there and the one expected; never text of the document.
    """

    document_type: str
    reason: Reason
    count: int
    source_uri: str
    place: str
    detail: str

    def words(self) -> str:
        """The reason with its count, an example, and what probably mends it."""
        where = f"{self.source_uri} at {self.place}" if self.place else self.source_uri
        return f"{self.reason.value} {self.count:,}, first in {where}: {self.detail}. {self.reason.remedy}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "document_type": self.document_type,
            "reason_code": self.reason.value,
            "count": self.count,
            "first": {"source_uri": self.source_uri, "place": self.place, "detail": self.detail},
            "remedy": self.reason.remedy,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RejectedGroup:
        """From what `to_dict` gave."""
        return cls(values["document_type"], Reason(values["reason_code"]), values["count"], **values["first"])


@dataclass(frozen=True)
class QualityReport:
    """The outcome of every check; `to_dict` is what quality.json holds.

    Attributes:
        rejected: reasons of rejections, the most frequent first.
    """

    suites: dict[str, dict[str, Any]]
    rejected: tuple[RejectedGroup, ...] = ()

    @property
    def passed(self) -> bool:
        """True where every check of every suite held."""
        return all(suite["passed"] for suite in self.suites.values())

    def failures(self) -> list[str]:
        """One line per check that failed, without any value of the data."""
        return [
            check["observed"] if name == "documents" else f"{name}: {check['requires']}, but {check['observed']}"
            for name, suite in self.suites.items()
            for check in suite["checks"]
            if not check["passed"]
        ]

    def explanation(self) -> str:
        """The failures and the reasons of the rejections, in one line."""
        told = [group.words() for group in self.rejected[:REASONS_TOLD]]
        if more := self.rejected[REASONS_TOLD:]:
            told.append("Also " + ", ".join(f"{group.reason.value} {group.count:,}" for group in more) + ".")
        return f"{'; '.join(self.failures())}. Rejected: {' '.join(told) or 'none.'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, strict JSON."""
        rejected = [group.to_dict() for group in self.rejected]
        return {"passed": self.passed, "failures": self.failures(), "rejected": rejected, "suites": self.suites}


def check_contracts(
    counts: pd.DataFrame,
    samples: Mapping[str, pd.DataFrame],
    quality: QualityConfig,
    rejected: Sequence[RejectedGroup] = (),
) -> QualityReport:
    """Runs every suite on what the run staged.

    Args:
        counts: one row per document type: document_type, read, documents, rejected_share.
        samples: rows of each published table, by its name.
        quality: the run's limits.
        rejected: reasons of rejections, for the report only; nothing is judged by them.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    settle_home()  # a worker of Dask or of a job service was not started by the command, which does it too
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("run")
    suites = {"documents": _run(gx, source, "documents", counts, _documents_suite(quality.max_rejected_share))}
    for check in suites["documents"]["checks"]:
        if not check["passed"]:
            check["observed"] = _about_types(counts, check["column"], quality.max_rejected_share)
    for table in PUBLISHED_TABLES:
        suites[table.name] = _run(gx, source, table.name, samples[table.name], _table_suite(table))
    by_count = sorted(rejected, key=lambda group: (-group.count, group.document_type, group.reason))
    return QualityReport(suites, tuple(by_count))


def _run(gx: Any, source: Any, name: str, rows: pd.DataFrame, expectations: list[Any]) -> dict[str, Any]:
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    result = batch.validate(suite, result_format="BASIC")
    checks = [_check(item) for item in result.results]
    return {"passed": bool(result.success), "rows_checked": len(rows), "checks": checks}


def _check(result: Any) -> dict[str, Any]:
    kwargs, outcome = result.expectation_config.kwargs, result.result
    columns = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
    if result.expectation_config.type == "expect_compound_columns_to_be_unique":
        columns = kwargs["column_list"]
    return {
        "check": result.expectation_config.type,
        "requires": result.expectation_config.meta["requires"],
        "column": ", ".join(columns),
        "passed": bool(result.success),
        # A check that could not run counts as failed, with the exception's name instead of a share.
        "unexpected": _finite(outcome.get("unexpected_count")),
        "observed": _observed(result),
    }


def _observed(result: Any) -> str | None:
    if result.success:
        return None
    count = _finite(result.result.get("unexpected_count"))
    if count is not None:
        return f"found {count:g} unexpected of {result.result.get('element_count')}"
    if result.expectation_config.type == "expect_table_columns_to_match_ordered_list":
        return "other columns were found"
    return "the check could not be run"


def _about_types(counts: pd.DataFrame, column: str, max_rejected_share: float) -> str:
    """Sentences on each document type whose counts fall short of what is required of a column."""
    told = []
    for row in counts.to_dict("records"):
        about = f"{row['document_type']}: "
        if column == "read" and row["read"] < 1:
            told.append(about + "no record was read; check its paths")
        elif column == "documents" and row["documents"] < 1:
            told.append(f"{about}none of {_records(row['read'])} could be classified")
        elif column == "rejected_share" and not row["rejected_share"] <= max_rejected_share:
            told.append(
                f"{about}{row['rejected_share']:.2%} of {_records(row['read'])} rejected, "
                f"quality.max_rejected_share allows {max_rejected_share:.2%}"
            )
    return "; ".join(told) or "the counts of the documents cannot be right"


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


# Suites: from the table definitions, and the run's own limits


def _documents_suite(max_rejected_share: float) -> list[Any]:
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


def _table_suite(table: Table) -> list[Any]:
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
