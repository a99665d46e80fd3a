"""Checks the data contract of a run with Great Expectations, and reports it as plain JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from data_quality.suites import documents_suite, table_suite
from schemas.config import QualityConfig
from schemas.home import settle_home
from schemas.tables import PUBLISHED_TABLES


@dataclass(frozen=True)
class QualityReport:
    """The outcome of every check; `to_dict` is what quality.json holds."""

    suites: dict[str, dict[str, Any]]

    @property
    def passed(self) -> bool:
        """Whether every check of every suite held."""
        return all(suite["passed"] for suite in self.suites.values())

    def failures(self) -> list[str]:
        """One line per check that failed, without any value of the data."""
        return [
            f"{name}: {check['check']}"
            + (f" on {check['column']}" if check["column"] else "")
            + (f" (observed {check['observed']})" if check["observed"] is not None else "")
            for name, suite in self.suites.items()
            for check in suite["checks"]
            if not check["passed"]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, strict JSON."""
        return {"passed": self.passed, "suites": self.suites}


def check_contracts(counts: pd.DataFrame, samples: Mapping[str, pd.DataFrame], quality: QualityConfig) -> QualityReport:
    """Runs every suite on what the run staged.

    Args:
        counts: one row per document type: document_type, read, documents, rejected_share.
        samples: rows of each published table, by its name.
        quality: the run's limits.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    settle_home()  # a worker of Dask or of a job service was not started by the command, which does it too
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("run")
    suites = {"documents": _run(gx, source, "documents", counts, documents_suite(quality.max_rejected_share))}
    for table in PUBLISHED_TABLES:
        suites[table.name] = _run(gx, source, table.name, samples[table.name], table_suite(table))
    return QualityReport(suites)


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
        "column": ", ".join(columns),
        "passed": bool(result.success),
        # What failed to run at all counts as failed, with the exception's name instead of a share.
        "unexpected": _finite(outcome.get("unexpected_count")),
        "observed": _observed(result),
    }


def _observed(result: Any) -> str | None:
    if result.success:
        return None
    count = _finite(result.result.get("unexpected_count"))
    if count is not None:
        return f"{count:g} unexpected of {result.result.get('element_count')}"
    return "the check could not be run"


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
