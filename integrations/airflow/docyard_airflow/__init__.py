"""Docyard for Airflow: operators and a task decorator that run the `docyard` program of another environment."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The entry of this distribution in Airflow's list of providers."""
    return {
        "package-name": "docyard-airflow",
        "name": "Docyard",
        "description": "Batch classification of documents by the docyard program.",
        "task-decorators": [{"name": "docyard", "class-name": "docyard_airflow.decorators.docyard_task"}],
    }
